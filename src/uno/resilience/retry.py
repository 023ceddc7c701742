"""Retries: which errors, after which delay, and when to stop.

The delay is "full jitter" as in M. Brooker, "Exponential Backoff And Jitter", AWS Architecture
Blog, 2015: a random part of `min(max_delay, base_delay * exponential_base ** attempt)`.
"""

import copy
from collections.abc import Callable
from functools import partial
from inspect import isawaitable
from itertools import count
from types import CoroutineType
from typing import Any

from uno import ids
from uno.errors import Misconfigured, UnoError
from uno.resilience import deadline as deadlines
from uno.resilience.arguments import (
    COROUTINE,
    exceptions_of,
    not_a_function,
    require_counts,
    require_function,
    require_numbers,
)
from uno.resilience.budget import RetryBudget
from uno.resilience.faults import is_fault, is_verdict, told_to_wait
from uno.resilience.groups import MAY_BE_DONE
from uno.resilience.shapes import Guard, pause
from uno.resilience.timeout import FinishedLate, Timeout
from uno.result import Failure
from uno.telemetry.logs import get_logger
from uno.telemetry.signals import count as count_signal, emit

log = get_logger("uno.retry")
# On an error that has been retried: the number of that occasion. One policy inside another sees it.
_MARK = "__uno_retried__"
# Errors that are looked at for it, at most.
_MOST = 64


class _Occasions:
    """How often a policy has given up, of all policies in this process."""

    def __init__(self) -> None:
        self.last = 0
        self._numbers = count(1)

    def next(self) -> int:
        self.last = next(self._numbers)
        return self.last


_gave_up = _Occasions()


class RetryPolicy(Guard):
    """Calls again, up to `max_retries` times, what failed with `Unavailable`, `TimedOut` or a bug.

    Of errors outside uno's tree those of `retryable_exceptions`; of the tree also others that are
    named there. Never repeated: what was cancelled, `OutcomeUnknown`, `Misconfigured`, and what a
    policy further inside has repeated already. `deadline` (seconds) limits all attempts together. An
    error's `retry_after` is waited for; where it is longer than `max_delay` or what is left of the
    deadline, the error is raised. `budget` is the part of the calls that retries may add, None for
    any number. `on_retry(error, attempt, delay)` is told before each retry. Thread-safe.
    """

    def __init__(
        self,
        max_retries: int = 3,
        base_delay: float = 1.0,
        max_delay: float = 60.0,
        exponential_base: float = 2.0,
        retryable_exceptions: type[Exception] | tuple[type[Exception], ...] = (Exception,),
        *,
        jitter: bool = True,
        deadline: float | None = None,
        budget: float | None = 0.1,
        name: str | None = None,
        on_retry: Callable[[Exception, int, float], object] | None = None,
    ) -> None:
        share = 0.0 if budget is None else budget
        require_counts("a RetryPolicy", max_retries=max_retries)
        require_numbers("a RetryPolicy", base_delay=base_delay, max_delay=max_delay, budget=share)
        require_numbers("a RetryPolicy", exponential_base=exponential_base)
        require_function("a RetryPolicy", "on_retry", on_retry)
        if min(max_retries, base_delay, max_delay, share) < 0 or exponential_base < 1:
            raise Misconfigured("A RetryPolicy has no negative numbers, and an exponential_base of 1 or more.")
        self.max_retries = max_retries
        self.base_delay = base_delay
        self.max_delay = max_delay
        self.exponential_base = exponential_base
        self.retryable_exceptions = exceptions_of("a RetryPolicy", "retryable_exceptions", retryable_exceptions)
        self.jitter = jitter
        self.deadline = deadline
        self.name = name or "unnamed"
        self.on_retry = on_retry
        self.limited = budget is not None
        self.budget = RetryBudget(share)
        # Only who names an error of the tree wants more of it repeated than its faults.
        self._named = tuple(kind for kind in self.retryable_exceptions if issubclass(kind, UnoError))
        self._whole = None if deadline is None else Timeout(deadline, name=name)
        self._inner: RetryPolicy | None = None

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives, at last; the last error where it never succeeds."""
        if type(f) is COROUTINE:
            raise not_a_function(f)
        if self._whole is not None:
            try:
                return await self._whole.call(self._within().call, f, *args, **kwargs)
            except FinishedLate as late:
                return late.value
        self.budget.calls += 1
        before = _gave_up.last
        try:
            found = f(*args, **kwargs)
            if type(found) is CoroutineType or isawaitable(found):
                found = await found
        except Exception as error:  # retried, or raised again below
            failed: Exception | Failure = error
        else:
            if type(found) is not Failure:
                return found
            failed = found
        try:
            return await self.again(failed, before, partial(f, *args, **kwargs))
        finally:
            del failed  # its traceback holds this frame

    async def again(
        self,
        failed: Exception | Failure,
        before: int,
        f: Callable[[], Any],
        *,
        decide: Callable[..., float | None] | None = None,
    ) -> Any:
        """By hand, after the first attempt: what calls of `f()` give, at last; `before` is from `begin`.

        `decide` takes the place of `next_delay`.
        """
        decide = decide or self.next_delay
        try:
            attempt = 0
            while (delay := decide(_error(failed), attempt, before=before)) is not None:
                await self._pause(delay, failed)
                attempt += 1
                try:
                    found = f()
                    if isawaitable(found):
                        found = await found
                except Exception as error:  # retried, or raised again below
                    failed = error
                else:
                    if type(found) is not Failure:
                        return found
                    failed = found
            if type(failed) is Failure:
                return failed
            raise _error(failed)
        finally:
            del failed

    # ── what is decided after a failure ──

    def begin(self) -> int:
        """By hand: count a call, before its first attempt. What it gives goes to `next_delay`."""
        self.budget.calls += 1
        return _gave_up.last

    def next_delay(self, error: Exception, attempt: int, *, before: int = 0) -> float | None:
        """Seconds to wait before calling again after the failure of `attempt` (from 0); None to give up."""
        if not self._repeatable(error):
            return None
        delay = max(self.calculate_delay(attempt), told_to_wait(error))
        if not self._may_retry(error, attempt, delay, before):
            if self.max_retries:
                vars(error)[_MARK] = _gave_up.next()  # by its dictionary: an error may be frozen
            return None
        emit("retry.scheduled", retry=self.name, attempt=attempt + 1, delay=delay, error=type(error).__name__)
        self._tell(error, attempt + 1, delay)
        return delay

    def should_retry(self, error: BaseException, attempt: int) -> bool:
        """Whether `attempt` (from 0) is not the last and `error` is of a kind that is repeated."""
        return attempt < self.max_retries and self._repeatable(error)

    def calculate_delay(self, attempt: int) -> float:
        """Seconds after the failure of `attempt` (from 0); without jitter the longest there are."""
        try:
            longest = min(self.max_delay, self.base_delay * self.exponential_base**attempt)
        except OverflowError:
            longest = self.max_delay
        return longest * ids.fraction() if self.jitter else longest

    def _repeatable(self, error: BaseException) -> bool:
        if not is_verdict(error) or _may_be_done(error):
            return False
        if isinstance(error, UnoError) and isinstance(error, self._named):
            return True
        return isinstance(error, self.retryable_exceptions) and is_fault(error) and not isinstance(error, Misconfigured)

    def _may_retry(self, error: Exception, attempt: int, delay: float, before: int) -> bool:
        if attempt >= self.max_retries or _retried_since(error, before):
            return False
        left = deadlines.remaining()
        if left is not None and delay >= left:
            return False
        if delay > self.max_delay:
            return False
        if self.limited and not self.budget.spend():
            self._tell_spent(error)
            return False
        return True

    def _tell_spent(self, error: Exception) -> None:
        """Told when an outage has used up the budget, counted while it lasts."""
        if self.budget.told:
            count_signal("retry.budget_spent")
        else:
            self.budget.told = True
            emit("retry.budget_spent", retry=self.name, error=type(error).__name__)

    def _tell(self, error: Exception, attempt: int, delay: float) -> None:
        if self.on_retry is not None:
            try:
                self.on_retry(error, attempt, delay)
            except Exception:  # a listener must not change what happens; the log shows its error
                log.exception("on_retry failed")

    async def _pause(self, delay: float, failed: Exception | Failure) -> None:
        try:
            await pause(delay)
        except Misconfigured as wrong:  # a synchronous call inside an event loop: what failed must not be lost
            raise wrong from _error(failed)

    def _within(self) -> "RetryPolicy":
        """This policy for use inside its own deadline; it shares the budget."""
        if self._inner is None:
            inner = copy.copy(self)
            inner._whole = None
            self._inner = inner
        return self._inner


def _error(failed: Exception | Failure) -> Exception:
    return failed.error if isinstance(failed, Failure) else failed


def _may_be_done(error: BaseException) -> bool:
    """Whether another attempt may do something twice; of a group of errors, whether one of them says so."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(MAY_BE_DONE) is not None
    return isinstance(error, MAY_BE_DONE)


def _retried_since(error: BaseException, before: int) -> bool:
    """Whether `error`, what it was raised from, or one of its group was retried by another policy after `before`."""
    found: list[BaseException] = [error]
    for one in found:
        if vars(one).get(_MARK, 0) > before:
            return True
        inner = one.__cause__ or one.__context__
        found += [] if inner is None else [inner]
        found += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        del found[_MOST:]
    return False
