"""A thousand callers and one key: one load, or one retry, and nobody hangs."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.steered import Steered, settled

from uno import clock, context
from uno.aio import AsyncCache
from uno.errors import Misconfigured, NotFound, TimedOut, Unavailable

CROWD = 1000


class Source:
    """Counts its loads; each waits for `go`, then gives its number, or raises."""

    def __init__(self, *errors: BaseException) -> None:
        self.loads = self.running = self.most = 0
        self.errors = list(errors)
        self.go = asyncio.Event()

    async def __call__(self, key: Any) -> int:
        self.loads += 1
        number = self.loads
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
        finally:
            self.running -= 1
        if self.errors:
            raise self.errors.pop(0)
        return number


def crowd(cache: AsyncCache, source: Source, **options: Any) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(cache.get("key", source, **options)) for _ in range(CROWD)]


async def outcomes(callers: list[asyncio.Task[int]]) -> list[Any]:
    """None of them hangs: a minute is for a machine that is very busy."""
    async with asyncio.timeout(60):
        return await asyncio.gather(*callers, return_exceptions=True)


async def test_a_thousand_misses_are_one_load() -> None:
    cache, source = AsyncCache(60.0), Source()
    callers = crowd(cache, source)
    await settled()
    source.go.set()
    assert await outcomes(callers) == [1] * CROWD
    assert source.loads == 1
    assert len(cache._flights) == 0


@pytest.mark.parametrize("moment", ["before it begins", "while it loads", "when it has loaded"])
async def test_the_first_one_cancelled_takes_nobody_along(moment: str) -> None:
    cache, source = AsyncCache(60.0), Source()
    callers = crowd(cache, source)
    if moment == "before it begins":
        callers[0].cancel()
    await settled()
    if moment == "while it loads":
        callers[0].cancel()
    await settled()
    source.go.set()
    if moment == "when it has loaded":
        await asyncio.sleep(0)
        callers[0].cancel()
    first, *others = await outcomes(callers)
    assert isinstance(first, asyncio.CancelledError)
    assert others == [1] * (CROWD - 1)
    assert source.loads == 1


async def test_all_of_them_cancelled_leave_the_value_for_the_next() -> None:
    cache, source = AsyncCache(60.0), Source()
    callers = crowd(cache, source)
    await settled()
    for caller in callers:
        caller.cancel()
    assert all(isinstance(one, asyncio.CancelledError) for one in await outcomes(callers))
    late = crowd(cache, source)
    await settled()
    source.go.set()
    assert await outcomes(late) == [1] * CROWD
    assert source.loads == 1


async def test_a_cancelled_caller_knows_that_it_was_cancelled_and_how_often() -> None:
    cache, source = AsyncCache(60.0), Source()
    counted: list[int] = []

    async def caller() -> None:
        try:
            await cache.get("key", source)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            counted.append(task.cancelling())
            raise

    waiting = asyncio.create_task(caller())
    await settled()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert counted == [1]
    source.go.set()


async def test_the_time_of_one_caller_is_not_that_of_the_others() -> None:
    cache, source = AsyncCache(60.0), Source()

    async def hasty() -> int:
        async with asyncio.timeout(0):
            return await cache.get("key", source)

    callers = [asyncio.create_task(hasty()), *crowd(cache, source)]
    await settled()
    source.go.set()
    first, *others = await outcomes(callers)
    assert isinstance(first, TimeoutError)
    assert others == [1] * CROWD
    assert source.loads == 1


@pytest.mark.parametrize("force", [False, True])
async def test_nobody_waits_for_a_load_past_the_deadline_of_the_message_and_the_load_goes_on(force: bool) -> None:
    cache, source = AsyncCache(60.0), Source()
    first = asyncio.create_task(cache.get("key", source))
    await settled()
    late = context.Context(deadline=clock.monotonic())
    with context.use(late), pytest.raises(TimedOut, match="'key' was not there before the deadline"):
        await cache.get("key", source, force_refresh=force)
    source.go.set()
    assert await first == await cache.get("key", source) == 1


@pytest.mark.parametrize("error", [OSError("reset"), NotFound("order", 1), Unavailable("away"), KeyError("key")])
async def test_a_load_that_fails_fails_for_all_of_them_once(error: Exception) -> None:
    cache, source = AsyncCache(60.0), Source(error)
    callers = crowd(cache, source)
    await settled()
    source.go.set()
    assert [type(one) for one in await outcomes(callers)] == [type(error)] * CROWD
    assert source.loads == 1
    depth, trace = 0, error.__traceback__
    while trace is not None:
        depth, trace = depth + 1, trace.tb_next
    assert depth < 20
    # And the next crowd loads once more.
    assert await outcomes(crowd(cache, source)) == [2] * CROWD
    assert source.loads == 2


async def test_a_loader_that_was_cancelled_is_unavailable_and_nobody_looks_cancelled() -> None:
    cache, source = AsyncCache(60.0), Source(asyncio.CancelledError())
    callers = crowd(cache, source)
    await settled()
    source.go.set()
    assert {type(one) for one in await outcomes(callers)} == {Unavailable}
    assert await outcomes(crowd(cache, source)) == [2] * CROWD


async def test_a_loader_that_hangs_is_ended_and_the_next_one_loads() -> None:
    cache, source = AsyncCache(60.0, load_timeout=0.01), Source()
    assert {type(one) for one in await outcomes(crowd(cache, source))} == {TimedOut}
    source.go.set()
    assert await outcomes(crowd(cache, source)) == [2] * CROWD


async def test_a_thousand_forced_refreshes_are_one_load_after_the_one_under_way() -> None:
    cache, source = AsyncCache(60.0), Source()
    waiting = asyncio.create_task(cache.get("key", source))
    await settled()
    callers = crowd(cache, source, force_refresh=True)
    await settled()
    source.go.set()
    assert await outcomes([waiting, *callers]) == [1] + [2] * CROWD
    assert source.loads == 2


async def test_a_crowd_that_finds_an_old_value_loads_once_and_gets_it_where_that_fails(
    steered: Steered,
) -> None:
    cache, source = AsyncCache(60.0, jitter=0), Source()
    source.go.set()
    await cache.get("key", source)
    source.errors.append(Unavailable("away"))
    source.go.clear()
    await steered.move(61.0)
    callers = crowd(cache, source)
    await settled()
    source.go.set()
    assert await outcomes(callers) == [1] * CROWD
    assert source.loads == 2


async def test_a_crowd_before_the_end_refreshes_once_and_waits_for_nothing(steered: Steered) -> None:
    cache, source = AsyncCache(60.0, 10.0, jitter=0), Source()
    source.go.set()
    await cache.get("key", source)
    source.go.clear()
    await steered.move(51.0)
    assert await outcomes(crowd(cache, source)) == [1] * CROWD
    await settled()
    assert source.loads == 2
    source.go.set()
    await settled()
    assert await cache.get("key", source) == 2


async def test_a_crowd_that_is_cancelled_at_random_leaves_nothing_behind() -> None:
    cache, source = AsyncCache(60.0), Source()
    callers = crowd(cache, source)
    for turn, caller in enumerate(callers):
        if turn % 3:
            caller.cancel()
        if turn % 50 == 0:
            await cache.invalidate("key")
            await asyncio.sleep(0)
        if turn == CROWD // 2:
            source.go.set()
    found = await outcomes(callers)
    assert all(isinstance(one, int | asyncio.CancelledError) for one in found)
    assert not any(isinstance(found[turn], asyncio.CancelledError) for turn in range(0, CROWD, 3))
    await settled()
    assert len(cache._flights) == 0
    assert source.running == 0


class Key:
    """One that does something in the moment of its `left`-th look-up."""

    def __init__(self, do: Callable[[], None]) -> None:
        self.do, self.left = do, 0

    def __hash__(self) -> int:
        self.left -= 1
        if self.left == 0:
            self.do()
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key)


@pytest.mark.parametrize("moment", range(1, 12))
async def test_who_waits_does_not_hang_where_a_load_lands_in_the_moment_in_which_another_thread_forgets_it(
    moment: int,
) -> None:
    cache: AsyncCache = AsyncCache(60.0)
    key = Key(lambda: cache._flights.drop_keys([Key(lambda: None)]))

    async def load(key: Key) -> str:
        key.left = moment
        return "value"

    assert await outcomes([asyncio.create_task(cache.get(key, load)) for _ in range(2)]) == ["value"] * 2
    assert len(cache._flights) == 0


async def test_different_keys_do_not_wait_for_each_other() -> None:
    cache, source = AsyncCache(60.0), Source()
    slow = asyncio.create_task(cache.get("slow", source))
    await settled()
    assert await cache.get("quick", lambda key: "at once") == "at once"
    assert clock.monotonic() > 0
    source.go.set()
    assert await slow == 1


async def test_a_loader_that_asks_for_its_own_key_is_told_so_and_not_left_hanging() -> None:
    cache = AsyncCache(60.0)

    async def first(key: str) -> str:
        return await cache.get("second", second)

    async def second(key: str) -> str:
        return await cache.get("first", first)

    async def forced(key: str) -> str:
        return await cache.get("forced", forced, force_refresh=True)

    for key, load in (("first", first), ("forced", forced)):
        with pytest.raises(Misconfigured, match=f"What loads '{key}'"):
            await cache.get(key, load)
    assert len(cache._flights) == 0


async def test_loaders_that_ask_for_each_others_keys_are_told_so_whoever_began() -> None:
    caches = AsyncCache(60.0, load_timeout=None), AsyncCache(60.0, load_timeout=None)
    follows = {"a": "b", "b": "c", "c": "a"}

    async def load(key: str) -> Any:
        await settled()
        return await asyncio.gather(caches[follows[key] == "a"].get(follows[key], load))

    callers = [asyncio.create_task(caches[key == "a"].get(key, load)) for key in follows]
    found = await outcomes(callers)
    assert {type(one) for one in found} == {Misconfigured}
    assert re.fullmatch(
        r"What loads '\w' asks the same cache for it, by way of '\w', and would wait for itself: .*", str(found[0])
    )
    assert not any(len(cache._flights) for cache in caches)


async def test_loads_that_need_the_same_one_wait_for_it_together() -> None:
    cache, source = AsyncCache(60.0, load_timeout=None), Source()

    async def above(key: str) -> int:
        found = await asyncio.gather(*(cache.get(f"{key}{n}", beneath) for n in range(3)), cache.get("base", source))
        return sum(found)

    async def beneath(key: str) -> int:
        return await cache.get("base", source)

    callers = [asyncio.create_task(cache.get(key, above)) for key in ("a", "b", "a")]
    await settled()
    source.go.set()
    assert await outcomes(callers) == [4] * 3
    assert source.loads == 1


async def test_a_refresh_may_ask_for_what_it_was_begun_by(steered: Steered) -> None:
    cache, refreshed = AsyncCache(60.0, 10.0, jitter=0, load_timeout=None), list[str]()

    async def part(key: str) -> str:
        refreshed.append(await cache.get("whole", whole) if refreshed else "first")
        return key

    async def whole(key: str) -> str:
        found = await cache.get("part", part)
        await settled()
        return f"whole of {found}"

    await cache.get("part", part)
    await steered.move(51.0)
    assert await cache.get("whole", whole) == "whole of part"
    await settled()
    assert refreshed == ["first", "whole of part"]


async def test_a_loader_may_start_what_asks_for_its_key_later(steered: Steered) -> None:
    # Without a limit, which would be the deadline of that, too.
    cache, later = AsyncCache(60.0, jitter=0, load_timeout=None), list[asyncio.Task[str]]()
    go = asyncio.Event()

    async def load(key: str) -> str:
        later.append(asyncio.create_task(ask()))
        return key

    async def ask() -> str:
        await go.wait()
        return await cache.get("key", quick)

    async def quick(key: str) -> str:
        return "quick"

    await cache.get("key", load)
    await steered.move(60.0)
    go.set()
    assert await later[0] == "quick"
