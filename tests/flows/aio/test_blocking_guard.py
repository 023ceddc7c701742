"""Calls that block the event loop are found with their line, and nothing else is."""

import asyncio
import gc
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import uvloop

from uno.aio import BlockingCall, BlockingGuard
from uno.errors import Misconfigured
from uno.testing.blocking import failing_when_blocked

# Much longer than the limit, which is a twentieth of a second.
LONG = 0.4


def line_of(mark: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, text in enumerate(lines, 1) if text.endswith(f"# {mark}"))


def blocks() -> None:
    time.sleep(LONG)  # asleep


async def calls_what_blocks() -> None:
    await asyncio.sleep(0)
    blocks()


def computes() -> None:
    until = time.thread_time() + LONG
    while time.thread_time() < until:
        sum(range(1000))


def reads() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.settimeout(LONG)
        with pytest.raises(TimeoutError):
            one.recv(1)  # reading


async def test_a_call_that_sleeps_is_found_with_its_line_and_its_task(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), BlockingGuard() as guard:
        await asyncio.create_task(calls_what_blocks(), name="sleeper")
        await guard.settled()
    [call] = guard.found
    assert call.place.endswith(f"test_blocking_guard.py:{line_of('asleep')} in blocks")
    assert call.task == "sleeper"
    assert [place.rpartition(" ")[2] for place in call.stack] == ["calls_what_blocks", "blocks"]
    assert call.seconds >= guard.limit
    [record] = [record for record in caplog.records if record.__dict__.get("signal") == "loop.blocked"]
    assert record.__dict__["place"] == call.place


async def test_a_call_that_computes_is_found() -> None:
    with BlockingGuard() as guard:
        computes()
        await guard.settled()
    assert guard.found[0].place.endswith("in computes")


async def test_a_call_that_waits_in_a_library_is_found_with_the_line_of_the_program() -> None:
    with BlockingGuard() as guard:
        reads()
        await guard.settled()
    assert f":{line_of('reading')} in reads" in guard.found[0].place


async def test_a_call_that_lets_no_other_thread_run_is_found() -> None:
    numbers = list(range(3_000_000))
    with BlockingGuard() as guard:
        await guard.settled()
        json.dumps(numbers)
        await guard.settled()
    assert guard.found


async def test_a_callback_that_blocks_is_found() -> None:
    with BlockingGuard() as guard:
        asyncio.get_running_loop().call_soon(blocks)
        await asyncio.sleep(0)
        await guard.settled()
    assert [call.place.rpartition(" ")[2] for call in guard.found] == ["blocks"]
    assert guard.found[0].task is None


@pytest.mark.parametrize("sleep", [time.sleep, partial(time.sleep)])
async def test_a_function_in_c_that_the_loop_calls_itself_is_found_with_its_name(
    sleep: Callable[[float], None],
) -> None:
    with BlockingGuard() as guard:
        asyncio.get_running_loop().call_soon(sleep, LONG)
        await asyncio.sleep(0)
        await guard.settled()
    [call] = guard.found
    assert (call.place, call.stack, call.task) == ("time.sleep", (), None)
    assert call.seconds >= guard.limit


async def test_a_method_in_c_has_the_name_of_its_class() -> None:
    gate = threading.Lock()
    gate.acquire()
    with BlockingGuard() as guard:
        asyncio.get_running_loop().call_soon(gate.acquire, True, LONG)
        await asyncio.sleep(0)
        await guard.settled()
    assert [call.place for call in guard.found] == ["lock.acquire"]


def test_it_works_on_uvloop() -> None:
    async def main() -> list[BlockingCall]:
        with BlockingGuard() as guard:
            await asyncio.create_task(calls_what_blocks(), name="sleeper")
            await guard.settled()
        return list(guard.found)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        [call] = runner.run(main())
    assert call.place.endswith("in blocks")
    assert call.task == "sleeper"


async def test_who_only_waits_blocks_nobody() -> None:
    with BlockingGuard() as guard:
        await asyncio.sleep(LONG)
        await asyncio.to_thread(time.sleep, LONG)
    assert not guard.found


async def test_many_short_calls_are_not_a_long_one() -> None:
    async def short() -> None:
        until = time.thread_time() + 0.002
        while time.thread_time() < until:
            pass

    with BlockingGuard() as guard:
        await asyncio.gather(*(short() for _ in range(100)))
        await guard.settled()
    assert not guard.found


class Slow:
    """What takes long to be forgotten."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        blocks()


async def test_a_collection_of_garbage_is_nobodys_fault() -> None:
    with BlockingGuard() as guard:
        Slow()
        gc.collect()
        await guard.settled()
    assert not guard.found


async def test_a_machine_under_load_accuses_nobody() -> None:
    """Each processor has more to do than it can; whoever waits for one has not blocked."""

    async def short() -> None:
        until = time.thread_time() + 0.005
        while time.thread_time() < until:
            pass

    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(6 * (os.cpu_count() or 1))]
    try:
        with BlockingGuard() as guard:
            for _ in range(60):
                await asyncio.create_task(short())
                await asyncio.sleep(0.001)
            await guard.settled()
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert not guard.found


async def test_two_calls_are_two_reports() -> None:
    heard: list[BlockingCall] = []
    with BlockingGuard(on_block=heard.append) as guard:
        for _ in range(2):
            await asyncio.create_task(calls_what_blocks())
            await guard.settled()
    assert len(heard) == 2
    assert heard == list(guard.found)


async def test_a_listener_that_fails_ends_no_guard(caplog: pytest.LogCaptureFixture) -> None:
    def broken(call: BlockingCall) -> None:
        raise ValueError(call)

    with BlockingGuard(on_block=broken) as guard:
        for _ in range(2):
            await calls_what_blocks()
            await guard.settled()
    assert len(guard.found) == 2
    assert "on_block failed" in caplog.text


async def test_a_test_that_blocks_fails_with_the_line() -> None:
    with pytest.raises(AssertionError, match=rf"test_blocking_guard.py:{line_of('asleep')} in blocks"):
        async with failing_when_blocked():
            await calls_what_blocks()


async def test_a_test_that_does_not_block_passes() -> None:
    async with failing_when_blocked():
        await asyncio.sleep(0)


async def test_the_guard_leaves_no_thread() -> None:
    with BlockingGuard() as guard:
        assert "uno.blocking" in {thread.name for thread in threading.enumerate()}
        with pytest.raises(Misconfigured, match="in use"):
            guard.__enter__()
    assert "uno.blocking" not in {thread.name for thread in threading.enumerate()}


def test_without_a_loop_there_is_nothing_to_guard() -> None:
    with pytest.raises(Misconfigured, match="no event loop"):
        BlockingGuard().__enter__()
    with pytest.raises(Misconfigured, match="above 0"):
        BlockingGuard(0)
