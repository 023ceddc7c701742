"""Fallback, Timeout and Bulkhead."""

import asyncio
import threading
from typing import Any

import pytest

from uno.bus import Bus, command_handler
from uno.errors import Misconfigured, NotFound, TimedOut, Unavailable
from uno.messages import Command
from uno.resilience import Bulkhead, BulkheadFull, Fallback, Timeout
from uno.result import Failure, Success


class Ask(Command[str]):
    how: str = "well"


@command_handler(Ask)
async def ask(message: Ask) -> str:
    match message.how:
        case "down":
            raise Unavailable("down")
        case "bug":
            raise ZeroDivisionError
        case "slow":
            await asyncio.Event().wait()
    return "answer"


# ── Fallback ──


async def test_a_fallback_answers_for_what_fails(caplog: pytest.LogCaptureFixture) -> None:
    fallback = Fallback(default_value={"status": "unavailable"})

    @fallback
    def get() -> dict[str, str]:
        raise OSError("no network")

    @fallback
    async def fetch() -> dict[str, str]:
        raise OSError("no network")

    assert get() == await fetch() == {"status": "unavailable"}
    assert "no network" in caplog.text
    assert Fallback(1)(lambda: 2)() == 2


async def test_a_function_may_answer_with_the_arguments_or_without() -> None:
    def fail(n: int) -> int:
        raise OSError

    async def later(n: int) -> int:
        return n * 3

    assert Fallback(fallback_func=lambda n: n * 2)(fail)(4) == 8
    assert Fallback(fallback_func=lambda: 7)(fail)(4) == 7
    assert await Fallback(fallback_func=later).call(fail, 4) == 12


async def test_other_errors_cancellation_and_a_wrong_program_pass() -> None:
    fallback = Fallback(0, exceptions=(OSError,), log_errors=False)
    for error in (ValueError(), Misconfigured("x"), asyncio.CancelledError(), SystemExit()):

        async def fail(error: BaseException = error) -> int:
            raise error

        with pytest.raises(type(error)):
            await fallback.call(fail)
    with pytest.raises(Misconfigured):
        await Fallback(0).call(lambda: Bulkhead(0))


async def test_in_a_pipeline_a_failure_becomes_a_success() -> None:
    bus = Bus([ask], middleware=[Fallback("guess", exceptions=(Unavailable, ZeroDivisionError)).middleware])
    outcomes = [await bus.dispatch(Ask(how=how)) for how in ("well", "down", "bug")]
    assert outcomes == [Success("answer"), Success("guess"), Success("guess")]

    async def refuse(_: object) -> Failure:
        return Failure(NotFound("order", 1))

    assert (await Fallback(1, exceptions=(Unavailable,)).middleware("message", refuse)).is_failure


# ── Timeout ──


async def test_what_takes_too_long_is_cancelled_and_timed_out() -> None:
    cancelled = asyncio.Event()

    @Timeout(0.02)
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimedOut, match=r"0\.02 s"):
        await hang()
    assert cancelled.is_set()
    assert await Timeout(5).call(asyncio.sleep, 0, "in time") == "in time"


async def test_another_timeout_error_and_a_cancel_from_outside_stay_what_they_are() -> None:
    async def own() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await Timeout(5).call(own)
    running = asyncio.create_task(Timeout(5).call(asyncio.Event().wait))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_timeout_inside_another_has_no_more_than_the_outer_leaves() -> None:
    with pytest.raises(TimedOut):
        await Timeout(0.02).call(Timeout(3600).call, asyncio.Event().wait)


def test_synchronous_code_is_found_to_be_late_when_it_ends(skipping: Any) -> None:
    @Timeout(2)
    def work(seconds: float) -> str:
        skipping.passed += seconds
        return "done"

    assert work(1) == "done"
    with pytest.raises(TimedOut):
        work(3)


async def test_as_middleware_a_slow_message_is_a_failure() -> None:
    bus = Bus([ask], middleware=[Timeout(0.02).middleware])
    assert isinstance((await bus.dispatch(Ask(how="slow"))).error, TimedOut)
    assert (await bus.dispatch(Ask())) == Success("answer")


# ── Bulkhead ──


async def test_only_so_many_run_and_only_so_many_wait() -> None:
    bulkhead, release, ran = Bulkhead(2, max_waiting=3), asyncio.Event(), []

    async def work(n: int) -> int:
        ran.append(n)
        await release.wait()
        return n

    calls = [asyncio.create_task(bulkhead.call(work, n)) for n in range(7)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (ran, bulkhead.running, bulkhead.waiting) == ([0, 1], 2, 3)
    release.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes[:5] == ran == [0, 1, 2, 3, 4]
    assert all(isinstance(o, BulkheadFull) and isinstance(o, Unavailable) for o in outcomes[5:])
    assert (bulkhead.running, bulkhead.waiting) == (0, 0)


@pytest.mark.parametrize("moment", range(6))
async def test_who_is_cancelled_at_any_moment_leaves_no_place_taken(moment: int) -> None:
    bulkhead = Bulkhead(1, max_waiting=2)
    first = asyncio.create_task(bulkhead.call(asyncio.sleep, 0))
    second = asyncio.create_task(bulkhead.call(asyncio.sleep, 0))
    for _ in range(moment):
        await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert (bulkhead.running, bulkhead.waiting) == (0, 0)
    assert await bulkhead.call(asyncio.sleep, 0, "free") == "free"


def test_threads_are_held_back_as_tasks_are() -> None:
    bulkhead, lock, now, most = Bulkhead(3, max_waiting=100), threading.Lock(), 0, 0

    @bulkhead
    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.002)
        with lock:
            now -= 1

    threads = [threading.Thread(target=work) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3
    assert bulkhead.running == 0


async def test_a_failing_call_leaves_its_place() -> None:
    bulkhead = Bulkhead(1)
    bus = Bus([ask], middleware=[bulkhead.middleware])
    for how in ("down", "well"):
        await bus.dispatch(Ask(how=how))
    with pytest.raises(ZeroDivisionError):
        await bus.dispatch(Ask(how="bug"))
    assert bulkhead.running == 0
    await bulkhead.enter()
    assert isinstance((await bus.dispatch(Ask())).error, BulkheadFull)
    bulkhead.leave()


@pytest.mark.parametrize("make", [lambda: Timeout(0), lambda: Bulkhead(0), lambda: Bulkhead(1, -1)])
def test_settings_that_make_no_sense_are_refused(make: Any) -> None:
    with pytest.raises(Misconfigured):
        make()
