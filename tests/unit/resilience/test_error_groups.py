"""A group of errors of uno's tree is its gravest one; where a bug is among them it is a bug."""

import pytest

from uno.errors import Conflict, Misconfigured, NotFound, OutcomeUnknown, RateLimited, TimedOut, Unavailable
from uno.resilience import RetryPolicy
from uno.resilience.commits import CommittedLate
from uno.resilience.faults import is_fault
from uno.resilience.groups import refusal
from uno.resilience.timeout import FinishedLate


def group(*errors: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("several", errors)


NOT_FOUND, CONFLICT = NotFound("Order", 7), Conflict("taken")
UNKNOWN, STORED, LATE = OutcomeUnknown("lost"), CommittedLate("stored"), FinishedLate("done", 3)


@pytest.mark.parametrize(
    ("errors", "gravest"),
    [
        ([NOT_FOUND, CONFLICT], NOT_FOUND),
        ([CONFLICT, NOT_FOUND], CONFLICT),
        ([NOT_FOUND, LATE], LATE),
        ([LATE, STORED], STORED),
        ([STORED, UNKNOWN], UNKNOWN),
        ([CONFLICT, group(NOT_FOUND, STORED)], STORED),
        ([TimedOut("late")], TimedOut("late")),
        ([NOT_FOUND, Unavailable("away"), TimedOut("late")], Unavailable("away")),
        ([TimedOut("late"), LATE], LATE),
    ],
)
def test_the_gravest_is_what_may_be_done_then_a_fault_then_what_came_first(
    errors: list[Exception], gravest: Exception
) -> None:
    whole = group(*errors)
    found = refusal(whole)
    assert (type(found), str(found)) == (type(gravest), str(gravest))
    assert vars(found) == vars(gravest)
    assert found is not None
    assert found.__cause__ is whole
    assert gravest.__cause__ is None


@pytest.mark.parametrize("bug", [ValueError("bug"), Misconfigured("wrong"), group(ZeroDivisionError())])
def test_one_bug_makes_it_a_bug(bug: Exception) -> None:
    assert refusal(group(NOT_FOUND, bug)) is None
    assert refusal(bug) is None


def test_an_error_of_the_tree_is_itself() -> None:
    assert refusal(CONFLICT) is CONFLICT


@pytest.mark.parametrize(
    ("error", "repeated"),
    [
        (group(NOT_FOUND, CONFLICT), False),
        (group(NOT_FOUND, Unavailable("away")), True),
        (group(group(ValueError("bug"))), True),
        (group(Unavailable("away"), group(STORED)), False),
    ],
)
def test_a_policy_repeats_a_group_with_a_fault_in_it(error: Exception, repeated: bool) -> None:
    assert RetryPolicy(3).should_retry(error, 0) is repeated


def test_a_breaker_does_not_count_a_group_of_answers() -> None:
    assert not is_fault(group(NOT_FOUND, group(CONFLICT)))
    assert is_fault(group(NOT_FOUND, group(TimedOut("late"))))


def test_a_copy_of_a_constant_writes_nothing_on_it() -> None:
    constant = Conflict("taken")
    constant.add_note("once")
    found = refusal(group(constant))
    assert found is not None
    found.add_note("of one caller")
    assert constant.__notes__ == ["once"]


def test_the_longest_time_that_one_of_the_group_asks_for_is_waited() -> None:
    error = group(Unavailable("away", retry_after=7), RateLimited(retry_after=3), group(ValueError()))
    assert RetryPolicy(3, base_delay=0, budget=None).next_delay(error, 0) == 7
