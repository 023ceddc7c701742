"""Items that are worked on together: who gets what, who waits, and what a cancelled caller takes along."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from hypothesis import given, strategies as st

from uno import clock, context
from uno.aio import AsyncBatcher, BatcherFull, BatchMismatch, timeout
from uno.errors import Misconfigured, NotFound, OutcomeUnknown, TimedOut, Unavailable
from uno.resilience import deadline
from uno.security.principal import Principal, current_principal, use_principal

# Longer than any test: a batch that is to run by its size alone.
LONG = 3600.0


class Work:
    """A batch operation that remembers its batches, and waits where it is told to."""

    def __init__(self, give: Callable[[Any], Any] = lambda item: item * 10) -> None:
        self.batches: list[list[Any]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.running = self.most = 0
        self._give = give

    async def __call__(self, items: list[Any]) -> list[Any]:
        self.batches.append(list(items))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
            return [self._give(item) for item in items]
        finally:
            self.running -= 1


def in_time() -> asyncio.Timeout:
    """What hangs fails; a minute is for a machine that is very busy."""
    return asyncio.timeout(60)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_items_of_one_moment_are_one_batch_and_each_caller_gets_its_own_result() -> None:
    work = Work()
    batcher = AsyncBatcher(work, max_wait_time=0)
    assert await asyncio.gather(*(batcher.add_item(n) for n in range(5))) == [0, 10, 20, 30, 40]
    assert work.batches == [[0, 1, 2, 3, 4]]


async def test_a_full_batch_does_not_wait_and_the_rest_does() -> None:
    work = Work()
    batcher = AsyncBatcher(work, max_batch_size=2, max_wait_time=LONG)
    tasks = [asyncio.create_task(batcher.add_item(n)) for n in range(3)]
    await asyncio.wait(tasks[:2])
    await settled()
    assert work.batches == [[0, 1]]
    assert not tasks[2].done()
    await batcher.aclose()
    assert await tasks[2] == 20


async def test_a_batch_that_is_not_full_runs_after_its_time() -> None:
    work = Work()
    assert await AsyncBatcher(work, max_wait_time=0.001).add_item(4) == 40


async def test_items_with_one_key_in_one_batch_are_one_item() -> None:
    work = Work()
    batcher = AsyncBatcher(work, max_wait_time=0, key=lambda item: item % 3)
    assert await asyncio.gather(*(batcher.add_item(n) for n in (1, 4, 2, 7))) == [10, 10, 20, 10]
    assert work.batches == [[1, 2]]
    assert await batcher.add_item(4) == 40
    await settled()
    assert batcher.pending == 0


async def test_a_result_that_is_an_error_is_for_its_item_alone() -> None:
    work = Work(lambda item: NotFound("item", item) if item == 1 else item)
    batcher = AsyncBatcher(work, max_wait_time=0)
    found = await asyncio.gather(*(batcher.add_item(n) for n in range(3)), return_exceptions=True)
    assert [found[0], type(found[1]), found[2]] == [0, NotFound, 2]


async def test_an_error_that_is_raised_is_for_all() -> None:
    async def broken(items: list[int]) -> list[int]:
        raise OSError("no disk")

    batcher = AsyncBatcher(broken, max_wait_time=0)
    found = await asyncio.gather(*(batcher.add_item(n) for n in range(3)), return_exceptions=True)
    assert [type(one) for one in found] == [OSError] * 3
    assert batcher.pending == 0


@pytest.mark.parametrize("given", [StopIteration("end"), asyncio.CancelledError()])
async def test_errors_that_would_look_like_something_else_are_unavailable(given: BaseException) -> None:
    async def odd(items: list[int]) -> list[BaseException]:
        return [given]

    with pytest.raises(Unavailable, match=type(given).__name__) as raised:
        await AsyncBatcher(odd, max_wait_time=0).add_item(1)
    assert raised.value.__cause__ is given


@pytest.mark.parametrize("results", [[], [1, 2, 3], None, "ab", {1: 1, 2: 2}, {1, 2}, 5])
async def test_anything_but_one_result_for_each_item_is_an_error_that_says_so(results: Any) -> None:
    async def wrong(items: list[int]) -> Any:
        return results

    batcher = AsyncBatcher(wrong, max_wait_time=0)
    found = await asyncio.gather(batcher.add_item(1), batcher.add_item(2), return_exceptions=True)
    for one in found:
        assert isinstance(one, BatchMismatch)
        assert isinstance(one, ValueError)
        assert "one" in str(one)


async def test_an_operation_that_empties_its_list_changes_nothing() -> None:
    async def empties(items: list[int]) -> list[int]:
        found = [item + 1 for item in items]
        items.clear()
        return found

    batcher = AsyncBatcher(empties, max_wait_time=0)
    assert await asyncio.gather(batcher.add_item(1), batcher.add_item(2)) == [2, 3]


async def test_a_caller_that_gives_up_takes_nothing_from_the_others() -> None:
    work = Work()
    work.go.clear()
    batcher = AsyncBatcher(work, max_wait_time=0)
    tasks = [asyncio.create_task(batcher.add_item(n)) for n in range(3)]
    await settled()
    assert work.batches == [[0, 1, 2]]
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    work.go.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [_Cancelled(), 10, 20]
    assert tasks[0].cancelled()


class _Cancelled:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, asyncio.CancelledError)

    def __hash__(self) -> int:
        return 0


async def test_what_nobody_waits_for_any_more_is_not_worked_on() -> None:
    work = Work()
    batcher = AsyncBatcher(work, max_wait_time=0.001, key=lambda item: item)
    first, again, second = (asyncio.create_task(batcher.add_item(n)) for n in (1, 1, 2))
    third = asyncio.create_task(batcher.add_item(3))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    assert await again == 10
    assert await third == 30
    assert work.batches == [[1, 3]]
    alone = asyncio.create_task(batcher.add_item(9))
    await asyncio.sleep(0)
    alone.cancel()
    await batcher.aclose()
    assert work.batches == [[1, 3]]
    assert batcher.pending == 0


async def test_no_more_batches_run_at_a_time_than_may() -> None:
    work = Work()
    work.go.clear()
    batcher = AsyncBatcher(work, max_batch_size=1, max_wait_time=0, max_concurrency=2)
    tasks = [asyncio.create_task(batcher.add_item(n)) for n in range(5)]
    await settled()
    assert work.batches == [[0], [1]]
    work.go.set()
    assert await asyncio.gather(*tasks) == [0, 10, 20, 30, 40]
    assert work.most == 2


async def test_while_a_batch_runs_the_next_one_collects() -> None:
    work = Work()
    work.go.clear()
    batcher = AsyncBatcher(work, max_batch_size=3, max_wait_time=0)
    tasks = [asyncio.create_task(batcher.add_item(0))]
    for n in range(1, 5):
        await settled()
        tasks.append(asyncio.create_task(batcher.add_item(n)))
    await settled()
    work.go.set()
    await asyncio.gather(*tasks)
    assert work.batches == [[0], [1, 2, 3], [4]]


async def test_who_comes_when_it_is_full_waits_outside_in_order_and_submit_refuses() -> None:
    work = Work()
    work.go.clear()
    batcher = AsyncBatcher(work, max_batch_size=2, max_wait_time=0, max_pending=2)
    tasks = [asyncio.create_task(batcher.add_item(n)) for n in range(6)]
    await settled()
    assert batcher.pending == 2
    with pytest.raises(BatcherFull, match="2 items"):
        batcher.submit(9)
    assert len(batcher._line) == 4
    tasks[3].cancel()
    await settled()
    assert len(batcher._line) == 3
    work.go.set()
    async with in_time():
        found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found == [0, 10, 20, _Cancelled(), 40, 50]
    assert work.batches == [[0, 1], [2, 4], [5]]
    assert batcher.pending == 0
    assert await batcher.submit(7) == 70


async def test_nobody_waits_for_a_batch_or_for_room_past_the_deadline_of_the_message() -> None:
    work = Work()
    work.go.clear()
    batcher = AsyncBatcher(work, max_batch_size=1, max_pending=1)
    first = asyncio.create_task(batcher.add_item(1))
    await settled()
    with context.use(context.Context(deadline=clock.monotonic())):
        with pytest.raises(TimedOut, match="no result before the deadline"):
            await batcher.add_item(2)
        assert batcher.pending == 1
        with pytest.raises(TimedOut, match="no result before the deadline"):
            await AsyncBatcher(work, max_wait_time=0).add_item(3)
    work.go.set()
    with context.use(context.Context(deadline=clock.monotonic() + LONG)):
        assert await batcher.add_item(4) == 40
    assert await first == 10
    assert work.batches == [[1], [3], [4]]


async def test_a_place_that_was_given_to_a_cancelled_caller_goes_to_the_next() -> None:
    work = Work()
    work.go.clear()
    batcher = AsyncBatcher(work, max_batch_size=1, max_wait_time=0, max_pending=1)
    first, second, third = (asyncio.create_task(batcher.add_item(n)) for n in (1, 2, 3))
    await settled()
    work.go.set()
    async with in_time():
        while not first.done():
            # The place is given when the first has ended; the second is cancelled before it hears of it.
            await asyncio.sleep(0)
        second.cancel()
        assert await third == 30
        await asyncio.wait([second])
    assert batcher.pending == 0


async def test_closing_finishes_what_was_added_and_takes_no_more() -> None:
    work = Work()
    work.go.clear()
    async with AsyncBatcher(work, max_wait_time=LONG, max_pending=2, name="rows") as batcher:
        tasks = [asyncio.create_task(batcher.add_item(n)) for n in range(3)]
        await settled()
        asyncio.get_running_loop().call_soon(work.go.set)
    assert await asyncio.gather(*tasks) == [0, 10, 20]
    with pytest.raises(Misconfigured, match="rows is closed"):
        await batcher.add_item(1)
    await batcher.aclose()


async def test_two_may_close_at_once() -> None:
    work = Work()
    work.go.clear()
    batcher = AsyncBatcher(work, max_wait_time=0)
    task = asyncio.create_task(batcher.add_item(1))
    await settled()
    closing = [asyncio.create_task(batcher.aclose()) for _ in range(3)]
    await settled()
    closing[1].cancel()
    await settled()
    assert not closing[0].done()
    work.go.set()
    await closing[0]
    await closing[2]
    assert closing[1].cancelled()
    assert await task == 10


async def test_closing_that_takes_too_long_refuses_what_is_left() -> None:
    work = Work()
    work.go.clear()
    batcher = AsyncBatcher(work, max_batch_size=1, max_wait_time=0, max_pending=2)
    tasks = [asyncio.create_task(batcher.add_item(n)) for n in range(4)]
    await settled()
    await batcher.aclose(timeout=0.001)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [Unavailable] * 4
    assert work.running == 0
    assert batcher.pending == 0


async def test_an_operation_that_is_cancelled_from_outside_is_unavailable_to_its_callers() -> None:
    async def gives_up(items: list[int]) -> list[int]:
        raise asyncio.CancelledError

    with pytest.raises(Unavailable, match="cancelled"):
        await AsyncBatcher(gives_up, max_wait_time=0).add_item(1)


async def test_a_task_that_outlives_the_batch_that_started_it_may_add_items() -> None:
    started: list[asyncio.Task[int]] = []
    go = asyncio.Event()

    async def later() -> int:
        await go.wait()
        return await batcher.add_item(2)

    async def work(items: list[int]) -> list[int]:
        if items == [1]:
            started.append(asyncio.create_task(later()))
        return items

    batcher = AsyncBatcher(work, max_wait_time=0)
    await batcher.add_item(1)
    other = asyncio.create_task(batcher.add_item(3))
    go.set()
    assert await started[0] == 2
    assert await other == 3


async def test_a_batch_sees_nothing_of_its_callers_nor_of_who_made_the_batcher() -> None:
    seen: list[Any] = []

    async def look(items: list[int]) -> list[int]:
        seen.append((variable.get(), context.get(), current_principal(), deadline.remaining()))
        variable.set("changed")
        return items

    variable: ContextVar[str] = ContextVar("test", default="outside")

    async def caller(tenant: str) -> None:
        variable.set(tenant)
        with context.use(context.Context(tenant=tenant)), use_principal(Principal(tenant)):
            async with timeout(LONG):
                batchers.append(batchers[0] if batchers else AsyncBatcher(look, max_wait_time=0))
                await batchers[0].add_item(1)

    batchers: list[AsyncBatcher[int, int]] = []
    for tenant in ("acme", "other"):
        await asyncio.create_task(caller(tenant))
    assert seen == [("outside", None, None, None)] * 2


async def test_a_batcher_that_is_given_a_context_runs_each_batch_in_a_copy_of_it() -> None:
    variable: ContextVar[str] = ContextVar("test", default="outside")

    async def look(items: list[int]) -> list[str]:
        before = variable.get()
        variable.set("changed")
        return [before]

    variable.set("of the maker")
    batcher = AsyncBatcher(look, max_wait_time=0, context=copy_context())
    variable.set("of a caller")
    assert [await batcher.add_item(1), await batcher.add_item(2)] == ["of the maker"] * 2


async def test_a_key_that_cannot_be_made_is_the_error_of_its_item() -> None:
    work = Work()
    batcher = AsyncBatcher(work, max_wait_time=0, key=lambda item: 1 // item)
    found = await asyncio.gather(batcher.add_item(0), batcher.add_item(1), return_exceptions=True)
    assert [type(found[0]), found[1]] == [ZeroDivisionError, 10]
    async with in_time():
        await batcher.aclose()
    assert batcher.pending == 0


def test_it_belongs_to_one_loop_at_a_time() -> None:
    async def echo(items: list[int]) -> list[int]:
        while not waiting.is_set():
            await asyncio.sleep(0)
        return items

    waiting = threading.Event()
    waiting.set()
    batcher = AsyncBatcher(echo, max_wait_time=0, name="echo")
    for n in range(2):
        assert asyncio.run(batcher.add_item(n)) == n
    with pytest.raises(Misconfigured, match="echo needs an event loop"):
        batcher.submit(1)

    async def elsewhere() -> None:
        await batcher.add_item(1)
        with pytest.raises(Misconfigured, match="another event loop"):
            await asyncio.to_thread(asyncio.run, batcher.add_item(2))
        waiting.clear()
        later = batcher.submit(3)
        with pytest.raises(Misconfigured, match="close it there"):
            await asyncio.to_thread(asyncio.run, batcher.aclose())
        waiting.set()
        assert await later == 3

    asyncio.run(elsewhere())


def test_a_loop_that_ends_too_early_does_not_spoil_the_next() -> None:
    async def slow(items: list[int]) -> list[int]:
        if 1 in items:
            await asyncio.Event().wait()
        return items

    batcher = AsyncBatcher(slow, max_wait_time=0, max_pending=1)

    async def leave() -> None:
        batcher.submit(1)
        await settled()

    asyncio.run(leave())
    assert asyncio.run(batcher.add_item(2)) == 2


Step = tuple[str, int]
WHAT = st.sampled_from(["add", "submit", "cancel", "turn", "fail"])
STEPS = st.lists(st.tuples(WHAT, st.integers(0, 6)), max_size=40)
FEW = st.integers(1, 4)


@given(steps=STEPS, size=FEW, pending=FEW, concurrency=FEW, keyed=st.booleans())
async def test_whatever_happens_each_caller_gets_its_own_result_and_nothing_is_left(
    steps: list[Step], size: int, pending: int, concurrency: int, keyed: bool
) -> None:
    failing = False

    async def work(items: list[int]) -> list[int | BaseException]:
        await asyncio.sleep(0)
        if failing:
            raise OSError("broken")
        assert len(items) <= size
        assert not keyed or len(set(items)) == len(items)
        return [ValueError(item) if item == 6 else item * 10 for item in items]

    batcher = AsyncBatcher(
        work, size, 0, key=(lambda item: item) if keyed else None, max_concurrency=concurrency, max_pending=pending
    )
    callers: list[tuple[int, asyncio.Future[int]]] = []
    for what, number in steps:
        if what == "add":
            callers.append((number, asyncio.create_task(batcher.add_item(number))))
        elif what == "submit":
            try:
                callers.append((number, batcher.submit(number)))
            except BatcherFull:
                assert batcher.pending
        elif what == "cancel" and callers:
            callers[number % len(callers)][1].cancel()
        elif what == "fail":
            failing = not failing
        else:
            await asyncio.sleep(0)
    # Those that have not begun yet would find it closed.
    await asyncio.sleep(0)
    async with in_time():
        await batcher.aclose()
        found = await asyncio.gather(*(future for _, future in callers), return_exceptions=True)
    for (number, _), result in zip(callers, found, strict=True):
        assert result == number * 10 or isinstance(result, asyncio.CancelledError | OSError) or number == 6
        assert not isinstance(result, ValueError) or result.args == (number,)
    assert batcher.pending == 0
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("batch")]


async def test_who_closes_it_does_not_wait_for_work_that_does_not_hear_its_cancellation() -> None:
    end = asyncio.Event()

    async def deaf(items: list[int]) -> list[int]:
        while not end.is_set():
            with suppress(asyncio.CancelledError):
                await end.wait()
        return items

    batcher = AsyncBatcher(deaf, max_wait_time=0)
    caller = asyncio.create_task(batcher.add_item(1))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(30):
        await batcher.aclose(timeout=0.01)
        with pytest.raises(OutcomeUnknown, match=r"cancelled and does not end; it waits at .*test_batcher.py:\d+ in "):
            await caller
    end.set()
