"""What a host puts around its events: limits, retries, dead letters, hooks, counts, traces; and their faults."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import pytest

from uno import clock
from uno.errors import Invalid, Misconfigured, NotFound, Unavailable
from uno.messages import DomainEvent
from uno.modules import (
    Event,
    EventHandlingError,
    EventInput,
    EventOutput,
    ExternalEvent,
    Metrics,
    Module,
    ModuleHost,
    ModuleHostConfig,
    handles,
    module,
)
from uno.resilience import (
    CircuitBreaker,
    CircuitBreakerOpen,
    CircuitState,
    DeadLetterQueue,
    RateLimiter,
    RateLimitExceeded,
    RetryPolicy,
)
from uno.telemetry import Tracer


@dataclass
class WorkInput(EventInput):
    word: str = ""


class Work(Event[WorkInput, EventOutput]):
    name = "test.work"


class Other(Event[WorkInput, EventOutput]):
    name = "test.other"


@module(name="Worker")
class Worker(Module):
    """Fails with each of its errors once, then succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.progress: list[int] = []

    @handles(Work)
    def work(self, input: WorkInput) -> EventOutput:
        self.calls += 1
        assert self.host is not None
        self.progress.append(len(self.host.events_in_progress))
        if self.errors:
            raise self.errors.pop(0)
        return EventOutput()


def a_host(*modules: Module, **config: Any) -> ModuleHost:
    host = ModuleHost(ModuleHostConfig(enable_metrics=True, **config))
    for one in modules:
        host.register(one)
    return host


def counts(host: ModuleHost) -> dict[str, int]:
    assert host.metrics is not None
    return {name: count for name, count in host.metrics.to_dict().items() if count and name != "modules_registered"}


def work() -> Work:
    return Work(input=WorkInput())


# ── counts, hooks, progress ──


def test_the_counts_have_their_names_and_can_be_reset() -> None:
    metrics = Metrics(events_handled=3, modules_registered=2)
    assert list(metrics.to_dict()) == [
        "events_dispatched",
        "events_handled",
        "events_unhandled",
        "events_failed",
        "events_retried",
        "events_rate_limited",
        "events_circuit_broken",
        "events_dead_lettered",
        "events_published",
        "modules_registered",
    ]
    metrics.reset()
    assert metrics == Metrics(modules_registered=2)


def test_every_event_is_handled_unhandled_or_failed() -> None:
    host = a_host(Worker(ValueError("no")), propagate_exceptions=False)
    for event in (work(), work(), Other(input=WorkInput())):
        host.handle(event)
    assert counts(host) == {"events_dispatched": 3, "events_handled": 1, "events_unhandled": 1, "events_failed": 1}
    assert ModuleHost(ModuleHostConfig()).metrics is None


def test_one_event_is_in_progress_while_it_is_handled_and_none_after() -> None:
    worker = Worker()
    host = ModuleHost(ModuleHostConfig()).register(worker)
    host.handle(work())
    assert worker.progress == [1]
    assert host.events_in_progress == []


def test_hooks_are_told_of_start_end_and_error() -> None:
    told: list[Any] = []
    failure = ValueError("no")
    event = work()
    host = a_host(
        Worker(failure),
        propagate_exceptions=False,
        on_event_start=lambda event: told.append(("start", event)),
        on_event_end=lambda event, handled: told.append(("end", handled)),
        on_error=lambda error, event: told.append(("error", error)),
    )
    host.handle(event)
    host.handle(event)
    assert told == [("start", event), ("error", failure), ("end", False), ("start", event), ("end", True)]


def test_hooks_that_raise_break_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a broken hook")

    host = a_host(
        Worker(ValueError("no")),
        propagate_exceptions=False,
        on_event_start=broken,
        on_event_end=broken,
        on_error=broken,
    )
    assert not host.handle(work()).handled
    assert host.handle(work()).handled
    assert caplog.text.count("The hook on_event_start failed") == 2
    assert caplog.text.count("The hook on_error failed") == 1


def test_a_hook_that_would_have_to_be_awaited_is_refused() -> None:
    async def hook(event: Any) -> None: ...

    with pytest.raises(Misconfigured, match="on_event_start is a coroutine function"):
        ModuleHostConfig(on_event_start=hook)


# ── errors ──


def test_the_error_of_a_handler_says_which_event_module_and_cause() -> None:
    failure = ValueError("no luck")
    host = a_host(Worker(failure))
    event = work()
    with pytest.raises(EventHandlingError) as caught:
        host.handle(event)
    error = caught.value
    assert (error.event, error.original_error, error.__cause__) == (event, failure, failure)
    assert error.module is host.modules[0]
    assert str(error).split(" | ")[1:] == ["Event: test.work", "Module: Worker", "Cause: ValueError: no luck"]


def test_an_error_of_the_tree_is_a_failure_of_the_handler_too() -> None:
    with pytest.raises(EventHandlingError) as caught:
        a_host(Worker(NotFound("thing", 3))).handle(work())
    assert isinstance(caught.value.original_error, NotFound)


def test_without_propagation_the_error_is_logged_and_no_other_module_is_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Second(Module):
        calls = 0

        def can_handle(self, event: Event[Any, Any]) -> bool:
            return True

        def handle(self, event: Event[Any, Any]) -> None:
            self.calls += 1

    second = Second()
    host = a_host(Worker(ValueError("no luck")), second, propagate_exceptions=False)
    assert not host.handle(work()).handled
    assert second.calls == 0
    assert "Event test.work failed in module Worker" in caplog.text
    assert "no luck" in caplog.text


def test_of_several_modules_the_one_that_failed_is_named() -> None:
    class Passing(Module):
        def can_handle(self, event: Event[Any, Any]) -> bool:
            return True

        def handle(self, event: Event[Any, Any]) -> None: ...

    class Failing(Passing):
        def handle(self, event: Event[Any, Any]) -> None:
            raise ValueError("me")

    class Guarding(Passing):
        def can_handle(self, event: Event[Any, Any]) -> bool:
            raise NotFound("guard", event.name)

    failing, guarding = Failing(), Guarding()
    with pytest.raises(EventHandlingError) as caught:
        a_host(Passing(), failing).handle(work())
    assert caught.value.module is failing
    with pytest.raises(EventHandlingError) as caught:
        a_host(Passing(), guarding).handle(work())
    assert caught.value.module is guarding


def test_sys_exit_goes_through_and_leaves_nothing_behind() -> None:
    host = a_host(Worker(SystemExit(3)), propagate_exceptions=False)
    with pytest.raises(SystemExit):
        host.handle(work())
    assert host.events_in_progress == []
    assert counts(host) == {"events_dispatched": 1, "events_failed": 1}
    assert host.handle(work()).handled


async def test_stop_iteration_in_a_thread_hangs_nobody() -> None:
    host = a_host(Worker(StopIteration()))
    async with clock.timeout(20):
        with pytest.raises(EventHandlingError, match="StopIteration"):
            await host.handle_async(work())
    host.shutdown()


async def test_a_handler_that_hangs_can_be_cancelled() -> None:
    class Hanging(Module):
        @handles(Work)
        async def work(self, input: WorkInput) -> EventOutput:
            await asyncio.Event().wait()
            return EventOutput()

    dead = DeadLetterQueue()
    host = a_host(Hanging(), dead_letter_queue=dead, retry_policy=RetryPolicy(base_delay=0))
    with pytest.raises(TimeoutError):
        async with clock.timeout(0.01):
            await host.handle_async(work())
    assert host.events_in_progress == []
    assert counts(host) == {"events_dispatched": 1, "events_failed": 1}
    assert dead.entries == []


def test_control_characters_in_a_name_begin_no_line(caplog: pytest.LogCaptureFixture) -> None:
    name = "x\r\nINFO forged \x1b[31m\u2028line"
    with caplog.at_level(logging.DEBUG):
        a_host(propagate_exceptions=False, log_level="DEBUG").handle(Event[EventInput, EventOutput](name=name))
    lines = [r.getMessage() for r in caplog.records if "forged" in r.getMessage()]
    assert lines
    assert all(line.isprintable() for line in lines)
    assert str(EventHandlingError("bad", Event[EventInput, EventOutput](name=name))).isprintable()


# ── limits ──


def test_a_refused_event_is_raised_and_does_not_count_as_dispatched() -> None:
    dead = DeadLetterQueue()
    host = a_host(
        Worker(), propagate_exceptions=False, rate_limiter=RateLimiter(rate=0.001, burst=2), dead_letter_queue=dead
    )
    host.handle(work())
    host.handle(work())
    with pytest.raises(RateLimitExceeded) as caught:
        host.handle(work())
    assert caught.value.retry_after > 0
    assert counts(host) == {"events_dispatched": 2, "events_handled": 2, "events_rate_limited": 1}
    assert dead.entries == []


def test_an_open_breaker_refuses_without_calling() -> None:
    worker = Worker(*(ValueError("no") for _ in range(3)))
    breaker = CircuitBreaker(failure_threshold=3)
    host = a_host(worker, propagate_exceptions=False, circuit_breaker=breaker)
    for _ in range(3):
        host.handle(work())
    with pytest.raises(CircuitBreakerOpen):
        host.handle(work())
    assert breaker.state is CircuitState.OPEN
    assert worker.calls == 3
    assert counts(host) == {"events_dispatched": 3, "events_failed": 3, "events_circuit_broken": 1}


def test_the_limiter_comes_before_the_breaker() -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    host = a_host(
        Worker(ValueError("no")),
        propagate_exceptions=False,
        rate_limiter=RateLimiter(rate=0.001, burst=1),
        circuit_breaker=breaker,
    )
    host.handle(work())
    with pytest.raises(RateLimitExceeded):
        host.handle(work())


def test_answers_do_not_open_the_breaker() -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    host = a_host(Worker(NotFound("thing", 1)), propagate_exceptions=False, circuit_breaker=breaker)
    host.handle(work())
    assert breaker.state is CircuitState.CLOSED


# ── retries and dead letters ──


def test_a_failed_call_is_repeated() -> None:
    worker = Worker(Unavailable("one"), ValueError("two"))
    host = a_host(worker, retry_policy=RetryPolicy(max_retries=2, base_delay=0))
    assert host.handle(work()).handled
    assert worker.calls == 3
    assert counts(host) == {"events_dispatched": 1, "events_handled": 1, "events_retried": 2}


async def test_a_failed_call_is_repeated_on_the_loop_too() -> None:
    worker = Worker(Unavailable("one"), ValueError("two"))
    host = a_host(worker, retry_policy=RetryPolicy(max_retries=2, base_delay=0))
    assert (await host.handle_async(work())).handled
    assert worker.calls == 3
    host.shutdown()


def test_what_never_succeeds_is_a_dead_letter_with_its_attempts() -> None:
    dead = DeadLetterQueue()
    worker = Worker(*(ValueError(str(n)) for n in range(3)))
    host = a_host(
        worker,
        propagate_exceptions=False,
        dead_letter_queue=dead,
        retry_policy=RetryPolicy(max_retries=2, base_delay=0, budget=None),
        circuit_breaker=CircuitBreaker(failure_threshold=3),
    )
    event = work()
    host.handle(event)
    [entry] = dead.entries
    assert (entry.event, str(entry.error), entry.attempts, entry.module_name) == (event, "2", 3, "Worker")
    assert counts(host)["events_dead_lettered"] == 1
    with pytest.raises(CircuitBreakerOpen):  # every attempt counted
        host.handle(work())


def test_only_the_module_that_failed_is_called_again() -> None:
    class Passing(Module):
        calls = 0

        def can_handle(self, event: Event[Any, Any]) -> bool:
            return True

        def handle(self, event: Event[Any, Any]) -> None:
            self.calls += 1

    class Flaky(Passing):
        def handle(self, event: Event[Any, Any]) -> None:
            self.calls += 1
            event.handled = self.calls > 2
            if not event.handled:
                raise Unavailable("not yet")

    passing, flaky = Passing(), Flaky()
    host = a_host(passing, flaky, retry_policy=RetryPolicy(max_retries=2, base_delay=0))
    assert host.handle(work()).handled
    assert (passing.calls, flaky.calls) == (1, 3)


def test_reprocessing_through_the_host_neither_duplicates_nor_loops() -> None:
    dead = DeadLetterQueue()
    worker = Worker(*(ValueError(str(n)) for n in range(3)))
    host = a_host(worker, propagate_exceptions=False, dead_letter_queue=dead)
    host.handle(work())
    host.handle(work())
    assert dead.reprocess(host.handle) == (1, 1)
    assert [entry.attempts for entry in dead.entries] == [2]
    assert dead.reprocess(host.handle) == (1, 0)
    assert dead.entries == []


def test_a_policy_with_a_deadline_stops_in_time() -> None:
    worker = Worker(*(Unavailable("no") for _ in range(5)))
    host = a_host(worker, retry_policy=RetryPolicy(max_retries=5, base_delay=60, jitter=False, deadline=1))
    with pytest.raises(EventHandlingError, match="Unavailable"):
        host.handle(work())
    assert worker.calls == 1


# ── traces ──


def test_tracing_gives_an_event_a_correlation_id_unless_it_has_one() -> None:
    host = a_host(Worker(), enable_tracing=True)
    event = host.handle(work())
    assert event.meta["correlation_id"]
    assert "trace_id" not in event.meta
    assert host.handle(Work(input=WorkInput(), meta={"correlation_id": "mine"})).meta["correlation_id"] == "mine"
    assert a_host(Worker()).handle(work()).meta == {}


def test_inside_a_trace_an_event_belongs_to_it() -> None:
    host = a_host(Worker(), enable_tracing=True)
    with Tracer().trace("order", correlation_id="order-1") as trace:
        meta = host.handle(Work(input=WorkInput(), meta={"correlation_id": "other"})).meta
        span = trace.current_span
    assert span is not None
    assert (meta["trace_id"], meta["correlation_id"]) == (trace.trace_id, "order-1")
    assert meta["parent_span_id"] == span.span_id


# ── named payloads ──


class Receiver(Module):
    def __init__(self) -> None:
        self.told: list[ExternalEvent] = []

    def can_handle(self, event: Event[Any, Any]) -> bool:
        return isinstance(event, ExternalEvent) and event.name == "user.seen"

    async def handle(self, event: Event[Any, Any]) -> None:
        self.told.append(event)
        event.handled = True


async def test_without_a_database_a_payload_is_delivered_at_once() -> None:
    receiver = Receiver()
    host = a_host(receiver, enable_tracing=True)
    with Tracer().trace("login") as trace:
        message_id = await host.publish("user.seen", {"id": 3}, {"kind": "test"}, stream="users")
    [event] = receiver.told
    assert (event.input.data, event.input.source_stream, event.input.message_id) == ({"id": 3}, "users", message_id)
    assert event.input.headers["kind"] == "test"
    assert event.input.headers["trace_id"] == trace.trace_id
    assert event.meta["correlation_id"] == trace.correlation_id
    assert counts(host)["events_published"] == 1


async def test_who_publishes_does_not_suffer_from_who_receives(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Receiver):
        async def handle(self, event: Event[Any, Any]) -> None:
            raise ValueError("deaf")

    host = a_host(Broken())
    assert await host.publish("user.seen")
    assert "deaf" in caplog.text
    assert counts(host)["events_failed"] == 1


async def test_what_cannot_be_stored_cannot_be_published() -> None:
    host = a_host(Receiver())
    for name, data, headers in (
        ("", {}, {}),
        ("a\r\nb", {}, {}),
        ("a", {"x": object()}, {}),
        ("a", {}, {"x-evil": "1\r\nSet-Cookie: y"}),
    ):
        with pytest.raises(Invalid):
            await host.publish(name, data, headers)
    assert counts(host) == {}


async def test_a_domain_event_is_for_the_bus() -> None:
    class Happened(DomainEvent):
        pass

    with pytest.raises(Misconfigured, match="Happened is a domain event, a fact"):
        await a_host().publish(Happened())  # type: ignore[arg-type]
