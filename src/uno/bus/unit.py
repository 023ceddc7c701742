"""The port through which events reach the unit of work, whatever that is."""

from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Protocol

from uno.context import left_behind
from uno.messages import DomainEvent


class Unit(Protocol):
    """What changes together; it publishes the events it was given once they are facts."""

    over: bool

    def record(self, event: DomainEvent) -> None: ...


class OpenUnit(Protocol):
    """Opens a unit of work."""

    def __call__(self) -> AbstractAsyncContextManager[Unit]: ...


current_unit: ContextVar[Unit | None] = left_behind(ContextVar("uno.unit", default=None), None)


def ambient() -> Unit | None:
    """The unit of work of this task; one that is over does not count.

    A task started in a handler has a copy of its context, and may outlive the message.
    """
    unit = current_unit.get()
    return None if unit is None or unit.over else unit
