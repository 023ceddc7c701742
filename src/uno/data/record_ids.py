"""How the key of a record is written as one text, the same in Python and in SQL, and how it is read.

The parts of a composite key have commas between them; a comma or backslash in a part has a backslash before it.
What is stored of a key may look otherwise than what was given, `1.5` in a `Numeric(10, 2)`, so its text is that of
what is stored.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Annotated, Any, Final, Protocol, TypeAlias, get_args, get_origin
from uuid import UUID

from sqlalchemy import ColumnElement, Date, Integer, Text, Uuid, cast, func, literal_column, types

from uno.data import wire
from uno.data.decorators import below, is_moment
from uno.data.forms import maker
from uno.data.narrow import is_single
from uno.errors import Misconfigured, id_text

Form: TypeAlias = Callable[[Any], Any]
Key: TypeAlias = tuple[Any, ...]


class Keyed(Protocol):
    """Of a plan what makes of its keys what is stored of them."""

    @property
    def filed(self) -> Callable[[Key], Key] | None: ...


# Of a key they keep less than it may be given with.
_ROUNDED = (types.Numeric, types.Date, types.DateTime)
# PostgreSQL writes of them the text that `id_text` does; of CHAR, too, without the blanks behind.
_IN_SQL = (Integer, types.String, Uuid, Date)
# The texts of these have neither comma nor backslash.
_PLAIN = (Integer, Uuid, Date)
# However the server reads backslashes in literals.
_BACKSLASH = literal_column("chr(92)", Text)
_COMMA = literal_column("','", Text)


# -- in Python


def forms(label: str, columns: Sequence[ColumnElement[Any]]) -> Callable[[Key], Key] | None:
    """What makes of a key what is stored of it; None where that is the same. Raises `Misconfigured`."""
    made = [form(label, column.type) for column in columns]
    if not any(made):
        return None
    return lambda key: tuple([_formed(one, part) for one, part in zip(made, key, strict=True)])


def stored(columns: Sequence[ColumnElement[Any]]) -> Callable[[Key], Key] | None:
    """What makes of a key the values that its columns hold; None where that is the same, or not known."""
    made = [_stored(below(column.type)) for column in columns]
    if not any(made):
        return None
    return lambda key: tuple([_formed(form, part) for form, part in zip(made, key, strict=True)])


def record_id(plan: Keyed, key: Key) -> str:
    """A key of `plan` as text, of what is stored of it."""
    return id_text(key if plan.filed is None else plan.filed(key))


def text_for(plan: Any, id: object) -> str:
    """The text of an id, which may be given as that text."""
    names = getattr(plan, "key_names", ())  # documents have none
    several = len(names) > 1 and isinstance(id, str)
    parts = tuple(split(str(id))) if several else id if isinstance(id, tuple) else (id,)
    return record_id(plan, parts) if len(parts) == len(names) else id_text(id)


def reader(wanted: Any) -> Form | None:
    """What makes the part of a key of its text, or gives back the text; None where pydantic reads it."""
    if get_origin(wanted) is Annotated:
        return reader(get_args(wanted)[0])
    if not isinstance(wanted, type):
        return None
    if issubclass(wanted, Enum):
        members = {id_text(one): one for one in wanted}
        return lambda text: members.get(text, text)
    read = _READ.get(wanted)
    return None if read is None else lambda text: _formed(read, text)


def split(text: str) -> list[str]:
    """The parts of a composite key."""
    parts, letters = [""], iter(text)
    for letter in letters:
        if letter == "\\":
            parts[-1] += next(letters, "\\")
        elif letter == ",":
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _formed(form: Form | None, part: Any) -> Any:
    try:
        return part if form is None or part is None else form(part)
    except (ValueError, TypeError, ArithmeticError):  # no key of the column; the database will say so
        return part


def form(label: str, type_: Any) -> Form | None:
    """Of one part of a key."""
    plain = below(type_)
    if is_single(plain):
        raise Misconfigured(
            f"{label} has a key of the type {plain!r}, of which other digits are stored than are given; "
            "make it an Integer, a Numeric or a String."
        )
    if isinstance(plain, types.Float):
        return lambda part: float(part) + 0.0  # PostgreSQL tells no negative zero from the other
    if isinstance(plain, types.Numeric):
        return _trimmed if plain.scale is None else wire.encoder(literal_column("k", types.Numeric(scale=plain.scale)))
    if is_moment(plain):
        return _in_utc
    if isinstance(plain, types.CHAR):
        return lambda part: part.rstrip(" ") if isinstance(part, str) else part
    return _uuid if isinstance(plain, Uuid) else _stored(plain)


def _stored(plain: Any) -> Form | None:
    make = maker(plain, "postgresql") if isinstance(plain, _ROUNDED) else None
    return None if make is None else partial(make, plain)


def _trimmed(part: Any) -> str:
    """SQLite gives ten places of what has no scale."""
    text = format(Decimal(str(part)) + 0, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _in_utc(part: Any) -> datetime:
    moment = datetime.fromisoformat(part) if isinstance(part, str) else part
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _uuid(part: Any) -> UUID:
    return part if isinstance(part, UUID) else UUID(str(part))


def _duration(text: str) -> Any:
    return timedelta(microseconds=int(Decimal(text).scaleb(6)))


def _bytes(text: str) -> bytes:
    return b64decode(text, altchars=b"-_", validate=True)


_READ: Final[Mapping[type, Form]] = {timedelta: _duration, bytes: _bytes}


# -- in SQL


def in_sql(columns: Sequence[ColumnElement[Any]]) -> bool:
    """Whether PostgreSQL can write the text of a key of these columns."""
    return all(isinstance(c.type, _IN_SQL) and getattr(c.type, "enum_class", None) is None for c in columns)


def id_text_in_sql(parts: Sequence[ColumnElement[Any]]) -> ColumnElement[str]:
    """The text by PostgreSQL; NULL where a part is."""
    if len(parts) == 1:
        return part_in_sql(parts[0])
    first, *others = map(_escaped, parts)
    for part in others:
        first = first.concat(_COMMA).concat(part)
    return first


def part_in_sql(part: ColumnElement[Any]) -> ColumnElement[str]:
    """The text of a part that stands by itself; the first and the last day are infinite to asyncpg."""
    return cast(wire.expression(part, "postgresql") if isinstance(part.type, Date) else part, Text)


def _escaped(part: ColumnElement[Any]) -> ColumnElement[str]:
    text = part_in_sql(part)
    if isinstance(part.type, _PLAIN):
        return text
    doubled = func.replace(text, _BACKSLASH, _BACKSLASH.concat(_BACKSLASH), type_=Text())
    return func.replace(doubled, _COMMA, _BACKSLASH.concat(_COMMA), type_=Text())
