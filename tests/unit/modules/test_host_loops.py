"""ModuleHost: synchronous and asynchronous dispatch, threads, and many events at once."""

import asyncio
import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.unit.modules.greetings import Asked, Greet, Greeter, GreetInput, GreetOutput, Later, Wave, a_host, greet

from uno import clock
from uno.errors import Misconfigured
from uno.modules import (
    Module,
    handles,
    module,
)

DEADLINE = 20.0

# ── without and with an event loop ──


def test_a_synchronous_handler_runs_without_loop_and_thread_and_sees_the_context() -> None:
    seen: list[Any] = []
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    class Curious(Module):
        @handles(Greet)
        def greet(self, input: GreetInput) -> GreetOutput:
            seen.extend([asyncio._get_running_loop(), threading.current_thread(), variable.get()])
            return GreetOutput()

    variable.set("mine")
    a_host(Curious()).handle(greet())
    assert seen == [None, threading.current_thread(), "mine"]


def test_a_synchronous_handler_may_run_a_loop_of_its_own() -> None:
    class Looping(Module):
        @handles(Greet)
        def greet(self, input: GreetInput) -> GreetOutput:
            asyncio.run(clock.sleep(0.001))
            return GreetOutput("slept")

    assert a_host(Looping()).handle(greet()).output == GreetOutput("slept")


def test_asynchronous_handlers_share_the_loop_of_their_host_between_synchronous_calls() -> None:
    loops = []

    class Curious(Module):
        @handles(Greet)
        async def greet(self, input: GreetInput) -> GreetOutput:
            loops.append(asyncio.get_running_loop())
            return GreetOutput()

    host = a_host(Curious())
    for _ in range(3):
        assert host.handle(greet()).handled
    assert len(set(map(id, loops))) == 1
    host.shutdown()
    assert loops[0].is_closed()


async def test_an_asynchronous_handler_runs_on_the_loop_of_the_caller() -> None:
    loops = []

    class Curious(Module):
        @handles(Greet)
        async def greet(self, input: GreetInput) -> GreetOutput:
            loops.append(asyncio.get_running_loop())
            return GreetOutput()

    await a_host(Curious()).handle_async(greet())
    assert loops == [asyncio.get_running_loop()]


async def test_handle_in_a_loop_names_handle_async() -> None:
    host = a_host(Later())
    with pytest.raises(Misconfigured, match=r"Greet has an asynchronous handler.*await host\.handle_async"):
        host.handle(greet())
    assert (await host.handle_async(greet())).output == GreetOutput("Later, Ann!")


async def test_synchronous_handlers_run_in_a_bounded_number_of_threads_with_the_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    now, most, seen = 0, 0, set()
    lock, meeting = threading.Lock(), threading.Barrier(3)

    class Blocking(Module):
        @handles(Greet)
        def greet(self, input: GreetInput) -> GreetOutput:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            seen.add((threading.current_thread() is threading.main_thread(), variable.get()))
            meeting.wait(DEADLINE)
            with lock:
                now -= 1
            return GreetOutput()

    variable.set("mine")
    host = a_host(Blocking(), max_workers=3)
    handled = await asyncio.gather(*(host.handle_async(greet()) for _ in range(12)))
    assert all(event.handled for event in handled)
    assert most == 3
    assert seen == {(False, "mine")}
    host.shutdown()


async def test_inline_handlers_run_on_the_loop() -> None:
    threads = []

    @module(inline=True)
    class Quick(Module):
        @handles(Greet)
        def greet(self, input: GreetInput) -> GreetOutput:
            threads.append(threading.current_thread())
            return GreetOutput()

    class Marked(Module):
        @handles(Wave, inline=True)
        def wave(self, input: GreetInput) -> GreetOutput:
            threads.append(threading.current_thread())
            return GreetOutput()

    host = a_host(Quick(), Marked())
    await host.handle_async(greet())
    await host.handle_async(Wave(input=GreetInput()))
    assert threads == [threading.current_thread()] * 2


async def test_a_blocking_handler_does_not_stop_the_loop_and_can_be_left() -> None:
    release = threading.Event()

    class Hanging(Module):
        @handles(Greet)
        def greet(self, input: GreetInput) -> GreetOutput:
            release.wait(DEADLINE)
            return GreetOutput()

    host = a_host(Hanging(), enable_metrics=True)
    waiting = asyncio.create_task(host.handle_async(greet()))
    while not host.events_in_progress:
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert host.events_in_progress == []
    assert host.metrics is not None
    assert (host.metrics.events_dispatched, host.metrics.events_failed) == (1, 1)
    release.set()
    host.shutdown()


def test_threads_that_wait_for_each_other_do_not_use_up_the_pool() -> None:
    class Nesting(Module):
        @handles(Wave)
        def wave(self, input: GreetInput) -> GreetOutput:
            depth = int(input.name)
            if depth:
                host = self.host
                assert host is not None
                return asyncio.run(host.handle_async(Wave(input=GreetInput(str(depth - 1))))).output
            return GreetOutput("deep")

    host = a_host(Nesting(), max_workers=1)
    assert asyncio.run(host.handle_async(Wave(input=GreetInput("3")))).output == GreetOutput("deep")
    host.shutdown()


def test_a_handler_in_a_thread_may_need_the_loop_it_runs_for() -> None:
    class Front(Module):
        @handles(Wave)
        async def wave(self, input: GreetInput) -> GreetOutput:
            host = self.host
            assert host is not None
            return (await asyncio.to_thread(host.handle, greet(input.name))).output

    host = a_host(Front(), Later())
    assert host.handle(Wave(input=GreetInput("Flo"))).output == GreetOutput("Later, Flo!")
    host.shutdown()


# ── load ──


def test_a_thousand_events_in_a_row_are_all_handled() -> None:
    host = a_host(Greeter(), enable_metrics=True)
    assert all(host.handle(greet(str(n))).output == GreetOutput(f"Hello, {n}!") for n in range(1000))
    assert host.metrics is not None
    assert host.metrics.events_handled == 1000


def test_a_hundred_events_from_each_of_ten_threads_are_all_counted() -> None:
    host = a_host(Greeter(), enable_metrics=True)
    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(lambda _: [host.handle(greet()).handled for _ in range(100)], range(10)))
    assert all(map(all, done))
    assert host.metrics is not None
    assert (host.metrics.events_dispatched, host.metrics.events_handled) == (1000, 1000)


async def test_fifty_events_at_once_are_all_handled() -> None:
    host = a_host(Later())
    handled = await asyncio.gather(*(host.handle_async(greet(str(n))) for n in range(50)))
    assert [event.output.message for event in handled] == [f"Later, {n}!" for n in range(50)]


def test_a_hundred_modules_are_asked_for_a_hundred_events() -> None:
    host = a_host(*(Asked(handled=False) for _ in range(99)), Asked("last"))
    assert all(host.handle(greet()).output == GreetOutput("last") for _ in range(100))


def test_the_host_knows_how_long_it_runs() -> None:
    before = time.monotonic()
    host = a_host()
    assert 0 <= host.uptime_seconds <= time.monotonic() - before + 1
