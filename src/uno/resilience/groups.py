"""What a group of errors is where one error is wanted: the gravest of them, unless there is a bug among them."""

from collections.abc import Iterator

from uno.errors import Misconfigured, OutcomeUnknown, UnoError, again
from uno.resilience.commits import CommittedLate
from uno.resilience.faults import is_fault
from uno.resilience.timeout import FinishedLate

# What was begun may be done, or is, so that nobody may do it again; the gravest first. After them come faults,
# then the others, of each what was raised first.
MAY_BE_DONE = (OutcomeUnknown, CommittedLate, FinishedLate)


def refusal(error: Exception) -> UnoError | None:
    """The error of uno's tree that this is, or this group of nothing but such errors; None for a bug.

    Of a group it is a copy of its gravest error, with the group as its cause.
    """
    if isinstance(error, ExceptionGroup):
        return _gravest(error)
    return error if isinstance(error, UnoError) and not isinstance(error, Misconfigured) else None


def _gravest(group: ExceptionGroup[Exception]) -> UnoError | None:
    found: list[UnoError] = []
    for leaf in _leaves(group):
        if not isinstance(leaf, UnoError) or isinstance(leaf, Misconfigured):
            return None
        found.append(leaf)
    # A copy: it would be inside its own cause, and may be a constant of the program.
    made = again(min(found, key=_rank))
    made.__cause__ = group
    return made


def _leaves(group: ExceptionGroup[Exception]) -> Iterator[Exception]:
    for one in group.exceptions:
        if isinstance(one, ExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


def _rank(error: UnoError) -> int:
    """Of the others first what retries and breakers look for: it must not be taken for an answer."""
    last = len(MAY_BE_DONE) + (not is_fault(error))
    return next((rank for rank, kind in enumerate(MAY_BE_DONE) if isinstance(error, kind)), last)
