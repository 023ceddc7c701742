"""What caching, batching, groups of tasks and the async decorators cost beside what one would write by hand, and how
long a life takes that does nothing."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from statistics import median
from time import perf_counter
from typing import Any

import aiocache
import cashews

from benchmarks.measure import Line, Rounds, Section, in_turns, main, ratio, repeated
from uno.aio import AsyncBatcher, AsyncCache, TaskGroup, get_async_manager, retry, timeout_handler
from uno.app import App, Module

# Passes of each loop in one round; the peers' hits are so slow that fewer do.
HITS, FEW, ITEMS, CALLS = 200_000, 20_000, 20_000, 10_000
# Keys of the caches, items of one moment, tasks of one group.
KEYS, CROWD, TASKS = 1_000, 1_000, 10
# Applications in a row.
LIVES = 50
# Never reached.
LONG = 3600.0

Loop = Callable[[int], Awaitable[None]]


async def answer(key: Any) -> Any:
    return key


# ── a hit ──


def looked_up(keys: list[str]) -> Loop:
    values = dict.fromkeys(keys, "value")

    async def loop(times: int) -> None:
        for _ in range(times // len(keys)):
            for key in keys:
                values.get(key)

    return loop


async def cached(keys: list[str]) -> Loop:
    cache = AsyncCache(LONG)
    for key in keys:
        await cache.get(key, answer)

    async def loop(times: int) -> None:
        for _ in range(times // len(keys)):
            for key in keys:
                await cache.get(key, answer)

    return loop


async def peer(get: Callable[[str], Awaitable[Any]], keys: list[str]) -> Loop:
    assert [await get(key) for key in keys] == ["value"] * len(keys)

    async def loop(times: int) -> None:
        for _ in range(times // len(keys)):
            for key in keys:
                await get(key)

    return loop


async def hits() -> dict[str, Callable[[], Awaitable[float]]]:
    keys = [f"order:{n}" for n in range(KEYS)]
    theirs, other = cashews.Cache(), aiocache.SimpleMemoryCache()
    theirs.setup("mem://", size=2 * KEYS)
    for key in keys:
        await theirs.set(key, "value", expire=LONG)
        await other.set(key, "value", ttl=LONG)
    return {
        "dict": repeated(HITS, looked_up(keys)),
        "cache": repeated(HITS, await cached(keys)),
        "cashews": repeated(FEW, await peer(theirs.get, keys)),
        "aiocache": repeated(FEW, await peer(other.get, keys)),
    }


# ── a batch ──


async def numbers(items: list[int]) -> list[int]:
    return items


async def bare_futures(times: int) -> None:
    """A moment's futures, given their results in the next turn of the loop."""
    loop = asyncio.get_running_loop()
    for _ in range(times // CROWD):
        futures = [loop.create_future() for _ in range(CROWD)]
        loop.call_soon(_resolve, futures)
        await asyncio.gather(*futures)


def _resolve(futures: list[asyncio.Future[int]]) -> None:
    for number, future in enumerate(futures):
        future.set_result(number)


def submitted(batcher: AsyncBatcher[int, int]) -> Loop:
    async def loop(times: int) -> None:
        for _ in range(times // CROWD):
            await asyncio.gather(*[batcher.submit(n) for n in range(CROWD)])

    return loop


async def _one(waiting: list[asyncio.Future[int]]) -> int:
    loop = asyncio.get_running_loop()
    if not waiting:
        loop.call_soon(_resolve_all, waiting)
    waiting.append(loop.create_future())
    return await waiting[-1]


def _resolve_all(waiting: list[asyncio.Future[int]]) -> None:
    _resolve(waiting)
    waiting.clear()


async def futures_in_tasks(times: int) -> None:
    """The same where each item has a caller, which is a task."""
    waiting: list[asyncio.Future[int]] = []
    for _ in range(times // CROWD):
        await asyncio.gather(*[_one(waiting) for _ in range(CROWD)])


def added(batcher: AsyncBatcher[int, int]) -> Loop:
    async def loop(times: int) -> None:
        for _ in range(times // CROWD):
            await asyncio.gather(*[batcher.add_item(n) for n in range(CROWD)])

    return loop


def batches() -> dict[str, Callable[[], Awaitable[float]]]:
    whole = AsyncBatcher(numbers, CROWD, 0)
    plain = AsyncBatcher(numbers, 100, 0)
    keyed = AsyncBatcher(numbers, 100, 0, key=lambda item: item)
    return {
        "futures": repeated(ITEMS, bare_futures),
        "submit": repeated(ITEMS, submitted(whole)),
        "tasks": repeated(ITEMS, futures_in_tasks),
        "add": repeated(ITEMS, added(plain)),
        "add keyed": repeated(ITEMS, added(keyed)),
    }


# ── groups and decorators ──


def grouped(make: Callable[[], Any]) -> Loop:
    async def loop(times: int) -> None:
        for _ in range(times // TASKS):
            async with make() as group:
                for number in range(TASKS):
                    group.create_task(answer(number))

    return loop


async def by_hand(key: int) -> int:
    try:
        async with asyncio.timeout(LONG):
            found: int = await answer(key)
    except TimeoutError as error:
        raise RuntimeError("it took too long") from error
    return found


def called(f: Callable[[int], Awaitable[int]]) -> Loop:
    async def loop(times: int) -> None:
        for number in range(times):
            await f(number)

    return loop


def others() -> dict[str, Callable[[], Awaitable[float]]]:
    decorated = retry(max_attempts=3)(timeout_handler(timeout_seconds=LONG)(answer))
    return {
        "asyncio group": repeated(CALLS, grouped(asyncio.TaskGroup)),
        "group": repeated(CALLS, grouped(TaskGroup)),
        "by hand": repeated(CALLS, called(by_hand)),
        "decorated": repeated(CALLS, called(decorated)),
    }


# ── starts and stops ──


class Connection:
    async def start(self) -> None:
        await asyncio.sleep(0)

    async def close(self) -> None:
        await asyncio.sleep(0)


class Part(Module):
    """It keeps something open, and does something until it is told to stop."""

    async def on_load(self) -> None:
        manager = get_async_manager()
        await manager.register_resource(Connection(), "part")
        manager.create_task(manager.wait_for_shutdown(), name="part")


async def lives() -> float:
    """Seconds by the clock: what waits in vain while it stops costs no CPU time."""
    started = perf_counter()
    for _ in range(LIVES):
        async with App(Part("part"), database="sqlite:///:memory:"):
            pass
    return perf_counter() - started


def lines(figures: Rounds) -> list[Line]:
    note = {name: f"{median(found):.2f} µs" for name, found in figures.items()}

    def line(what: str, one: str, other: str, limit: float | None = None) -> Line:
        return Line(what, ratio(figures, one, other), limit=limit, note=note[one])

    return [
        Line("dict.get", median(figures["dict"]), "µs"),
        line("AsyncCache hit, × dict.get", "cache", "dict", 8.0),
        line(f"cashews {version('cashews')} hit in memory, × dict.get", "cashews", "dict"),
        line(f"aiocache {version('aiocache')} hit in memory, × dict.get", "aiocache", "dict"),
        Line("bare futures + gather, an item", median(figures["futures"]), "µs"),
        line("batcher.submit + gather, × bare futures + gather", "submit", "futures", 1.4),
        line("batcher.add_item, × a bare future in its task", "add", "tasks", 1.4),
        line("the same with a key", "add keyed", "tasks", 1.4),
        line("TaskGroup spawn + join, × asyncio.TaskGroup", "group", "asyncio group", 1.3),
        line("retry + timeout_handler, × asyncio.timeout + try", "decorated", "by hand", 1.2),
        Line(f"{LIVES} starts and stops of an App, by the clock", median(figures["lives"]), "s", limit=5.0),
    ]


async def measure(rounds: int) -> Section:
    variants = {**await hits(), **batches(), **others(), "lives": lives}
    # Or every now and then one of them pays for looking through all that was imported.
    gc.collect()
    gc.freeze()
    figures = await in_turns(rounds, variants)
    return Section("aio: CPU time of one hit, item, task or call", lines(figures))


if __name__ == "__main__":
    main(measure, rounds=15)
