"""Types that decorate others of SQLAlchemy: which of them change no value, so that the one below says it all."""

from typing import Any, Final

from sqlalchemy import types
from sqlalchemy.types import TypeDecorator

from uno.data.model import UtcDateTime

# What a decorator would write to do something to values.
_WAYS: Final = (
    "process_bind_param", "process_result_value", "process_literal_param",
    "bind_processor", "result_processor", "literal_processor", "bind_expression", "column_expression",
)  # fmt: skip
# SQLModel's moments are stored and read as those of uno; its file is no reason to import it.
_MOMENTS: Final = frozenset({("sqlmodel.sql.sqltypes", "UTCDateTime")})


def is_moment(type_: Any) -> bool:
    """Whether its values are moments in UTC."""
    plain = below(type_)
    return isinstance(plain, types.DateTime) and bool(plain.timezone)


def is_foreign(type_: Any) -> bool:
    """Whether a decorator of somebody's own makes something of its values that only that knows."""
    plain = below(type_)
    return isinstance(plain, TypeDecorator) and not isinstance(plain, types.Interval)


def below(type_: Any) -> Any:
    """The type that stores the same values; one that does something to them in Python is that itself.

    An interval is a decorator of SQLAlchemy's own, and known.
    """
    if not isinstance(type_, TypeDecorator) or isinstance(type_, types.Interval):
        return type_
    cls = type(type_)
    known = isinstance(type_, UtcDateTime) or (cls.__module__, cls.__qualname__) in _MOMENTS
    same = all(getattr(cls, way) is getattr(TypeDecorator, way) for way in _WAYS)
    return below(type_.impl_instance) if known or same else type_
