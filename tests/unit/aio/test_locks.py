"""AsyncLock, AsyncSemaphore and AsyncEvent in one event loop."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.unit.aio.holding import held
from tests.unit.steered import settled

from uno.aio import AsyncEvent, AsyncLock, AsyncSemaphore, timeout
from uno.aio.named import _loops, _names
from uno.errors import Misconfigured, TimedOut

FOREVER = 60.0
Make = Callable[..., Any]


# ── sharing ──


async def test_handles_of_one_name_are_one_lock() -> None:
    async with held(AsyncLock("one")):
        assert AsyncLock("one").locked()
        assert not AsyncLock("two").locked()
        assert not AsyncLock().locked()
        with pytest.raises(TimedOut):
            await AsyncLock("one").acquire(timeout=0)
    assert not AsyncLock("one").locked()


async def test_a_handle_may_be_made_before_any_event_loop_runs() -> None:
    made: list[AsyncLock] = []
    thread = threading.Thread(target=lambda: made.append(AsyncLock("early")))
    thread.start()
    await asyncio.to_thread(thread.join)
    async with held(made[0]):
        assert AsyncLock("early").locked()


@pytest.mark.parametrize("name", [None, "of several loops"])
def test_a_handle_lives_through_several_event_loops_one_after_another(name: str | None) -> None:
    lock = AsyncLock(name)

    async def left_behind() -> None:
        await lock.acquire()

    for _ in range(3):
        asyncio.run(left_behind())


async def test_a_lock_without_a_name_is_refused_in_a_second_event_loop() -> None:
    lock = AsyncLock()
    async with lock:
        with pytest.raises(Misconfigured, match="belongs to the event loop it was used in first"):
            await asyncio.to_thread(asyncio.run, lock.acquire())


async def test_locks_of_one_name_in_two_event_loops_are_two() -> None:
    lock = AsyncLock("here and there")

    async def there() -> bool:
        async with lock:
            return lock.locked()

    async with lock:
        assert await asyncio.to_thread(asyncio.run, there())
        assert lock.locked()


@pytest.mark.parametrize("use", [AsyncLock("outside").locked, AsyncEvent("outside").set, AsyncSemaphore(1).release])
def test_use_outside_of_an_event_loop_is_refused(use: Callable[[], object]) -> None:
    with pytest.raises(Misconfigured, match="outside of an event loop"):
        use()


async def test_a_name_is_forgotten_once_nobody_has_it() -> None:
    for n in range(100):
        async with AsyncLock(f"order {n}"), AsyncSemaphore(2, f"order {n}"):
            pass
    gc.collect()
    known = _names(asyncio.get_running_loop()).known
    assert not [key for key in known if "order" in key[1]]


async def test_what_is_held_is_not_forgotten_though_nobody_has_a_handle() -> None:
    await AsyncLock("by hand").acquire()
    await AsyncSemaphore(1, "by hand").acquire()
    AsyncEvent("by hand").set()
    gc.collect()
    assert AsyncLock("by hand").locked()
    assert AsyncSemaphore(1, "by hand").locked()
    assert await AsyncEvent("by hand").wait()
    AsyncLock("by hand").release()
    AsyncSemaphore(1, "by hand").release()
    AsyncEvent("by hand").clear()


def test_closed_event_loops_are_forgotten() -> None:
    async def use() -> None:
        AsyncEvent("of a closed loop").set()

    for _ in range(5):
        asyncio.run(use())
    assert len([loop for loop in _loops if loop.is_closed()]) <= 1


async def test_one_name_has_one_setting() -> None:
    first = AsyncSemaphore(2, "mail")
    with pytest.raises(Misconfigured, match=r"AsyncSemaphore 'mail' is in use with other settings: 2, here 3"):
        AsyncSemaphore(3, "mail")
    async with AsyncLock("report"):
        with pytest.raises(Misconfigured, match="'process', here 'database'"):
            AsyncLock("report", scope="database")
    del first
    assert AsyncSemaphore(3, "mail").value == 3


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: AsyncLock(5), "name of an AsyncLock is a text, not 5"),  # type: ignore[arg-type]
        (lambda: AsyncLock(""), "is a text"),
        (lambda: AsyncLock("x", scope="global"), '"process" or "database", not \'global\''),  # type: ignore[arg-type]
        (lambda: AsyncLock(scope="database"), "needs a name"),
        (lambda: AsyncLock("x", database=object()), 'has scope="database"'),
        (lambda: AsyncLock("x", timeout=-1), "0 or more seconds"),
        (lambda: AsyncLock("x", timeout="5"), "is a number"),  # type: ignore[arg-type]
        (lambda: AsyncSemaphore(0), "1 or more"),
        (lambda: AsyncSemaphore("mail"), "is a number"),  # type: ignore[arg-type]
        (lambda: AsyncSemaphore(1.5), "whole number"),  # type: ignore[arg-type]
        (lambda: AsyncEvent(5), "name of an AsyncEvent is a text"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_are_refused_by_name(make: Make, text: str) -> None:
    with pytest.raises(Misconfigured, match=text):
        make()


# ── holding ──


async def test_a_task_enters_its_lock_again_and_leaves_it_as_often() -> None:
    lock = AsyncLock("deep")
    async with lock:
        async with AsyncLock("deep"):
            await lock.acquire()
            owner = lock.owner_info
            assert owner is not None
            assert owner.depth == 3
            lock.release()
        assert lock.locked()
    assert not lock.locked()


async def test_the_owner_and_those_who_wait_are_seen() -> None:
    lock = AsyncLock("seen")
    async with held(lock, "import"):
        waiters = [asyncio.create_task(lock.acquire(), name=name) for name in ("first", "second")]
        await settled()
        owner = lock.owner_info
        assert owner is not None
        assert owner.task == "import"
        assert owner.seconds >= 0
        assert [waiter.task for waiter in lock.waiting] == ["first", "second"]
        assert lock.waiting[0].seconds >= lock.waiting[1].seconds
        with pytest.raises(
            TimedOut, match=r"'seen' was not free within 0\.01 s; the task import has .* and 2 more wait"
        ):
            await lock.acquire(timeout=0.01)
    await asyncio.wait(waiters)


@pytest.mark.parametrize("make", [AsyncLock, lambda name: AsyncSemaphore(1, name)])
async def test_those_who_wait_are_served_in_their_order(make: Make) -> None:
    thing, order = make("in order"), []

    async def enter(n: int) -> None:
        async with make("in order"):
            order.append(n)

    async with thing:
        tasks = [asyncio.create_task(enter(n)) for n in range(5)]
        await settled()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("make", [AsyncLock, lambda: AsyncSemaphore(1)])
async def test_only_who_has_it_gives_it_back(make: Make) -> None:
    thing = make()
    with pytest.raises(Misconfigured, match="call `acquire\\(\\)` before, in the same task"):
        thing.release()
    async with held(thing):
        with pytest.raises(Misconfigured, match="call `acquire\\(\\)` before, in the same task"):
            thing.release()
        assert thing.locked()


@pytest.mark.parametrize("make", [AsyncLock, lambda: AsyncSemaphore(1)])
@pytest.mark.parametrize("how", ["returns", "raises", "is cancelled"])
async def test_a_holder_that_ends_releases(make: Make, how: str, caplog: pytest.LogCaptureFixture) -> None:
    thing = make()

    async def die() -> None:
        await thing.acquire()
        if how == "raises":
            raise ZeroDivisionError
        if how == "is cancelled":
            await asyncio.Event().wait()

    task = asyncio.create_task(die(), name="dead")
    await settled()
    waiter = asyncio.create_task(thing.acquire(timeout=FOREVER))
    if how == "is cancelled":
        await settled()
        task.cancel()
    await asyncio.wait([task])
    await waiter
    assert task.cancelled() or task.exception() is None or isinstance(task.exception(), ZeroDivisionError)
    assert "a task ended without releasing a lock" in caplog.text
    assert thing.locked() is False or isinstance(thing, AsyncSemaphore)


@pytest.mark.parametrize("make", [AsyncLock, lambda: AsyncSemaphore(1)])
async def test_who_comes_between_the_end_of_a_holder_and_its_callback_gets_it(make: Make) -> None:
    thing = make()
    task = asyncio.create_task(thing.acquire())
    while not task.done():
        await asyncio.sleep(0)
    assert await thing.acquire(timeout=FOREVER)
    await settled()
    assert thing.locked()


@pytest.mark.parametrize("make", [AsyncLock, lambda: AsyncSemaphore(1)])
async def test_a_generator_that_is_closed_by_another_task_releases(make: Make) -> None:
    thing = make()

    async def items() -> AsyncIterator[int]:
        async with thing:
            yield 1

    generator: Any = items()
    assert await anext(generator) == 1
    assert thing.locked()
    await asyncio.create_task(generator.aclose())
    assert not thing.locked()


@pytest.mark.parametrize("make", [AsyncLock, lambda: AsyncSemaphore(1)])
async def test_a_generator_that_outlives_its_holder_takes_nothing_from_the_next_one(make: Make) -> None:
    thing = make()
    generators: list[Any] = []

    async def items() -> AsyncIterator[int]:
        async with thing:
            yield 1

    async def begin() -> None:
        generators.append(items())
        await anext(generators[-1])

    await asyncio.create_task(begin())
    async with thing:
        await asyncio.create_task(generators[0].aclose())
        assert thing.locked()
    assert not thing.locked()
    await asyncio.create_task(begin())
    async with thing:
        await generators.pop().aclose()
        assert thing.locked()
        with pytest.raises(TimedOut):
            await asyncio.create_task(thing.acquire(timeout=0))
    assert not thing.locked()


async def test_a_semaphore_lets_in_as_many_as_it_says() -> None:
    semaphore, inside = AsyncSemaphore(3, "three"), []

    async def enter(n: int) -> None:
        async with semaphore:
            inside.append(n)
            assert len(inside) <= 3
            await asyncio.sleep(0)
            inside.remove(n)

    await asyncio.gather(*(enter(n) for n in range(10)))
    async with semaphore, semaphore:
        [owner] = semaphore.owners
        assert owner.depth == 2
        assert not semaphore.locked()
    async with held(AsyncSemaphore(1, "full")):
        with pytest.raises(TimedOut, match=r"'full' had no place within 0\.01 s; 1 of 1 are taken"):
            await AsyncSemaphore(1, "full").acquire(timeout=0.01)


async def test_a_semaphore_is_seen() -> None:
    semaphore = AsyncSemaphore(1, timeout=FOREVER)
    async with held(semaphore, "import"):
        assert [owner.task for owner in semaphore.owners] == ["import"]
        waiter = asyncio.create_task(semaphore.acquire(), name="next")
        await settled()
        assert [one.task for one in semaphore.waiting] == ["next"]
    await waiter


# ── waiting ──


async def test_a_limit_of_the_handle_is_that_of_its_blocks() -> None:
    async with held(AsyncLock("slow")):
        with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
            async with AsyncLock("slow", timeout=0.01):
                raise AssertionError
    async with held(AsyncSemaphore(1, "slow")):
        with pytest.raises(TimeoutError):
            async with AsyncSemaphore(1, "slow", timeout=0.01):
                raise AssertionError


@pytest.mark.parametrize(
    "wait",
    [
        lambda: AsyncLock("late").acquire(),
        lambda: AsyncSemaphore(1, "late").acquire(timeout=FOREVER),
        lambda: AsyncEvent("late").wait(),
    ],
)
async def test_nobody_waits_past_the_deadline(wait: Callable[[], Awaitable[bool]]) -> None:
    async with held(AsyncLock("late")), held(AsyncSemaphore(1, "late")):
        with pytest.raises(TimedOut):
            async with timeout(0.01):
                await wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_event_is_for_all_who_wait() -> None:
    event = AsyncEvent("ready")
    tasks = [asyncio.create_task(AsyncEvent("ready").wait(), name=str(n)) for n in range(3)]
    await settled()
    assert [waiter.task for waiter in event.waiting] == ["0", "1", "2"]
    event.set()
    assert await asyncio.gather(*tasks) == [True, True, True]
    assert AsyncEvent("ready").is_set()
    event.clear()
    assert not AsyncEvent("ready").is_set()
    with pytest.raises(TimedOut, match=r"'ready' was not set within 0\.01 s"):
        await event.wait(timeout=0.01)


async def test_an_event_is_set_from_another_thread_through_the_loop() -> None:
    event, loop = AsyncEvent(), asyncio.get_running_loop()
    waiting = asyncio.create_task(event.wait())
    await settled()
    await asyncio.to_thread(loop.call_soon_threadsafe, event.set)
    assert await waiting


async def test_a_lock_in_a_callback_belongs_to_nobody() -> None:
    found: list[BaseException] = []

    def callback() -> None:
        try:
            AsyncLock("called").acquire().send(None)
        except BaseException as error:
            found.append(error)

    asyncio.get_running_loop().call_soon(callback)
    await settled()
    assert isinstance(found[0], Misconfigured)
