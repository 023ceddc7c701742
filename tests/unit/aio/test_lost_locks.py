"""What a lock does with its port: a place in memory stands for the database, and is lost, late or gone when told."""

import asyncio
import contextlib
from collections.abc import Callable, Hashable, Iterator

import pytest

from uno.aio import AsyncLock, LockLost, database_lock, retry, timeout
from uno.errors import Misconfigured, OutcomeUnknown, TimedOut, Unavailable


class Held:
    """It takes some rounds to be given back."""

    def __init__(self, place: "Place", lost: Callable[[], None]) -> None:
        self._place = place
        self.lost = lost

    async def release(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        self._place.taken.remove(self)


class Place:
    """Gives one lock at a time, after some rounds."""

    joins = False

    def __init__(self) -> None:
        self.taken: list[Held] = []
        self.error: Exception | None = None
        self.lost_at_once = False

    @property
    def key(self) -> Hashable:
        return self

    async def take(self, name: str, seconds: float | None, lost: Callable[[], None]) -> Held:
        for _ in range(3):
            await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        assert not self.taken
        held = Held(self, lost)
        self.taken.append(held)
        if self.lost_at_once:
            lost()
        return held


@pytest.fixture
def place() -> Iterator[Place]:
    before, made = database_lock._find, Place()
    database_lock.fill(lambda database: made)
    yield made
    database_lock._find = before


def lock() -> AsyncLock:
    return AsyncLock("port", scope="database")


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def never() -> None:
    """Wait to be interrupted; a minute is for a machine that is very busy."""
    async with asyncio.timeout(60):
        await asyncio.Event().wait()


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@pytest.mark.parametrize("steps", range(16))
@pytest.mark.parametrize("twice", [False, True])
async def test_wherever_a_user_is_cancelled_the_lock_is_given_back(place: Place, steps: int, twice: bool) -> None:
    async def use() -> None:
        async with lock(), lock():
            await rounds(2)

    task = asyncio.create_task(use())
    await rounds(steps)
    was_over = task.done()
    task.cancel()
    if twice:
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() is not was_over
    assert place.taken == []
    async with asyncio.timeout(5), lock():
        pass


async def test_a_lost_lock_interrupts_the_innermost_block_once(place: Place) -> None:
    with pytest.raises(LockLost, match="others may have had it"):
        async with lock():
            with pytest.raises(LockLost):
                async with lock():
                    place.taken[0].lost()
                    place.taken[0].lost()
                    await never()
            assert cancelling() == 0
    assert place.taken == []
    assert cancelling() == 0


async def test_a_lost_lock_is_not_entered_again(place: Place) -> None:
    await lock().acquire()
    place.taken[0].lost()
    for _ in range(2):
        with pytest.raises(LockLost):
            async with lock():
                raise AssertionError
        with pytest.raises(LockLost):
            await lock().acquire()
    with pytest.raises(LockLost):
        lock().release()
    with pytest.raises(Misconfigured):
        lock().release()
    async with lock():
        pass
    assert place.taken == []


async def test_a_lock_that_is_lost_while_it_is_taken_is_not_taken(place: Place) -> None:
    place.lost_at_once = True
    with pytest.raises(Unavailable, match="as it was taken") as caught:
        async with lock():
            raise AssertionError
    assert not isinstance(caught.value, OutcomeUnknown)  # it may be repeated
    assert place.taken == []
    place.lost_at_once = False
    async with lock():
        pass


@pytest.mark.parametrize("ends", ["well", "interrupted"])
async def test_what_was_guarded_by_a_lost_lock_is_not_repeated(place: Place, ends: str) -> None:
    attempts: list[int] = []

    @retry(max_attempts=3, base_delay=0)
    async def store() -> None:
        async with lock():
            attempts.append(1)
            place.taken[0].lost()
            try:
                await never()
            except asyncio.CancelledError:  # as a commit that is waited for, and whose outcome nobody asks for
                if ends == "interrupted":
                    raise

    with pytest.raises(OutcomeUnknown, match="may be done"):
        await store()
    assert attempts == [1]
    assert cancelling() == 0


async def test_a_cancellation_in_the_moment_of_the_loss_is_not_swallowed(place: Place) -> None:
    async def work() -> None:
        async with lock():
            await never()

    task = asyncio.create_task(work())
    await rounds(6)
    task.cancel()
    place.taken[0].lost()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1
    assert place.taken == []


async def test_a_cancellation_that_is_to_come_when_the_block_begins_is_not_swallowed(place: Place) -> None:
    async def work() -> None:
        await lock().acquire()
        task.cancel()
        async with lock():
            try:
                await never()
            finally:
                place.taken[0].lost()
                await never()

    task = asyncio.create_task(work())
    await asyncio.wait([task])
    assert task.cancelled()
    assert task.cancelling() == 1
    await rounds(10)
    assert place.taken == []


async def test_errors_of_a_block_are_not_hidden_by_the_loss(place: Place) -> None:
    with pytest.raises(ZeroDivisionError):
        async with lock():
            asyncio.get_running_loop().call_soon(place.taken[0].lost)
            try:
                await never()
            finally:
                raise ZeroDivisionError
    assert cancelling() == 0


async def test_a_loss_inside_of_a_timeout_is_no_timeout(place: Place) -> None:
    with pytest.raises(LockLost):
        async with timeout(60), lock():
            place.taken[0].lost()
            await never()
    with pytest.raises(TimedOut):
        async with lock(), timeout(0.001):
            await never()
    assert cancelling() == 0


async def test_a_loss_after_the_end_disturbs_nobody(place: Place) -> None:
    async with lock():
        lost = place.taken[0].lost
    lost()
    await rounds(3)
    assert cancelling() == 0
    assert not lock().locked()


async def test_what_the_place_raises_leaves_the_lock_free(place: Place) -> None:
    place.error = Unavailable("no database")
    with pytest.raises(Unavailable, match="no database"):
        await lock().acquire()
    place.error = TimedOut("It is held by somebody.")
    with pytest.raises(TimedOut, match=r"'port' was not free within 2 s\. It is held by somebody\."):
        await lock().acquire(timeout=2)
    place.error = None
    async with lock():
        pass


async def test_a_lock_that_was_released_by_hand_is_waited_for_until_it_is_given_back(place: Place) -> None:
    for _ in range(3):
        await lock().acquire()
        lock().release()
        with pytest.raises(Misconfigured):
            lock().release()
    await rounds(10)
    assert place.taken == []


async def test_a_task_that_ends_gives_back_what_it_holds(place: Place) -> None:
    await asyncio.create_task(lock().acquire())
    async with lock():
        pass
    assert place.taken == []


async def test_without_a_database_room_there_is_no_such_lock(place: Place) -> None:
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, database_lock, "_find", database_lock._find)
        database_lock._find = None
        with pytest.raises(Misconfigured, match="needs a database: AsyncLock"):
            await lock().acquire()
