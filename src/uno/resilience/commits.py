"""What is said of commits that were under way when somebody was interrupted, so that nothing is done twice."""

import asyncio
from collections.abc import Collection
from typing import Any

from uno.errors import OutcomeUnknown, TimedOut, Unavailable, UnoError

Commit = asyncio.Task[Any]
# On a cancellation.
_NOTED = "__uno_commit__"


class CommittedLate(TimedOut):
    """It was interrupted while it committed, and what it wrote is stored: a retry must not do it again."""


def interrupted(commits: Collection[Commit], message: str) -> UnoError:
    """The error for who is told that it took too long, in the middle of these."""
    text, ended = message.removesuffix("."), [commit for commit in commits if commit.done()]
    errors = [_error(commit) for commit in ended]
    unknown = next((error for error in errors if isinstance(error, OutcomeUnknown)), None)
    if unknown is not None:
        return unknown
    if len(ended) < len(commits):
        return OutcomeUnknown(f"{text}; a commit is still under way.")
    stored = errors.count(None)
    if not stored:
        return TimedOut(message)
    if stored < len(errors):
        return CommittedLate(f"{text}; of {len(errors)} commits that were under way {stored} succeeded.")
    return CommittedLate(f"{text}; its commit was under way, and has succeeded.")


def note(cancelled: asyncio.CancelledError, *commits: Commit) -> None:
    """This cancellation came in the middle of these."""
    vars(cancelled)[_NOTED] = commits


def noted(cancelled: BaseException) -> tuple[Commit, ...]:
    """The commits in the middle of which this came."""
    found: tuple[Commit, ...] = vars(cancelled).get(_NOTED, ())
    return found


def explained(cancelled: BaseException, message: str) -> UnoError | None:
    """The error for who is told of a cancellation that no timeout has made; None where nothing was stored."""
    found = interrupted(noted(cancelled), message)
    return None if type(found) is TimedOut else found


def of_cancelled(task: asyncio.Task[Any], message: str) -> UnoError:
    """The error for who waits for the outcome of a task that was cancelled: `Unavailable`, unless something is stored,
    or may be."""
    try:
        task.result()
    except asyncio.CancelledError as cancelled:
        return explained(cancelled, message) or Unavailable(message)
    raise AssertionError("the task was not cancelled")


def _error(commit: Commit) -> BaseException | None:
    return asyncio.CancelledError() if commit.cancelled() else commit.exception()
