"""Asynchronous code driven without an event loop."""

import asyncio
from contextvars import ContextVar, copy_context

import pytest

from uno import clock
from uno.errors import Misconfigured
from uno.sync import drive, driver, driving

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
