"""Whether an object was changed, without comparing its values."""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import repeat
from operator import is_
from types import NoneType
from typing import Any
from uuid import UUID
from weakref import ref

from sqlalchemy.orm.attributes import instance_state

_PLAIN = frozenset({NoneType, bool, int, float, str, bytes, Decimal, date, datetime, time, timedelta, UUID})
_ABSENT = object()


def unchangeable(values: Iterable[Any]) -> bool:
    """Whether none of these values can become another in its place."""
    kinds = {*map(type, values)} - _PLAIN
    return all(issubclass(kind, Enum) for kind in kinds)


class Frozen:
    """The attributes of an object that are all `unchangeable`: `modified` is whether one was set or deleted since."""

    __slots__ = ("_entity", "_then")

    def __init__(self, entity: Any) -> None:
        self._entity = entity
        self._then = {**entity.__dict__}

    @property
    def modified(self) -> bool:
        now, then = self._entity.__dict__, self._then
        return len(now) != len(then) or not all(map(is_, map(now.get, then, repeat(_ABSENT)), then.values()))


class Told:
    """Mapped objects that were changed: SQLAlchemy puts them here, as into the identity map of a session."""

    def __init__(self) -> None:
        self._modified: set[Any] = set()
        self._reference = ref(self)

    def hears_of(self, entity: Any) -> bool:
        """Whether the next change is told; not where one was made already, or is told to somebody else."""
        state: Any = instance_state(entity)
        if state.modified or state._instance_dict() not in (None, self):
            return False
        state._instance_dict = self._reference
        return True

    def changed(self) -> Iterator[Any]:
        """Each object once, until it is changed again."""
        while self._modified:
            entity = self._modified.pop().obj()
            if entity is not None:
                yield entity

    def _fast_discard(self, state: Any) -> None:
        """Its object is no more."""
        self._modified.discard(state)
