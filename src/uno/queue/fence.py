"""How the unit of work of a subscriber learns which delivery it completes."""

from contextvars import ContextVar

from uno.context import left_behind
from uno.data import Changes, UnitOfWork
from uno.data.changes import Operation


class Fence:
    """The completion of one delivery; the first unit of work that commits takes it along."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.passed = False


current_fence: ContextVar[Fence | None] = left_behind(ContextVar("uno.fence", default=None), None)


def attach(uow: UnitOfWork) -> None:
    """Let `uow` commit only together with the completion of the current delivery, if there is one."""
    fence = current_fence.get()
    if fence is not None and not fence.passed:
        uow.fence(fence.operation)


async def passed(_changes: Changes) -> None:
    """After a commit: what follows is not part of the delivery any more."""
    fence = current_fence.get()
    if fence is not None:
        fence.passed = True
