"""What of a class is written down in the audit trail.

`__component__ = "bank.Order"` is what a class is called there instead of its name.
`__audit__ = False` leaves a class out. `info={"audit": False}` leaves a column out, `info={"audit": "redact"}`
shows that it changed but not its values; an attribute of a document says so with `Annotated[str, Redacted]`.
What REST hides (`info={"hidden": True}`) and what is called like a secret is redacted without being told;
`info={"audit": True}` says that it is none.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Column

from uno.data import wire
from uno.errors import Misconfigured
from uno.redact import Redacted, names_a_secret

Form = Callable[[Any], Any]
Fate = Literal["shown", "redacted", "left out"]
# In the place of a value that is redacted; NULL stays NULL.
HIDDEN: Final = "***"
TRIGGER: Final = "trigger"
_SAID: Final[Mapping[Any, Fate]] = {True: "shown", "redact": "redacted", False: "left out"}


@dataclass(frozen=True, slots=True)
class Marks:
    """`forms` are the JSON forms of the attributes that are written down; `table` is where the rows are."""

    audited: bool
    table: str
    forms: Mapping[str, Form]
    redacted: frozenset[str]


def hidden(value: Any) -> Any:
    return None if value is None else HIDDEN


def marks_of_columns(
    cls: type, table: str, columns: Iterable[tuple[str, Column[Any]]], unseen: Collection[str] = ()
) -> Marks:
    """Of a mapped class, by attribute; REST hides the `unseen` ones. Raises `Misconfigured` for a mark that is none."""
    found = {name: (column, fate_of(cls, name, column, unseen=name in unseen)) for name, column in columns}
    forms = {n: hidden if fate == "redacted" else wire.encoder(c) for n, (c, fate) in found.items()}
    kept = {name: form for name, form in forms.items() if found[name][1] != "left out"}
    return Marks(_audited(cls), table, kept, frozenset(n for n, (_, fate) in found.items() if fate == "redacted"))


def marks_of_fields(cls: type, table: str, fields: Mapping[str, Any]) -> Marks:
    """Of a document, by attribute; its state has JSON values already."""
    redacted = frozenset(name for name, wanted in fields.items() if _marked(wanted) or names_a_secret(name))
    forms = {name: hidden if name in redacted else _same for name in fields}
    if _audited(cls) and wants_triggers(cls):
        raise Misconfigured(f"{cls.__qualname__} is stored as a document, which no trigger writes down; map it.")
    return Marks(_audited(cls), table, forms, redacted)


def component_of(cls: type) -> str:
    """What its changes are filed under: `__component__` of the class itself, not of one it inherits from."""
    said = cls.__dict__.get("__component__", cls.__name__)
    if not isinstance(said, str) or not said:
        raise Misconfigured(f"{cls.__qualname__}.__component__ is a text like 'bank.Order', not {said!r}.")
    return said


def wants_triggers(cls: type) -> bool:
    return getattr(cls, "__audit__", True) == TRIGGER


def fate_of(cls: type, name: str, column: Column[Any], *, unseen: bool = False) -> Fate:
    """What becomes of the values of an attribute."""
    said = column.info.get("audit")
    if said is None:
        secret = unseen or column.info.get("hidden") or (names_a_secret(name) and not column.primary_key)
        return "redacted" if secret else "shown"
    if said not in _SAID:
        raise Misconfigured(f'{cls.__qualname__}.{name}: info={{"audit": …}} is True, False or "redact", not {said!r}.')
    return _SAID[said]


def _audited(cls: type) -> bool:
    said = getattr(cls, "__audit__", True)
    if said not in (True, False, TRIGGER):
        raise Misconfigured(f'{cls.__qualname__}.__audit__ is True, False or "trigger", not {said!r}.')
    return bool(said)


def _marked(wanted: Any) -> bool:
    return any(one is Redacted or isinstance(one, Redacted) for one in getattr(wanted, "__metadata__", ()))


def _same(value: Any) -> Any:
    return value
