"""Guards where other work goes on: in a group of tasks, beside equal events, in event loops that end."""

import asyncio
import logging
from typing import Any

import pytest

from uno.resilience import Bulkhead, DeadLetterQueue, Fallback, RateLimiter, RetryPolicy, Timeout


class Post:
    """Keeps back what it sends until the test lets it go."""

    def __init__(self) -> None:
        self.held = asyncio.Event()
        self.holding = True

    async def send(self, mail: str) -> None:
        if not self.holding:
            raise OSError("no network")
        await self.held.wait()


@pytest.mark.parametrize("works", [True, False])
async def test_an_equal_event_that_fails_meanwhile_is_an_entry_of_its_own(works: bool) -> None:
    dead, post = DeadLetterQueue(), Post()
    dead.add("bob", OSError("first"))

    async def again(mail: str) -> None:
        await post.send(mail)
        if not works:
            raise ValueError("again")

    trying = asyncio.create_task(dead.reprocess_async(again))
    await asyncio.sleep(0)
    post.holding = False
    with pytest.raises(OSError, match="no network"):
        await dead(post.send)("bob")
    post.holding = True
    post.held.set()
    assert await trying == ((1, 0) if works else (0, 1))
    assert [(str(e.error), e.attempts) for e in dead.entries] == [("no network", 1), ("again", 2)][: 1 if works else 2]


async def test_what_a_task_of_the_trial_fails_with_is_the_trials_and_later_no_more() -> None:
    dead, late = DeadLetterQueue(), asyncio.Event()
    left: list[asyncio.Task[None]] = []
    dead.add("bob", OSError("first"))

    async def behind(mail: str) -> None:
        await late.wait()
        dead.add(mail, OSError("late"))

    async def spread(mail: str) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.to_thread(dead.add, mail, OSError("in a thread")))
        left.append(asyncio.create_task(behind(mail)))

    assert await dead.reprocess(spread) == (0, 1)
    assert [(str(e.error), e.attempts) for e in dead.entries] == [("in a thread", 2)]
    late.set()
    await left[0]
    assert [(str(e.error), e.attempts) for e in dead.entries] == [("in a thread", 2), ("late", 1)]


async def test_a_queue_may_be_tried_again_inside_a_trial_of_another() -> None:
    outer, inner = DeadLetterQueue(), DeadLetterQueue()
    outer.add("bob", OSError("first"))
    inner.add("eve", OSError("first"))

    async def both(mail: str) -> None:
        async def fail(other: str) -> None:
            outer.add(mail, OSError("of the outer"))
            inner.add(other, OSError("of the inner"))

        await inner.reprocess(fail)

    assert await outer.reprocess(both) == (0, 1)
    assert [[str(e.error) for e in queue.entries] for queue in (outer, inner)] == [["of the outer"], ["of the inner"]]
    assert [[e.attempts for e in queue.entries] for queue in (outer, inner)] == [[2], [2]]


@pytest.mark.parametrize("depth", [1, 3])
async def test_retries_inside_a_group_of_tasks_do_not_multiply(skipping: Any, depth: int) -> None:
    outer, inner = (RetryPolicy(3, base_delay=0, budget=None) for _ in range(2))
    calls: list[int] = []

    async def fail() -> None:
        calls.append(1)
        raise OSError("down")

    async def together(level: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(together(level - 1) if level > 1 else inner.call(fail))

    # In a task of its own: on Python 3.11 asyncio's group leaves its task, which tests share, asked to be cancelled.
    with pytest.raises(ExceptionGroup):
        await asyncio.create_task(outer.call(together, depth))
    assert len(calls) == 4


async def test_a_group_that_nobody_has_retried_is_repeated(skipping: Any) -> None:
    calls: list[int] = []

    async def fail() -> None:
        calls.append(1)
        raise ExceptionGroup("all", [OSError(n) for n in range(500)])

    with pytest.raises(ExceptionGroup):
        await RetryPolicy(3, base_delay=0, budget=None).call(fail)
    assert len(calls) == 4


def in_itself() -> Exception:
    error = RuntimeError()
    error.args = (error,)
    return error


async def test_an_error_that_cannot_be_written_down_has_its_fallback(capsys: pytest.CaptureFixture[str]) -> None:
    async def fail() -> None:
        raise in_itself()

    handler = logging.StreamHandler()
    logging.getLogger("uno.fallback").addHandler(handler)
    try:
        assert await Fallback("instead").call(fail) == "instead"
    finally:
        logging.getLogger("uno.fallback").removeHandler(handler)
    assert "<RuntimeError>; the fallback is used" in capsys.readouterr().err


def close(loop: asyncio.AbstractEventLoop, waiting: Any) -> None:
    """As a program does that ends its loop without its tasks."""
    waiting._log_destroy_pending = False  # asyncio would log it, and the test would have a line too many
    loop.close()


async def until(ready: Any) -> None:
    for _ in range(100):
        if ready():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


def test_the_place_of_one_whose_event_loop_was_closed_is_given_to_the_next() -> None:
    bulkhead = Bulkhead(1, max_waiting=5)
    bulkhead.enter_sync()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(bulkhead.enter())
    loop.run_until_complete(until(lambda: bulkhead.waiting == 1))
    bulkhead.leave()  # it is given the place, and never wakes up
    close(loop, waiting)
    assert Timeout(1).run(bulkhead.run, lambda: "free") == "free"
    assert (bulkhead.running, bulkhead.waiting) == (0, 0)


def test_so_is_the_turn_at_a_limiter(steered: Any) -> None:
    limiter = RateLimiter(rate=10, burst=1, block=True)
    limiter.acquire()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(limiter.acquire_async())
    loop.run_until_complete(until(lambda: steered.slept))
    close(loop, waiting)
    assert Timeout(1).run(limiter.acquire)
