"""The dead letters in memory: nothing is lost unseen, nothing is there twice, nothing goes round for ever."""

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from uno.bus import Bus, command_handler
from uno.errors import Conflict, Misconfigured, Unavailable
from uno.messages import Command
from uno.modules import Event as HostedEvent, Module, ModuleHost, ModuleHostConfig, handles
from uno.resilience import DeadLetterEntry, DeadLetterQueue
from uno.result import Failure
from uno.telemetry import signal_counts


@dataclass
class Event:
    name: str = "greet"
    input: object = None
    output: object = None
    handled: bool = False
    meta: dict[str, Any] = field(default_factory=dict)


class Host:
    """As a module host that owns the queue and does not propagate: the error is kept, the event comes back."""

    def __init__(self, queue: DeadLetterQueue, failing: bool = True) -> None:
        self.queue = queue
        self.failing = failing
        self.seen: list[Event] = []

    def handle(self, event: Event) -> Event:
        self.seen.append(event)
        assert (event.handled, event.output) == (False, None)
        if self.failing:
            self.queue.add(event, OSError("again"), "Greeter", 3)
        else:
            event.handled, event.output = True, "hello"
        return event

    async def handle_async(self, event: Event) -> Event:
        await asyncio.sleep(0)
        return self.handle(event)


def filled(count: int = 3, **options: Any) -> DeadLetterQueue:
    queue = DeadLetterQueue(**options)
    for n in range(count):
        queue.add(Event(f"event {n}", output="half done"), OSError(n), "Greeter")
    return queue


def test_it_keeps_event_error_and_circumstances() -> None:
    queue = DeadLetterQueue()
    event, error = Event(), OSError("x")
    entry = queue.add(event, error, module_name="Greeter", attempts=4)
    assert (entry.event, entry.error, entry.module_name, entry.attempts) == (event, error, "Greeter", 4)
    assert entry.timestamp.utcoffset() is not None
    assert queue.entries == [entry]
    queue.entries.clear()
    assert len(queue) == 1
    assert queue.pop() is entry
    assert queue.pop() is None
    assert filled(3).clear() == 3


def test_what_has_to_give_way_is_counted_and_told() -> None:
    before = signal_counts().get("dead_letter.dropped", 0)
    queue = filled(5, max_size=3)
    assert [entry.event.name for entry in queue.entries] == ["event 2", "event 3", "event 4"]
    assert queue.dropped == 2
    assert signal_counts()["dead_letter.dropped"] == before + 2
    with pytest.raises(Misconfigured):
        DeadLetterQueue(max_size=0)


def test_a_listener_hears_each_and_its_errors_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[DeadLetterEntry] = []

    def listen(entry: DeadLetterEntry) -> None:
        heard.append(entry)
        raise ValueError("listener is broken")

    queue = filled(2, on_add=listen)
    assert heard == queue.entries
    assert "listener is broken" in caplog.text


def test_what_works_now_is_gone() -> None:
    queue = filled(3)
    host = Host(queue, failing=False)
    assert queue.reprocess(host.handle) == (3, 0)
    assert [event.output for event in host.seen] == ["hello"] * 3
    assert len(queue) == 0
    assert filled(2).reprocess(lambda event: None) == (2, 0)


def test_what_fails_again_goes_back_once_with_its_attempts() -> None:
    def fail(event: Event) -> None:
        raise ValueError(event.name)

    queue = filled(3)
    assert queue.reprocess(fail) == (0, 3)
    assert [(str(e.error), e.attempts, e.module_name) for e in queue.entries] == [
        (f"event {n}", 2, "Greeter") for n in range(3)
    ]


def test_also_when_the_host_owns_the_queue_and_keeps_the_error_to_itself() -> None:
    queue = filled(3)
    host = Host(queue)
    assert queue.reprocess(host.handle) == (0, 3)
    assert len(host.seen) == 3
    assert [(str(e.error), e.attempts) for e in queue.entries] == [("again", 4)] * 3


async def test_an_async_handler_is_awaited() -> None:
    queue = filled(3)
    host = Host(queue)
    assert await queue.reprocess(host.handle_async) == (0, 3)
    assert [e.attempts for e in queue.entries] == [4] * 3
    host.failing = False
    assert await queue.reprocess(host.handle_async, max_entries=2) == (2, 0)
    assert await queue.reprocess_async(host.handle) == (1, 0)


def test_a_host_that_has_no_module_for_it_has_not_handled_it() -> None:
    queue = filled(1)
    assert queue.reprocess(lambda event: event) == (0, 1)
    assert [e.attempts for e in queue.entries] == [2]


async def test_a_failure_from_the_bus_is_a_failure() -> None:
    queue = filled(2)

    async def dispatch(event: Event) -> Failure:
        return Failure(Conflict("no"))

    assert await queue.reprocess(dispatch) == (0, 2)
    assert {str(e.error) for e in queue.entries} == {"no"}


async def test_a_cancelled_one_stays_as_it_was() -> None:
    queue = filled(2)
    running = asyncio.ensure_future(queue.reprocess_async(lambda event: asyncio.Event().wait()))
    await asyncio.sleep(0)
    assert len(queue) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sorted(e.event.name for e in queue.entries) == ["event 0", "event 1"]
    assert {e.attempts for e in queue.entries} == {1}


async def test_a_wrong_program_is_told_and_leaves_the_entries_as_they_were() -> None:
    heard: list[DeadLetterEntry] = []
    queue = filled(3, on_add=heard.append)
    before, dropped = queue.entries, queue.dropped

    def wrong(event: Event) -> None:
        raise Misconfigured("await handle_async")

    async def wrong_async(event: Event) -> None:
        wrong(event)

    with pytest.raises(Misconfigured, match="handle_async"):
        queue.reprocess(wrong)
    with pytest.raises(Misconfigured, match="handle_async"):
        await queue.reprocess(wrong_async)
    assert queue.entries == before == heard
    assert queue.dropped == dropped
    assert await queue.reprocess_async(lambda event: None) == (3, 0)


class Tea(HostedEvent[str, str]):
    pass


class Kitchen(Module):
    @handles(Tea)
    async def make(self, what: str) -> str:
        raise OSError("the kettle is cold")


async def test_where_a_loop_runs_a_host_with_async_handlers_says_to_await_and_the_real_error_stays() -> None:
    queue = DeadLetterQueue()
    host = ModuleHost(ModuleHostConfig(dead_letter_queue=queue, propagate_exceptions=False)).register(Kitchen())
    async with host:
        await host.handle_async(Tea(input="green"))
        before = queue.entries
        with pytest.raises(Misconfigured, match="handle_async"):
            queue.reprocess(host.handle)
        assert queue.entries == before
        assert [(str(entry.error), entry.attempts) for entry in before] == [("the kettle is cold", 1)]
        assert await queue.reprocess(host.handle_async) == (0, 1)
        assert [entry.attempts for entry in queue.entries] == [2]


async def test_two_that_try_again_at_the_same_time_share_the_work() -> None:
    queue, seen = filled(20), []

    async def handle(event: Event) -> None:
        seen.append(event.name)
        await asyncio.sleep(0)

    outcomes = await asyncio.gather(*(queue.reprocess_async(handle) for _ in range(4)))
    assert sum(ok for ok, _ in outcomes) == 20
    assert len(set(seen)) == len(seen) == 20


def test_a_full_queue_that_is_added_to_meanwhile_tries_nothing_twice() -> None:
    queue = filled(3, max_size=3)
    seen: list[str] = []

    def fail(event: Event) -> None:
        seen.append(event.name)
        queue.add(Event("new"), OSError())
        raise OSError

    queue.reprocess(fail)
    assert len(seen) == len(set(seen))
    assert "new" not in seen
    assert len(queue) == 3


def test_threads_lose_nothing() -> None:
    queue = DeadLetterQueue(max_size=10_000)

    def add() -> None:
        for n in range(500):
            queue.add(Event(str(n)), OSError())

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(queue) == 4000


class Pay(Command[str]):
    how: str


@command_handler(Pay)
async def pay(message: Pay) -> str:
    if message.how == "bug":
        raise ZeroDivisionError
    raise Unavailable("no bank")


async def test_around_a_call_or_a_message_it_keeps_what_fails_and_the_failure_goes_on() -> None:
    queue = DeadLetterQueue()
    bus = Bus([pay], middleware=[queue.middleware])
    assert (await bus.dispatch(Pay(how="card"))).is_failure
    with pytest.raises(ZeroDivisionError):
        await bus.dispatch(Pay(how="bug"))

    @queue
    def work(event: str) -> None:
        raise OSError(event)

    with pytest.raises(OSError, match="tea"):
        work("tea")
    assert [e.event for e in queue.entries] == [Pay(how="card"), Pay(how="bug"), "tea"]
    assert [type(e.error) for e in queue.entries] == [Unavailable, ZeroDivisionError, OSError]
    assert await queue.call(lambda: 5) == 5
    assert await queue.reprocess(bus.dispatch, max_entries=1) == (0, 1)
    assert len(queue) == 3
