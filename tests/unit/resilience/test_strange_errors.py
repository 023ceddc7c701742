"""Errors whose attributes cannot be read, or say nonsense: guards count and repeat them as any other."""

import math
from typing import Any

import pytest

from uno.resilience import CircuitBreaker, CircuitBreakerOpen, RetryPolicy
from uno.resilience.faults import is_fault, told_to_wait


class HttpError(Exception):
    @property
    def retry_after(self) -> float:
        headers: dict[str, str] = {}
        return float(headers["Retry-After"])


class Mute(Exception):
    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


def in_a_circle() -> Exception:
    error, other = RuntimeError("down"), RuntimeError("as well")
    vars(error)["original_error"], vars(other)["original_error"] = other, error
    return error


def late(after: object) -> Exception:
    error = RuntimeError("busy")
    vars(error)["retry_after"] = after
    return error


STRANGE = [HttpError("502"), Mute("down"), in_a_circle(), late("soon"), late(None), late(math.nan), late(True)]


@pytest.mark.parametrize("error", STRANGE, ids=lambda e: type(e).__name__)
def test_a_strange_error_is_repeated_and_counted_as_what_it_is(error: Exception) -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)) as caught:
        RetryPolicy(max_retries=3, base_delay=0).run(fail)
    assert caught.value is error
    assert len(calls) == 4
    breaker = CircuitBreaker(failure_threshold=2)
    for _ in range(2):
        with pytest.raises(type(error)):
            breaker.run(fail)
    with pytest.raises(CircuitBreakerOpen):
        breaker.run(fail)
    assert told_to_wait(error) == 0
    assert is_fault(error)


def test_who_asks_to_wait_for_ever_is_not_repeated() -> None:
    assert told_to_wait(late(10**400)) == math.inf
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise late(10**400)

    with pytest.raises(RuntimeError, match="busy"):
        RetryPolicy(max_retries=3, base_delay=0).run(fail)
    assert len(calls) == 1
