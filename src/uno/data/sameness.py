"""What SQLAlchemy calls unchanged: nothing that is to be written as another value."""

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import ARRAY, PickleType
from sqlalchemy.orm import Mapper
from sqlalchemy.types import TypeDecorator, TypeEngine

from uno.data.changes import differs

# Those that leave it to the values.
_PLAIN: Final = (TypeEngine.compare_values, ARRAY.compare_values)
_done: WeakSet[Mapper[Any]] = WeakSet()


def compare_as_stored(mapper: Mapper[Any]) -> None:
    """For columns of this class; a type that compares in a way of its own is believed."""
    if mapper in _done:
        return
    _done.add(mapper)
    for prop in mapper.column_attrs:
        impl: Any = mapper.class_manager[prop.key].impl
        if not isinstance(impl.is_equal, _Same) and _leaves_it(prop.columns[0].type):
            impl.is_equal = _Same(impl.is_equal)


def _leaves_it(type_: TypeEngine[Any]) -> bool:
    if isinstance(type_, PickleType):
        return type_.comparator is None
    if isinstance(type_, TypeDecorator) and type(type_).compare_values is TypeDecorator.compare_values:
        return _leaves_it(type_.impl_instance)
    return type(type_).compare_values in _PLAIN


class _Same:
    """What compares two values of an attribute."""

    __slots__ = ("_equal",)

    def __init__(self, equal: Callable[[Any, Any], Any]) -> None:
        self._equal = equal

    def __call__(self, now: Any, then: Any) -> Any:
        equal = self._equal(now, then)
        # SQLAlchemy counts nothing else, so that values may answer with an array or an expression.
        return not differs(then, now) if equal is True else equal
