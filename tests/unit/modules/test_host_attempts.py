"""Each attempt inside a host: which state of the breaker it counts for, and what is known of it afterwards."""

import asyncio
from typing import Any

from uno import clock
from uno.errors import Unavailable
from uno.modules import (
    Event,
    EventInput,
    EventOutput,
    Module,
    ModuleHost,
    ModuleHostConfig,
    handles,
)
from uno.resilience import CircuitBreaker, CircuitState, DeadLetterQueue, RetryPolicy

OFTEN = RetryPolicy(max_retries=2, base_delay=0, budget=None)


class Ask(Event[EventInput, EventOutput]):
    name = "attempts.ask"


class Answering(Module):
    """Each attempt waits until the test says how it ends."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[None]] = []

    @handles(Ask)
    async def answer(self, input: EventInput) -> EventOutput:
        ending = asyncio.get_running_loop().create_future()
        self.attempts.append(ending)
        await ending
        return EventOutput()


class Moved(clock.SystemClock):
    """Time that the test adds to."""

    added = 0.0

    def monotonic(self) -> float:
        return clock.SystemClock.monotonic() + self.added


def ask() -> Ask:
    return Ask(input=EventInput())


async def begun(module: Answering, attempts: int) -> None:
    async with clock.timeout(20):
        while len(module.attempts) < attempts:
            await asyncio.sleep(0)


def a_host(module: Module, **config: Any) -> ModuleHost:
    return ModuleHost(ModuleHostConfig(**config)).register(module)


async def test_old_attempts_that_fail_do_not_open_a_breaker_that_has_closed_again() -> None:
    breaker, module = CircuitBreaker("bank", failure_threshold=2, success_threshold=1), Answering()
    host = a_host(module, circuit_breaker=breaker, retry_policy=OFTEN)
    time = Moved()
    with clock.use(time):
        old = [asyncio.create_task(host.handle_async(ask())) for _ in range(2)]
        await begun(module, 2)
        breaker.record_failure()
        breaker.record_failure()
        assert breaker.state is CircuitState.OPEN
        time.added += 60
        probe = asyncio.create_task(host.handle_async(ask()))
        await begun(module, 3)
        module.attempts[2].set_result(None)
        await probe
        assert breaker.state is CircuitState.CLOSED
        for ending in module.attempts[:2]:
            ending.set_exception(Unavailable("down"))
        await begun(module, 5)
        assert breaker.state is CircuitState.CLOSED
        for ending in module.attempts[3:]:
            ending.set_result(None)
        await asyncio.gather(*old)


async def test_half_open_an_old_attempt_takes_nobodys_probe() -> None:
    breaker, module = CircuitBreaker("bank", failure_threshold=1, success_threshold=1), Answering()
    host = a_host(module, circuit_breaker=breaker, retry_policy=OFTEN)
    time = Moved()
    with clock.use(time):
        old = asyncio.create_task(host.handle_async(ask()))
        await begun(module, 1)
        breaker.record_failure()
        time.added += 60
        probe = asyncio.create_task(host.handle_async(ask()))
        await begun(module, 2)
        module.attempts[0].set_exception(Unavailable("down"))
        await begun(module, 3)
        assert breaker.state is CircuitState.HALF_OPEN
        module.attempts[1].set_result(None)
        await probe
        assert breaker.state is CircuitState.CLOSED
        module.attempts[2].set_result(None)
        await old


async def test_an_attempt_of_a_probe_that_fails_opens_the_breaker_at_once() -> None:
    breaker, module = CircuitBreaker("bank", failure_threshold=1, success_threshold=1), Answering()
    host = a_host(module, circuit_breaker=breaker, retry_policy=OFTEN)
    time = Moved()
    with clock.use(time):
        breaker.record_failure()
        time.added += 60
        probe = asyncio.create_task(host.handle_async(ask()))
        await begun(module, 1)
        module.attempts[0].set_exception(Unavailable("down"))
        await begun(module, 2)
        assert breaker.state is CircuitState.OPEN
        module.attempts[1].set_result(None)
        await probe
        assert breaker.state is CircuitState.OPEN


DOWN = Unavailable("always the same object")


class Failing(Module):
    @handles(Ask, inline=True)
    def answer(self, input: EventInput) -> EventOutput:
        raise DOWN


def test_the_attempts_at_one_event_are_not_told_of_another_that_fails_with_the_same_error() -> None:
    dead, other = DeadLetterQueue(), DeadLetterQueue()
    repeating = a_host(Failing(), retry_policy=OFTEN, dead_letter_queue=dead, propagate_exceptions=False)
    once = a_host(Failing(), dead_letter_queue=other, propagate_exceptions=False)
    repeating.handle(ask())
    once.handle(ask())
    repeating.handle(ask())
    assert [entry.attempts for entry in dead.entries] == [3, 3]
    assert [entry.attempts for entry in other.entries] == [1]
    assert "__uno_attempts__" not in vars(DOWN)


class Slow(Module):
    """Takes longer than it may without ever letting go of its thread."""

    def __init__(self, time: Moved) -> None:
        self.time = time

    @handles(Ask, inline=True)
    def answer(self, input: EventInput) -> EventOutput:
        self.time.added += 60
        return EventOutput()


async def test_an_inline_handler_that_is_late_has_done_its_work_with_an_event_loop_as_without_one() -> None:
    time = Moved()
    with clock.use(time):
        host = a_host(Slow(time), retry_policy=RetryPolicy(deadline=5))
        for handle in (host.handle_async, lambda event: asyncio.to_thread(host.handle, event)):
            event = await handle(ask())
            assert (event.handled, event.output) == (True, EventOutput())
