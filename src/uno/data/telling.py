"""Who waits for a commit is told of it, also where whoever committed does not wait any more."""

from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING

from uno.aio.relay import Call, apart, each_in_turn

if TYPE_CHECKING:
    from uno.data.unit_of_work import UnitOfWork

_NAME = "after a commit"


def keep_outcome(uow: "UnitOfWork") -> None:
    """What it was about to commit is committed."""
    if uow.outcome is not None:
        uow.outcomes.append(uow.outcome)
        uow.outcome = None


def tell(uow: "UnitOfWork") -> Awaitable[None]:
    """Those who wait for its commits."""
    return each_in_turn(_calls(uow), _NAME)


def tell_the_rest(uow: "UnitOfWork") -> None:
    """In the background those who should have been told: its caller was cancelled, or failed, with something stored."""
    if uow.outcome is None and not uow.outcomes:
        return
    if uow.stored:
        keep_outcome(uow)
    apart(_calls(uow), _NAME)


def _calls(uow: "UnitOfWork") -> list[Call]:
    outcomes, uow.outcomes = uow.outcomes, []
    return [partial(one, outcome) for outcome in outcomes for one in uow.after]
