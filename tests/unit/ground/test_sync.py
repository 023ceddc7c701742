"""Asynchronous code driven without an event loop."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar, copy_context

import pytest

from uno import clock
from uno.errors import Misconfigured, TimedOut
from uno.sync import Portal, drive, driver, driving, wait_in

seen: ContextVar[str] = ContextVar("seen", default="outside")


def test_a_coroutine_that_never_suspends_is_run_to_its_end() -> None:
    async def inner() -> int:
        return 41

    async def outer() -> int:
        return await inner() + 1

    assert drive(outer()) == 42


def test_waiting_on_the_clock_blocks_the_thread_of_a_drive() -> None:
    async def wait() -> float:
        before = clock.monotonic()
        await clock.sleep(0.01)
        return clock.monotonic() - before

    assert drive(wait()) >= 0.01


def test_what_needs_an_event_loop_is_refused_and_closed() -> None:
    closed = []

    async def wait_for_a_loop() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(True)

    with pytest.raises(Misconfigured, match="wait_for_a_loop has to wait for an event loop"):
        drive(wait_for_a_loop())
    assert closed == [True]


def test_an_error_reaches_the_caller() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        drive(fail())


def test_a_drive_has_a_context_of_its_own() -> None:
    async def change() -> bool:
        seen.set("inside")
        return driving()

    assert drive(change())
    assert seen.get() == "outside"
    assert not driving()


async def test_a_drive_refuses_to_block_a_running_loop() -> None:
    async def wait() -> None:
        await clock.sleep(0.01)

    with pytest.raises(Misconfigured, match="stops the running event loop"):
        drive(wait())


def test_a_driver_is_made_once_for_many_calls() -> None:
    async def double(number: int) -> int:
        await clock.sleep(0)
        return number * 2

    twice = driver(double)
    assert [copy_context().run(twice, number) for number in range(3)] == [0, 2, 4]


def test_a_driver_refuses_what_needs_an_event_loop() -> None:
    async def wait(_: int) -> None:
        await asyncio.sleep(0)

    with pytest.raises(Misconfigured, match="wait has to wait for an event loop"):
        copy_context().run(driver(wait), 1)


def test_a_loop_inside_a_drive_is_a_loop_like_any_other() -> None:
    async def run_a_loop() -> bool:
        async def wait() -> bool:
            await clock.sleep(0.001)
            return driving()

        return asyncio.run(wait()) or not driving()

    assert not drive(run_a_loop())


def test_what_says_that_no_loop_runs_is_refused_by_name() -> None:
    async def wait_a_second() -> None:
        await asyncio.sleep(1)

    async def something_else() -> None:
        raise RuntimeError("something else")

    with pytest.raises(Misconfigured, match=r"wait_a_second has to wait for an event loop.*test_sync.py:\d+"):
        drive(wait_a_second())
    with pytest.raises(RuntimeError, match="something else"):
        drive(something_else())


def test_what_is_refused_ends_as_after_any_other_error() -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def around() -> AsyncIterator[None]:
        try:
            yield
        except Misconfigured:
            steps.append("inside")
            raise
        finally:
            with suppress(Misconfigured):
                await asyncio.sleep(0)

    async def wait() -> None:
        async with around():
            await asyncio.sleep(0)

    with pytest.raises(Misconfigured, match="wait has to wait"):
        drive(wait())
    assert steps == ["inside"]


def test_what_waits_again_and_again_is_closed() -> None:
    async def stubborn() -> None:
        while True:
            with suppress(Misconfigured):
                await asyncio.sleep(0)

    with pytest.raises(Misconfigured, match="stubborn has to wait"):
        drive(stubborn())


# ── the portal ──


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    portal = Portal()
    yield portal.loop
    portal.close()


def test_a_thread_waits_for_what_runs_in_the_portal(loop: asyncio.AbstractEventLoop) -> None:
    async def work() -> tuple[str, str, bool]:
        await asyncio.sleep(0.001)
        seen.set("changed there")
        return seen.get(), threading.current_thread().name, threading.current_thread().daemon

    token = seen.set("given")
    assert wait_in(loop, work) == ("changed there", "uno.portal", True)
    assert seen.get() == "given"
    seen.reset(token)


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("mine"), KeyboardInterrupt(), SystemExit(3)])
def test_every_error_comes_through_and_the_portal_goes_on(
    loop: asyncio.AbstractEventLoop, error: BaseException
) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    async def value() -> int:
        return 3

    with pytest.raises(type(error)) as raised:
        wait_in(loop, fail)
    assert raised.value is error
    assert wait_in(loop, value) == 3


def test_a_portal_starts_again_after_its_end() -> None:
    portal = Portal()
    ended = []

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def value() -> int:
        return 3

    first = portal.loop
    waiting = threading.Thread(target=lambda: ended.append(_error(lambda: wait_in(first, long))))
    waiting.start()
    while len(asyncio.all_tasks(first)) < 2:
        time.sleep(0.01)
    portal.close()
    waiting.join(5)
    assert ended == [True, asyncio.CancelledError]
    with pytest.raises(Misconfigured, match="does not run any more"):
        wait_in(first, value)
    assert wait_in(portal.loop, value) == 3
    portal.close()


def _error(call: Callable[[], object]) -> type[BaseException] | None:
    try:
        call()
    except BaseException as error:
        return type(error)
    return None


def test_nobody_waits_for_a_loop_that_waits_for_him(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uno.sync.LOOK", 0.05)
    monkeypatch.setattr("uno.sync.BEGIN", 0.1)
    found: list[type[BaseException] | None] = []

    async def value() -> int:
        return 3

    async def block() -> None:
        thread = threading.Thread(target=lambda: found.append(_error(lambda: wait_in(loop, value))))
        thread.start()
        thread.join(10)

    wait_in(loop, block)
    assert found == [TimedOut]
