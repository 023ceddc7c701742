"""What a cancelled call that does not end goes on holding, though its caller goes on without it."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from uno.aio import AsyncLock, AsyncSemaphore, cancellable
from uno.errors import Misconfigured

SHORT, FOREVER = 0.01, 60.0


async def settled() -> None:
    """Until every task has gone as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def deaf(until: asyncio.Event) -> None:
    """Waits, whoever cancels it."""
    while not until.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await until.wait()


@pytest.fixture(params=[AsyncLock, lambda name: AsyncSemaphore(1, name)])
def lock(request: pytest.FixtureRequest) -> Any:
    made: Callable[[str], Any] = request.param
    return made("critical")


@pytest.fixture
def end() -> Iterator[asyncio.Event]:
    """Also after a test that fails, or its tasks would be waited for for ever."""
    event = asyncio.Event()
    yield event
    event.set()


def stubborn(lock: Any, end: asyncio.Event, depth: int = 1) -> Any:
    """A cancellable call that has the lock, in so many calls one inside another, and does not hear."""

    @cancellable(cleanup_timeout=SHORT)
    async def work() -> None:
        async with lock:
            await deaf(end)

    @cancellable(cleanup_timeout=SHORT / 2)
    async def outer() -> None:
        await work()

    return work if depth == 1 else outer


async def left_behind(call: Any) -> None:
    """Its caller is cancelled, and goes on."""
    waiting = asyncio.current_task()
    assert waiting is not None
    asyncio.get_running_loop().call_soon(waiting.cancel)
    with pytest.raises(asyncio.CancelledError):
        await call()
    waiting.uncancel()


@pytest.mark.parametrize("depth", [1, 2])
async def test_nobody_enters_a_lock_while_who_was_left_behind_is_inside(
    lock: Any, end: asyncio.Event, depth: int
) -> None:
    await asyncio.create_task(left_behind(stubborn(lock, end, depth)))
    assert lock.locked()
    another = asyncio.create_task(lock.acquire())
    await settled()
    assert not another.done()
    end.set()
    async with asyncio.timeout(FOREVER):
        await another
        async with lock:
            pass


async def test_the_caller_who_goes_on_waits_for_it_too(lock: Any, end: asyncio.Event) -> None:
    await left_behind(stubborn(lock, end))
    with pytest.raises(TimeoutError):
        await lock.acquire(timeout=SHORT)
    with pytest.raises(Misconfigured, match="not held by this task|This task has no place"):
        lock.release()
    end.set()
    await lock.acquire(timeout=FOREVER)
    lock.release()


async def test_who_was_left_behind_gives_back_what_it_took_by_hand(lock: Any, end: asyncio.Event) -> None:
    released: list[bool] = []

    @cancellable(cleanup_timeout=SHORT)
    async def work() -> None:
        await lock.acquire()
        await deaf(end)
        lock.release()
        released.append(True)

    await left_behind(work)
    end.set()
    await lock.acquire(timeout=FOREVER)
    assert released == [True]
    lock.release()


async def test_who_was_left_behind_gives_back_its_own_place_and_not_its_callers(end: asyncio.Event) -> None:
    places = AsyncSemaphore(2)

    @cancellable(cleanup_timeout=SHORT)
    async def work() -> None:
        async with places:
            await deaf(end)
        async with places:
            gone.set()
            await asyncio.sleep(0)
        names.extend(owner.task for owner in places.owners)

    names: list[str] = []
    gone = asyncio.Event()
    await left_behind(work)
    me = asyncio.current_task()
    assert me is not None
    async with places:
        end.set()
        await gone.wait()
        await settled()
        assert names == [me.get_name()]
    assert places.owners == ()


async def test_what_a_call_took_and_did_not_give_back_is_its_callers(lock: Any) -> None:
    @cancellable
    async def inner() -> None:
        await lock.acquire()

    @cancellable
    async def outer() -> None:
        await inner()

    await outer()
    assert lock.locked()
    lock.release()
    assert not lock.locked()
