"""What a cache gives, for how long, and what it forgets."""

import asyncio
import threading
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest
from tests.unit.steered import Steered, settled

from uno import clock, context, ids, sync
from uno.aio import AsyncCache
from uno.errors import Forbidden, Misconfigured, NotFound, OutcomeUnknown, RateLimited, TimedOut, Unavailable
from uno.result import Failure
from uno.telemetry.signals import signal_counts


class Source:
    """Loads the number of the load, or raises what it is told to; waits where it is told to."""

    def __init__(self) -> None:
        self.loads = 0
        self.error: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, key: Any) -> Any:
        self.loads += 1
        found = self.loads
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return found


@pytest.fixture
def source() -> Source:
    return Source()


def exact(ttl: float = 10.0, *args: Any, **options: Any) -> AsyncCache:
    return AsyncCache(ttl, *args, **{"jitter": 0, **options})


async def test_a_value_is_given_again_until_it_expires(steered: Steered, source: Source) -> None:
    cache = exact(10.0)
    assert [await cache.get("a", source), await cache.get("a", source), await cache.get("b", source)] == [1, 1, 2]
    await steered.move(9.9)
    assert await cache.get("a", source) == 1
    await steered.move(0.1)
    assert await cache.get("a", source) == 3
    assert len(cache) == 2


async def test_it_takes_what_the_seed_shows(source: Source) -> None:
    cache = AsyncCache(ttl=60.0, refresh_before_expiry=10.0)
    assert await cache.get(key=("a", 1), fetch_func=lambda k: source(k)) == 1
    assert await cache.get(key=("b", 1), fetch_func=lambda k: f"{k}") == "('b', 1)"


async def test_a_forced_refresh_loads_anew(source: Source) -> None:
    cache = exact()
    assert [await cache.get("a", source, force_refresh=force) for force in (False, True, False)] == [1, 2, 2]


async def test_each_value_lives_a_random_part_shorter(steered: Steered) -> None:
    cache = AsyncCache(10.0, jitter=0.5)

    async def load(key: int) -> int:
        return key

    for key in range(200):
        await cache.get(key, load)
    await steered.move(7.5)
    left = [key for key in range(200) if cache._entries[key].expires > clock.monotonic()]
    assert 50 < len(left) < 150
    assert all(5 <= cache._entries[key].expires - 1000 <= 10 for key in range(200))


async def test_shortly_before_its_end_a_value_is_loaded_anew_while_everybody_gets_it(
    steered: Steered,
    source: Source,
) -> None:
    cache = exact(10.0, 2.0)
    await cache.get("a", source)
    await steered.move(8.0)
    source.go.clear()
    assert [await cache.get("a", source) for _ in range(5)] == [1] * 5
    await settled()
    assert source.loads == 2
    source.go.set()
    await settled()
    assert await cache.get("a", source) == 2
    await steered.move(7.9)
    assert await cache.get("a", source) == 2
    assert source.loads == 2


async def test_who_finds_it_expired_while_it_is_refreshed_waits_for_that(
    steered: Steered,
    source: Source,
) -> None:
    cache = exact(10.0, 2.0)
    await cache.get("a", source)
    await steered.move(9.0)
    source.go.clear()
    await cache.get("a", source)
    await steered.move(2.0)
    waiting = asyncio.create_task(cache.get("a", source))
    await settled()
    source.go.set()
    assert await waiting == 2


@pytest.mark.parametrize(
    "error", [Unavailable("away"), TimedOut("late"), RateLimited(), OSError("reset"), ZeroDivisionError()]
)
async def test_an_old_value_stands_in_while_loading_fails(
    steered: Steered,
    source: Source,
    error: Exception,
) -> None:
    cache = exact(10.0, stale_for=5.0)
    before = signal_counts().get("cache.stale", 0)
    await cache.get("a", source)
    source.error = error
    await steered.move(12.0)
    assert await cache.get("a", source) == 1
    # For a moment nobody asks again.
    assert [await cache.get("a", source), source.loads] == [1, 2]
    assert signal_counts()["cache.stale"] == before + 1
    await steered.move(1.0)
    assert [await cache.get("a", source), source.loads] == [1, 3]
    await steered.move(2.0)
    with pytest.raises(type(error)):
        await cache.get("a", source)
    source.error = None
    assert await cache.get("a", source) == 5


async def test_a_forced_refresh_that_fails_gives_the_old_value(source: Source) -> None:
    cache = exact()
    await cache.get("a", source)
    source.error = Unavailable("away")
    assert await cache.get("a", source, force_refresh=True) == 1


async def test_stale_values_can_be_refused(steered: Steered, source: Source) -> None:
    cache = exact(10.0, stale_for=0)
    await cache.get("a", source)
    source.error = Unavailable("away")
    await steered.move(10.0)
    with pytest.raises(Unavailable):
        await cache.get("a", source)


@pytest.mark.parametrize("error", [NotFound("order", 1), Forbidden("not yours")])
async def test_an_answer_is_no_reason_for_an_old_value(
    steered: Steered,
    source: Source,
    error: Exception,
) -> None:
    cache = exact()
    await cache.get("a", source)
    source.error = error
    await steered.move(10.0)
    with pytest.raises(type(error)):
        await cache.get("a", source)


async def test_what_is_gone_is_forgotten(source: Source) -> None:
    cache = exact()
    await cache.get("a", source)
    source.error = NotFound("order", "a")
    with pytest.raises(NotFound):
        await cache.get("a", source, force_refresh=True)
    source.error = Unavailable("away")
    with pytest.raises(Unavailable):
        await cache.get("a", source)


async def test_errors_are_not_remembered(source: Source) -> None:
    cache = exact()
    source.error = NotFound("order", "a")
    for loads in (1, 2):
        with pytest.raises(NotFound):
            await cache.get("a", source)
        assert source.loads == loads


async def test_that_there_is_nothing_is_remembered_where_that_is_wanted(
    steered: Steered,
    source: Source,
) -> None:
    cache = exact(10.0, 2.0, negative_ttl=1.0)
    source.error = NotFound("order", "a")
    for _ in range(3):
        with pytest.raises(NotFound) as raised:
            await cache.get("a", source)
        assert (raised.value.kind, raised.value.id) == ("order", "a")
        assert raised.value is not source.error or source.loads == 1
    assert source.loads == 1
    await steered.move(1.0)
    source.error = None
    assert await cache.get("a", source) == 2

    async def nothing(key: str) -> None:
        source.loads += 1

    for seconds, loads in ((0.0, 3), (0.9, 3), (0.1, 4)):
        await steered.move(seconds)
        assert await cache.get("b", nothing) is None
        assert source.loads == loads


async def test_a_negative_entry_never_stands_in(steered: Steered, source: Source) -> None:
    cache = exact(negative_ttl=1.0)
    source.error = NotFound("order", "a")
    with pytest.raises(NotFound):
        await cache.get("a", source)
    await steered.move(1.0)
    source.error = Unavailable("away")
    with pytest.raises(Unavailable):
        await cache.get("a", source)


async def test_a_failure_is_given_back_and_not_kept(steered: Steered) -> None:
    found: list[Any] = [Failure(Unavailable("away")), 1, Failure(Unavailable("away")), Failure(NotFound("order", 1))]

    async def load(key: str) -> Any:
        return found.pop(0)

    cache = exact()
    assert isinstance(await cache.get("a", load), Failure)
    assert await cache.get("a", load) == 1
    await steered.move(10.0)
    assert await cache.get("a", load) == 1
    assert isinstance((await cache.get("a", load, force_refresh=True)).error, NotFound)
    assert not found
    assert len(cache) == 0


async def test_it_holds_no_more_than_it_may_and_keeps_what_is_used() -> None:
    loaded: list[int] = []

    async def load(key: int) -> int:
        loaded.append(key)
        return key

    cache = exact(max_size=3)
    for key in (1, 2, 3, 1, 4, 1, 5, 1):
        await cache.get(key, load)
    assert loaded == [1, 2, 3, 4, 5]
    assert len(cache) == 3
    for key in range(100):
        await cache.get(key, load, tags=["all"])
    assert len(cache) == 3
    assert len(cache._store._by_tag["all"]) == 3


async def test_a_load_is_outside_the_unit_of_work_and_the_deadline_of_who_asks() -> None:
    seen: list[Any] = []
    unit: ContextVar[str | None] = context.left_behind(ContextVar("test", default=None), None)

    async def load(key: str) -> str:
        current = context.get()
        assert current is not None
        seen.append((unit.get(), current.tenant, current.deadline))
        return key

    cache = exact()
    token = unit.set("of the message")
    with context.use(context.Context(tenant="acme", deadline=clock.monotonic() + 5)):
        await cache.get("a", load)
    unit.reset(token)
    context._left_behind.pop()
    assert seen == [(None, "acme", None)]


async def test_a_load_that_does_not_end_is_ended(source: Source) -> None:
    source.go.clear()
    cache = AsyncCache(10.0, load_timeout=0.001, name="prices")
    with pytest.raises(TimedOut) as late:
        await cache.get("fig", source)
    assert str(late.value) == "The cache 'prices' has not loaded a value within 0.001 s (load_timeout)."
    # The log has the key; clients do not see it.
    assert late.value.__notes__ == ["while loading 'fig' for the cache 'prices'"]
    source.go.set()
    assert await cache.get("a", source) == 2
    assert await AsyncCache(10.0, load_timeout=None).get("a", source) == 3


async def test_closing_cancels_what_is_loaded_and_who_waits_hears_of_it(source: Source) -> None:
    source.go.clear()
    async with AsyncCache(10.0, name="orders") as cache:
        await cache.get("b", lambda key: key)
        waiting = [asyncio.create_task(cache.get("a", source)) for _ in range(2)]
        await settled()
        assert "loading=1" in repr(cache)
    for one in waiting:
        with pytest.raises(Unavailable, match="orders was cancelled"):
            await one
    assert (len(cache), len(cache._flights)) == (0, 0)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "load orders"]


async def test_a_load_that_is_cancelled_before_its_first_step_leaves_nobody_waiting(source: Source) -> None:
    cache = exact()
    waiting = asyncio.create_task(cache.get("a", source))
    await asyncio.sleep(0)
    flight = cache._flights.of("a")
    assert flight is not None
    assert flight.task is not None
    flight.task.cancel()
    with pytest.raises(Unavailable):
        await waiting
    assert source.loads == 0


def test_one_cache_serves_several_loops_one_after_another_and_at_once(source: Source) -> None:
    cache = exact()
    assert [asyncio.run(cache.get("a", source)) for _ in range(2)] == [1, 1]
    both = threading.Barrier(2)

    async def meet(key: str) -> str:
        await asyncio.to_thread(both.wait)
        return key

    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(cache.get("b", meet)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["b", "b"]


def test_it_works_in_a_drive_without_a_loop() -> None:
    cache = exact()
    loads: list[str] = []

    async def load(key: str) -> str:
        loads.append(key)
        if key == "x":
            await cache.invalidate("x")
        return key

    assert [sync.drive(cache.get("a", load)) for _ in range(2)] == ["a", "a"]
    assert sync.drive(cache.get("a", load, force_refresh=True)) == "a"
    assert [sync.drive(cache.get("x", load)) for _ in range(2)] == ["x", "x"]
    assert loads == ["a", "a", "x", "x"]
    with pytest.raises(ZeroDivisionError):
        sync.drive(cache.get("b", lambda key: 1 // 0))


async def test_what_is_no_loader_is_named() -> None:
    async def load(key: str) -> str:
        return key

    cache = exact()
    with pytest.raises(Misconfigured, match="not its call"):
        await cache.get("a", load("a"))  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="async function of the key"):
        await cache.get("a", "value")  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match=r"tags=\['x'\]"):
        await cache.get("a", load, tags="x")
    with pytest.raises(Misconfigured, match=r"tags=\['x'\]"):
        await cache.get("a", load, tags=lambda value: "x")


@pytest.mark.parametrize("limit", [30.0, None])
async def test_a_loader_that_does_not_take_the_key_is_named_and_its_own_errors_stay(limit: float | None) -> None:
    async def load(key: str) -> str:
        raise TypeError("of its own")

    async def other(key: str, more: str) -> str:
        return key

    cache = exact(load_timeout=limit)
    with pytest.raises(Misconfigured, match=r"<lambda> with the key, which it does not take; write `lambda key: …`"):
        await cache.get("a", lambda: load("a"))  # type: ignore[arg-type,misc]
    with pytest.raises(Misconfigured, match="other with the key"):
        await cache.get("a", other)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="of its own"):
        await cache.get("a", load)
    with pytest.raises(TypeError, match="len"):
        await cache.get(7, len)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ttl": 0}, "ttl"),
        ({"ttl": "60"}, "ttl"),
        ({"ttl": float("nan")}, "ttl"),
        ({"refresh_before_expiry": 10}, "refresh_before_expiry"),
        ({"refresh_before_expiry": 0}, "refresh_before_expiry"),
        ({"jitter": 1}, "jitter"),
        ({"jitter": True}, "jitter"),
        ({"stale_for": -1}, "stale_for"),
        ({"negative_ttl": 0}, "negative_ttl"),
        ({"max_size": 0}, "max_size"),
        ({"max_size": 2.5}, "max_size"),
        ({"load_timeout": 0}, "Timeout"),
    ],
)
def test_what_a_cache_cannot_be_made_of_is_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        AsyncCache(**{"ttl": 10, **wrong})


async def test_chance_comes_from_where_tests_can_set_it() -> None:
    import random

    async def load(key: int) -> int:
        return key

    lives = []
    for _ in range(2):
        with ids.use(random.Random(7)), clock.use(Steered()):
            cache = AsyncCache(10.0)
            await cache.get(1, load)
            lives.append(cache._entries[1].expires)
    assert lives[0] == lives[1]


async def test_who_closes_it_does_not_wait_for_a_loader_that_does_not_hear_its_cancellation() -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def deaf(key: str) -> str:
        begun.set()
        while not end.is_set():
            with suppress(asyncio.CancelledError):
                await end.wait()
        return key

    cache = AsyncCache(60.0)
    caller = asyncio.create_task(cache.get("a", deaf))
    await begun.wait()
    async with asyncio.timeout(30):
        await cache.aclose()
        with pytest.raises(OutcomeUnknown, match=r"cancelled and does not end; it waits at .*test_cache.py:\d+ in "):
            await caller
    end.set()
    await asyncio.sleep(0.01)
    assert len(cache) == 0
