"""ModuleHost: whose error is told to whom, and what counts as published."""

import asyncio
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from uno.errors import Misconfigured, TimedOut, Unavailable
from uno.modules import (
    Event,
    EventHandlingError,
    EventInput,
    EventOutput,
    ExternalEvent,
    Module,
    ModuleHost,
    ModuleHostConfig,
    handles,
    module,
)
from uno.resilience import CircuitBreaker, CircuitBreakerOpen, RateLimiter, RateLimitExceeded, RetryPolicy


@dataclass
class StepInput(EventInput):
    word: str = ""


class Step(Event[StepInput, EventOutput]):
    name = "test.step"


@module(name="Failing")
class Failing(Module):
    calls = 0

    @handles(Step)
    def step(self, input: StepInput) -> EventOutput:
        self.calls += 1
        raise ValueError("no")


class Receiver(Module):
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.told: list[str] = []

    def can_handle(self, event: Event[Any, Any]) -> bool:
        return isinstance(event, ExternalEvent)

    async def handle(self, event: Event[Any, Any]) -> None:
        self.told.append(event.name)
        if self.error is not None:
            raise self.error
        event.handled = True


def a_host(*modules: Module, **config: Any) -> ModuleHost:
    host = ModuleHost(ModuleHostConfig(enable_metrics=True, **config))
    for one in modules:
        host.register(one)
    return host


def step() -> Step:
    return Step(input=StepInput())


def published(host: ModuleHost) -> int:
    assert host.metrics is not None
    return host.metrics.events_published


# ── retries ──


async def test_where_a_retry_cannot_wait_the_error_of_the_handler_is_the_cause() -> None:
    told: list[Exception] = []
    host = a_host(
        Failing(),
        retry_policy=RetryPolicy(max_retries=2, base_delay=1, jitter=False),
        on_error=lambda error, _event: told.append(error),
    )
    with pytest.raises(EventHandlingError, match="await it") as caught:
        host.handle(step())
    original = caught.value.original_error
    assert isinstance(original, Misconfigured)
    assert isinstance(original.__cause__, ValueError)
    assert told == [original]


def test_a_retry_begins_without_the_output_of_the_attempt_before() -> None:
    seen: list[tuple[Any, bool]] = []

    class Hasty(Module):
        events = [Step]

        def handle(self, event: Event[Any, Any]) -> None:
            seen.append((event.output, event.handled))
            event.output, event.handled = EventOutput(), True
            if len(seen) == 1:
                raise Unavailable("not yet")

    assert a_host(Hasty(), retry_policy=RetryPolicy(base_delay=0)).handle(step()).handled
    assert seen == [(None, False), (None, False)]


async def test_a_handler_that_is_too_slow_for_the_policy_has_failed_and_refused_nothing() -> None:
    class Slow(Module):
        @handles(Step)
        async def step(self, input: StepInput) -> EventOutput:
            await asyncio.Event().wait()
            return EventOutput()

    policy = RetryPolicy(deadline=0.01)
    with pytest.raises(EventHandlingError) as caught:
        await a_host(Slow(), retry_policy=policy).handle_async(step())
    assert isinstance(caught.value.original_error, TimedOut)
    quiet = a_host(Slow(), retry_policy=policy, propagate_exceptions=False)
    assert not (await quiet.handle_async(step())).handled


# ── named payloads ──


async def test_a_payload_that_the_limiter_refuses_is_not_published() -> None:
    receiver = Receiver()
    host = a_host(receiver, rate_limiter=RateLimiter(rate=0.001, burst=1))
    await host.publish("first")
    with pytest.raises(RateLimitExceeded):
        await host.publish("second")
    assert receiver.told == ["first"]
    assert published(host) == 1


async def test_a_payload_that_the_breaker_refuses_is_not_published() -> None:
    receiver = Receiver(ValueError("deaf"))
    host = a_host(receiver, circuit_breaker=CircuitBreaker(failure_threshold=1))
    await host.publish("first")
    with pytest.raises(CircuitBreakerOpen):
        await host.publish("second")
    assert receiver.told == ["first"]
    assert published(host) == 1


# ── registration ──


class Rival(Module):
    @handles(Step)
    def step(self, input: StepInput) -> EventOutput:
        return EventOutput()


class Loading(Rival):
    """Registers a rival of itself while it is loaded."""

    def __init__(self) -> None:
        self.unloaded_of: list[Any] = []

    def on_load(self) -> None:
        assert self.host is not None
        self.host.register(Rival())

    def on_unload(self) -> None:
        self.unloaded_of.append(self.host)


def test_a_module_that_registers_a_rival_while_it_is_loaded_is_unloaded_again() -> None:
    host, loading = a_host(), Loading()
    with pytest.raises(Misconfigured, match="both declare Step"):
        host.register(loading)
    assert [type(one) for one in host.modules] == [Rival]
    assert loading.unloaded_of == [host]
    assert loading.host is None


async def test_a_module_whose_rival_came_while_it_was_loaded_is_unloaded_again() -> None:
    unloaded: list[str] = []

    class Slow(Rival):
        async def on_load(self) -> None:
            loading.set()
            await rival.wait()

        async def on_unload(self) -> None:
            unloaded.append("slow")

    loading, rival, host = asyncio.Event(), asyncio.Event(), a_host()
    slow = Slow()
    registering = asyncio.create_task(host.register_async(slow))
    await loading.wait()
    host.register(Rival())
    rival.set()
    with pytest.raises(Misconfigured, match="both declare Step"):
        await registering
    assert unloaded == ["slow"]
    assert slow.host is None


class Told(Module):
    """Told to exit while it is loaded."""

    def on_load(self) -> None:
        raise KeyboardInterrupt


async def test_what_goes_through_while_a_module_is_loaded_is_not_its_own_cause() -> None:
    host, told = a_host(), Told()
    with pytest.raises(KeyboardInterrupt) as caught:
        host.register(told)
    assert caught.value.__cause__ is None
    with pytest.raises(KeyboardInterrupt) as caught:
        await host.register_async(told)
    assert caught.value.__cause__ is None
    assert (host.modules, told.host) == ([], None)


@pytest.mark.parametrize("counting", [True, False])
def test_endless_recursion_is_an_error_and_leaves_nothing_behind(counting: bool) -> None:
    class Looping(Module):
        @handles(Step)
        def step(self, input: StepInput) -> EventOutput:
            assert self.host is not None
            return self.host.handle(Step(input=input)).output

    def deeper(by: int) -> Step:
        return deeper(by - 1) if by else host.handle(Step(input=StepInput()))

    host = ModuleHost(ModuleHostConfig(enable_metrics=counting)).register(Looping())
    limit = sys.getrecursionlimit()
    # From each of these depths the stack ends at another place.
    for depth in range(60):
        with pytest.raises(EventHandlingError) as caught:
            deeper(depth)
        assert len(str(caught.value)) < 10_000
        assert host.events_in_progress == []
    assert sys.getrecursionlimit() == limit
