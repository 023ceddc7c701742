"""What a mapped class says of its attributes beside their columns: types, limits, defaults, marks.

It says so in annotations, with or without `Mapped[...]`, of the class or of its `__init__`; in the fields of a
dataclass; or, as SQLModel tables do, in those of a pydantic model. Of other annotations than `Annotated[...]` with
what pydantic understands only the type counts.
"""

import copy
import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sqlalchemy.orm.base import LoaderCallableStatus

_UNREADABLE = (NameError, TypeError, AttributeError, SyntaxError)
_TOLD = ("title", "description", "examples", "json_schema_extra")


@dataclass(frozen=True, slots=True)
class Declared:
    """One attribute. `hint` is its type without None; `default` makes what it is where nobody says."""

    hint: Any = None
    default: Callable[[], Any] | None = None
    constant: Any = ...
    hidden: bool = False
    read_only: bool = False


NOTHING = Declared()


def declared(cls: type) -> Mapping[str, Declared]:
    """What is said, by attribute."""
    if issubclass(cls, BaseModel):
        return {name: _of_field(field) for name, field in cls.model_fields.items()}
    found = {name: Declared(hint) for name, hint in _annotations(cls).items()}
    if dataclasses.is_dataclass(cls):
        return found | {f.name: _of_dataclass(f, found.get(f.name, NOTHING)) for f in dataclasses.fields(cls)}
    for name, default in _parameters(cls).items():
        if default is not None and default is not inspect.Parameter.empty:  # of None nobody knows what becomes
            found[name] = dataclasses.replace(found.get(name, NOTHING), **_constant(default))
    return found


def unwrapped(hint: Any) -> Any:
    """The type without `Mapped` and None."""
    if getattr(get_origin(hint), "__name__", "") == "Mapped":
        return unwrapped(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        kept = [one for one in get_args(hint) if one is not NoneType]
        return kept[0] if len(kept) == 1 else Union[tuple(kept)]  # noqa: UP007 - made from a tuple
    return hint


def parted(hint: Any) -> tuple[Any, list[Any]]:
    """A type, and what pydantic understands of its metadata."""
    if get_origin(hint) is not Annotated:
        return hint, []
    base, *said = get_args(hint)
    return unwrapped(base), [one for one in said if _is_known(one)]


def _is_known(said: Any) -> bool:
    return isinstance(said, FieldInfo) or type(said).__module__.partition(".")[0] in ("annotated_types", "pydantic")


# ── pydantic models ──


def _of_field(field: FieldInfo) -> Declared:
    told: dict[str, Any] = {name: value for name in _TOLD if (value := getattr(field, name)) is not None}
    pattern = unheard(field)
    said = [*filter(_is_known, field.metadata), *([Field(**told)] if told else [])]
    said += [Field(pattern=pattern)] if pattern is not None else []
    base = unwrapped(field.annotation)
    hint = Annotated[(base, *said)] if said else base
    return Declared(hint, hidden=field.exclude is True, **_default_of(field))


def unheard(field: FieldInfo) -> str | None:
    """What SQLModel takes as `regex=`, and pydantic has another name for, so that neither of them checks it."""
    found: str | None = getattr(field, "_attributes_set", {}).get("regex")
    return found


def _default_of(field: FieldInfo) -> dict[str, Any]:
    if field.default_factory is not None:
        known = not field.default_factory_takes_validated_data
        return {"default": partial(field.get_default, call_default_factory=True)} if known else {}
    return {} if field.default is PydanticUndefined or field.default is None else _constant(field.default)


# ── other classes ──


def _of_dataclass(field: "dataclasses.Field[Any]", said: Declared) -> Declared:
    marks: dict[str, Any] = {one: bool(field.metadata.get(one)) for one in ("hidden", "read_only")}
    if field.default_factory is not dataclasses.MISSING:
        return dataclasses.replace(said, default=field.default_factory, **marks)
    # SQLAlchemy puts marks of its own where a column has the default.
    unsaid = field.default is dataclasses.MISSING or isinstance(field.default, LoaderCallableStatus | None)
    return dataclasses.replace(said, **marks, **({} if unsaid else _constant(field.default)))


def _constant(value: Any) -> dict[str, Any]:
    return {"default": partial(copy.deepcopy, value), "constant": value}


def _annotations(cls: type) -> dict[str, Any]:
    """Those that can be read: a relationship may name a class that only type checkers see."""
    found = {}
    for source in (_original(cls), *reversed(cls.__mro__)):
        names = vars(sys.modules.get(getattr(source, "__module__", ""), object))
        taken = None if isinstance(source, type) else _parameters(cls)
        for name, said in _said(source).items():
            hint = _read(said, names, vars(source) if taken is None else {})
            if hint is not None and (taken is None or name in taken):
                found[name] = unwrapped(hint)
    return found


def _said(source: Any) -> Mapping[str, Any]:
    try:
        return inspect.get_annotations(source)
    except TypeError:  # an `__init__` in C
        return {}


def _read(said: Any, names: Mapping[str, Any], inside: Mapping[str, Any]) -> Any:
    alone: Any = SimpleNamespace(__annotations__={"it": said})
    try:
        # What a module says comes first, as in `get_type_hints`: an attribute may be called as its type.
        return get_type_hints(alone, dict(inside), dict(names), include_extras=True)["it"]
    except _UNREADABLE:
        return None


def _original(cls: type) -> Any:
    """The `__init__` that the class was written with."""
    initialise: Any = inspect.getattr_static(cls, "__init__")
    return getattr(initialise, "_sa_original_init", initialise)


def _parameters(cls: type) -> dict[str, Any]:
    """The parameters of `__init__` and their defaults."""
    try:
        taken = inspect.signature(_original(cls)).parameters
    except (TypeError, ValueError):
        return {}
    return {name: one.default for name, one in taken.items() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)}
