"""The circuit breaker against a model of it, in every order of events that hypothesis thinks of."""

import asyncio
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from uno import clock
from uno.errors import Unavailable
from uno.resilience import CircuitBreaker, CircuitBreakerOpen

RECOVERY = 10


class Hands:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time


class Breaker(RuleBasedStateMachine):
    """The model: a generation, and for each call under way the generation and time it began in."""

    @initialize(failures=st.integers(1, 3), successes=st.integers(1, 3))
    def begin(self, failures: int, successes: int) -> None:
        self.hands: Any = Hands()
        self.using = clock.use(self.hands)
        self.using.__enter__()
        self.breaker = CircuitBreaker("model", failures, RECOVERY, successes)
        self.failures, self.successes = failures, successes
        self.state, self.generation, self.count, self.opened = "closed", 0, 0, 0.0
        self.calls: list[tuple[Any, int, float]] = []

    def teardown(self) -> None:
        if hasattr(self, "using"):
            self.using.__exit__(None, None, None)

    def become(self, state: str, when: float = 0.0) -> None:
        self.state, self.count, self.opened = state, 0, when
        self.generation += 1

    def probes(self) -> list[float]:
        return [began for _, generation, began in self.calls if generation == self.generation]

    def advance(self) -> None:
        now = self.hands.time
        if self.state == "half_open" and self.probes() and min(self.probes()) + RECOVERY <= now:
            self.become("open", min(self.probes()) + RECOVERY)
        if self.state == "open" and self.opened + RECOVERY <= now:
            self.become("half_open")

    @rule(seconds=st.sampled_from([1, 4, 10, 25]))
    def wait(self, seconds: int) -> None:
        self.hands.time += seconds
        self.advance()

    @rule()
    def enter(self) -> None:
        allowed = self.state == "closed" or (self.state == "half_open" and len(self.probes()) < self.successes)
        if not allowed:
            with pytest.raises(CircuitBreakerOpen) as refused:
                self.breaker.enter()
            assert refused.value.retry_after > 0
            return
        self.calls.append((self.breaker.enter(), self.generation, self.hands.time))

    @rule(data=st.data(), error=st.sampled_from([None, Unavailable("x"), OSError(), asyncio.CancelledError()]))
    def leave(self, data: st.DataObject, error: BaseException | None) -> None:
        if not self.calls:
            return
        ticket, generation, _ = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self.breaker.leave(ticket, error)
        if generation != self.generation or isinstance(error, asyncio.CancelledError):
            return
        if error is not None:
            self.count_failure()
        elif self.state == "closed":
            self.count = 0
        else:
            self.count += 1
            if self.count == self.successes:
                self.become("closed")

    def count_failure(self) -> None:
        self.count += 1
        if self.state == "half_open" or self.count == self.failures:
            self.become("open", self.hands.time)

    @rule()
    def reset(self) -> None:
        self.breaker.reset()
        self.become("closed")

    @invariant()
    def they_agree(self) -> None:
        if hasattr(self, "breaker"):
            assert self.breaker.state == self.state


TestBreaker = Breaker.TestCase
