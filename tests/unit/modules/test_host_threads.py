"""ModuleHost: one event loop for synchronous callers, a bounded pool of threads, and the end of both."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from uno import clock
from uno.app import App
from uno.errors import Unavailable
from uno.modules import (
    Event,
    EventHandlingError,
    EventInput,
    EventOutput,
    Module,
    ModuleHost,
    ModuleHostConfig,
    handles,
)
from uno.modules.threads import Threads
from uno.resilience import DeadLetterQueue
from uno.result import Failure
from uno.settings import Settings

DEADLINE = 20.0


@dataclass
class TaskInput(EventInput):
    number: int = 0


class Outer(Event[TaskInput, EventOutput]):
    name = "test.outer"


class Inner(Event[TaskInput, EventOutput]):
    name = "test.inner"


def a_host(*modules: Module, **config: Any) -> ModuleHost:
    host = ModuleHost(ModuleHostConfig(**config))
    for one in modules:
        host.register(one)
    return host


def outer() -> Outer:
    return Outer(input=TaskInput())


def inner(number: int = 0) -> Inner:
    return Inner(input=TaskInput(number))


class Hosted(Module):
    """A module that needs its host."""

    @property
    def home(self) -> ModuleHost:
        assert self.host is not None
        return self.host


def ends(call: Callable[[], Any]) -> Any:
    """What `call` returns; a failure where it hangs."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert found, "it hangs"
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def until(true: Callable[[], bool]) -> None:
    """Wait for it, in a thread."""
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end, "it never happens"
        time.sleep(0.001)


# ── a handler that ends its host ──


class Ending(Hosted):
    def __init__(self) -> None:
        self.loops: list[asyncio.AbstractEventLoop] = []

    @handles(Outer)
    async def at_once(self, input: TaskInput) -> EventOutput:
        self.loops.append(asyncio.get_running_loop())
        self.home.shutdown()
        return EventOutput()

    @handles(Inner)
    async def awaited(self, input: TaskInput) -> EventOutput:
        self.loops.append(asyncio.get_running_loop())
        await self.home.shutdown_async()
        return EventOutput()


@pytest.mark.parametrize("event", [Outer, Inner])
def test_an_asynchronous_handler_may_shut_its_host_down_when_it_was_called_synchronously(event: Any) -> None:
    ending = Ending()
    host = a_host(ending)
    handled = ends(lambda: host.handle(event(input=TaskInput())))
    assert handled.output == EventOutput()
    assert host.modules == []
    assert ending.loops[0].is_closed()
    host.register(ending)
    assert ends(lambda: host.handle(event(input=TaskInput()))).handled


class Leaving(Hosted):
    @handles(Outer)
    def at_once(self, input: TaskInput) -> EventOutput:
        self.home.shutdown()
        return EventOutput()

    @handles(Inner)
    def awaited(self, input: TaskInput) -> EventOutput:
        asyncio.run(self.home.shutdown_async())
        return EventOutput()


@pytest.mark.parametrize("event", [Outer, Inner])
def test_a_handler_in_a_thread_may_shut_its_host_down(event: Any) -> None:
    host = a_host(Leaving())
    assert ends(lambda: asyncio.run(host.handle_async(event(input=TaskInput())))).handled
    assert host.modules == []


async def test_the_event_loop_goes_on_while_a_host_waits_for_its_threads() -> None:
    release = threading.Event()

    class Blocking(Module):
        @handles(Outer)
        def work(self, input: TaskInput) -> EventOutput:
            release.wait(DEADLINE)
            return EventOutput()

    host = a_host(Blocking())
    working = asyncio.create_task(host.handle_async(outer()))
    while not host.events_in_progress:
        await asyncio.sleep(0)
    ending = asyncio.create_task(host.shutdown_async())
    await asyncio.sleep(0)
    assert not ending.done()
    release.set()
    await ending
    assert (await working).handled


def test_a_host_that_was_used_without_an_event_loop_may_be_left_inside_one() -> None:
    class Working(Module):
        @handles(Outer)
        async def work(self, input: TaskInput) -> EventOutput:
            return EventOutput()

    async def leave(host: ModuleHost) -> None:
        host.shutdown()

    first, second = a_host(Working()), a_host(Working())
    assert first.handle(outer()).handled
    assert second.handle(outer()).handled
    asyncio.run(first.shutdown_async())
    asyncio.run(leave(second))


# ── events that wait for a thread when the host ends ──


class Busy(Module):
    """Its one thread is taken by its first event."""

    def __init__(self) -> None:
        self.working, self.release = threading.Event(), threading.Event()

    @handles(Outer)
    def work(self, input: TaskInput) -> EventOutput:
        self.working.set()
        self.release.wait(DEADLINE)
        return EventOutput()

    async def taken(self) -> None:
        assert await asyncio.to_thread(self.working.wait, DEADLINE)


async def test_events_that_never_got_a_thread_are_errors_counted_and_kept() -> None:
    busy, dead = Busy(), DeadLetterQueue()
    host = a_host(busy, max_workers=1, enable_metrics=True, dead_letter_queue=dead)
    tasks = [asyncio.create_task(host.handle_async(outer())) for _ in range(4)]
    await busy.taken()
    host.shutdown(wait=False)
    busy.release.set()
    first, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, Outer)
    assert first.handled
    assert [type(one.original_error) for one in others if isinstance(one, EventHandlingError)] == [Unavailable] * 3
    assert "Cause: Unavailable: The host has been shut down." in str(others[0])
    assert host.metrics is not None
    assert (host.metrics.events_handled, host.metrics.events_failed, len(dead)) == (1, 3, 3)


async def test_a_task_group_learns_of_them() -> None:
    busy = Busy()
    host = a_host(busy, max_workers=1)
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(host.handle_async(outer()))
            await busy.taken()
            host.shutdown(wait=False)
            busy.release.set()
    assert caught.group_contains(EventHandlingError, match="shut down")


async def test_who_is_cancelled_while_it_waits_for_a_thread_is_cancelled() -> None:
    busy = Busy()
    host = a_host(busy, max_workers=1)
    first, second = (asyncio.create_task(host.handle_async(outer())) for _ in range(2))
    await busy.taken()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    third = asyncio.create_task(host.handle_async(outer()))
    await asyncio.sleep(0)
    third.cancel()
    host.shutdown(wait=False)
    busy.release.set()
    with pytest.raises(asyncio.CancelledError):
        await third
    assert (await first).handled


async def test_the_end_of_an_application_is_no_silent_end_of_its_events() -> None:
    busy = Busy()
    async with App(busy, settings=Settings(), host=ModuleHostConfig(max_workers=1)) as app:
        first, second = (asyncio.create_task(app.bus.dispatch(outer())) for _ in range(2))
        await busy.taken()
    busy.release.set()
    assert (await first).unwrap() == EventOutput()
    found = await second
    assert isinstance(found, Failure)
    assert isinstance(found.error, Unavailable)


# ── one event loop ──


class Meeting(Module):
    """Its handlers wait for each other."""

    def __init__(self, number: int) -> None:
        self.loops: set[int] = set()
        self.here = 0
        self.number = number

    @handles(Outer)
    async def work(self, input: TaskInput) -> EventOutput:
        self.loops.add(id(asyncio.get_running_loop()))
        self.here += 1
        async with clock.timeout(DEADLINE):
            while self.here < self.number:
                await asyncio.sleep(0.001)
        return EventOutput()


def test_synchronous_calls_of_many_threads_share_one_event_loop_at_the_same_time() -> None:
    meeting = Meeting(8)
    host = a_host(meeting)
    with ThreadPoolExecutor(8) as pool:
        handled = list(pool.map(lambda _: host.handle(outer()), range(8)))
    assert all(event.handled for event in handled)
    assert len(meeting.loops) == 1
    host.shutdown()


def test_who_comes_while_another_thread_drives_the_loop_gets_its_own_error_and_goes_on_alone() -> None:
    arrived, left = threading.Event(), threading.Event()

    class Staying(Module):
        @handles(Outer)
        async def first(self, input: TaskInput) -> EventOutput:
            while not arrived.is_set():
                await asyncio.sleep(0.001)
            return EventOutput()

        @handles(Inner)
        async def second(self, input: TaskInput) -> EventOutput:
            arrived.set()
            while not left.is_set():
                await asyncio.sleep(0.001)
            raise SystemExit(input.number)

    host = a_host(Staying())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(host.handle, outer())
        until(lambda: bool(host.events_in_progress))
        second = pool.submit(host.handle, inner(3))
        assert first.result(DEADLINE).handled
        left.set()
        with pytest.raises(SystemExit) as caught:
            second.result(DEADLINE)
    assert caught.value.code == 3
    host.shutdown()


def test_a_thread_that_knows_nothing_of_its_caller_may_need_the_loop_that_waits_for_it() -> None:
    class Front(Hosted):
        @handles(Outer)
        async def front(self, input: TaskInput) -> EventOutput:
            loop = asyncio.get_running_loop()
            return (await loop.run_in_executor(None, self.home.handle, inner())).output

        @handles(Inner)
        async def behind(self, input: TaskInput) -> EventOutput:
            return EventOutput()

    host = a_host(Front())
    assert ends(lambda: host.handle(outer())).output == EventOutput()
    host.shutdown()


def test_modules_are_loaded_and_unloaded_in_the_loop_of_their_handlers() -> None:
    loops: list[int] = []

    class Opening(Module):
        async def on_load(self) -> None:
            loops.append(id(asyncio.get_running_loop()))

        @handles(Outer)
        async def work(self, input: TaskInput) -> EventOutput:
            loops.append(id(asyncio.get_running_loop()))
            return EventOutput()

        async def on_unload(self) -> None:
            loops.append(id(asyncio.get_running_loop()))

    host = a_host(Opening())
    host.handle(outer())
    host.shutdown()
    assert len(loops) == 3
    assert len(set(loops)) == 1


# ── at most so many threads ──


class Fan(Hosted):
    """One event becomes sixty, from a thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = 0
        self.threads: set[str] = set()

    @handles(Outer)
    def many(self, input: TaskInput) -> EventOutput:
        async def ask() -> None:
            await asyncio.gather(*(self.home.handle_async(inner(n)) for n in range(60)))

        asyncio.run(ask())
        return EventOutput()

    @handles(Inner)
    def one(self, input: TaskInput) -> EventOutput:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.threads.add(threading.current_thread().name)
        threading.Event().wait(0.001)
        with self.lock:
            self.now -= 1
        return EventOutput()


def test_nested_events_use_no_more_threads_than_there_may_be() -> None:
    fan = Fan()
    host = a_host(fan, max_workers=2)

    async def ask() -> list[Outer]:
        return await asyncio.gather(*(host.handle_async(outer()) for _ in range(4)))

    assert all(event.handled for event in ends(lambda: asyncio.run(ask())))
    assert fan.most <= 2
    host.shutdown()


def test_threads_and_the_loop_that_wait_for_each_other_need_one_thread_only() -> None:
    class Deep(Hosted):
        @handles(Outer)
        async def front(self, input: TaskInput) -> EventOutput:
            await self.home.handle_async(inner(input.number))
            return EventOutput()

        @handles(Inner)
        def behind(self, input: TaskInput) -> EventOutput:
            if input.number:
                self.home.handle(Outer(input=TaskInput(input.number - 1)))
            return EventOutput()

    host = a_host(Deep(), max_workers=1)
    assert ends(lambda: host.handle(Outer(input=TaskInput(4)))).handled
    host.shutdown()


async def test_what_a_handler_leaves_running_may_use_the_threads_after_its_end() -> None:
    tasks: list[asyncio.Future[Inner]] = []

    class Starting(Hosted):
        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self.loop = loop

        @handles(Outer)
        def start(self, input: TaskInput) -> EventOutput:
            again = self.later()
            tasks.append(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(again, self.loop), loop=self.loop))
            return EventOutput()

        async def later(self) -> Inner:
            await ended.wait()
            return await self.home.handle_async(inner())

        @handles(Inner)
        def one(self, input: TaskInput) -> EventOutput:
            return EventOutput()

    ended = asyncio.Event()
    host = a_host(Starting(asyncio.get_running_loop()), max_workers=1)
    await host.handle_async(outer())
    ended.set()
    assert (await tasks[0]).handled
    await host.shutdown_async()


def test_many_threads_may_make_use_and_close_the_pool_at_once() -> None:
    threads, others = Threads(2), set(threading.enumerate())

    def use(number: int) -> int:
        if number % 5 == 0:
            threads.close()
            threads.open()
        try:
            return asyncio.run(threads.run(abs, -number))
        except Unavailable:  # another one has closed it just now
            return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(200))) == list(range(200))
    threads.close()
    left = set(threading.enumerate()) - others
    assert not [one for one in left if one.name.startswith("uno.module")]
