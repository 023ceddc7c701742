"""What a cache is told to forget, it forgets, whatever is under way."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st
from tests.unit.aio.test_cache import Source, exact
from tests.unit.steered import Steered, settled

from uno import clock
from uno.aio import AsyncCache
from uno.bus import Bus, invalidates
from uno.errors import Misconfigured, Unavailable
from uno.messages import DomainEvent


class OrderShipped(DomainEvent):
    order_id: int


class OrdersImported(DomainEvent):
    number: int


@pytest.fixture
def source() -> Source:
    return Source()


async def test_keys_and_tags_can_be_invalidated(source: Source) -> None:
    cache = exact()
    await cache.get("a", source, tags=["x", "y"])
    await cache.get("b", source, tags=["y"])
    await cache.get("c", source, tags=lambda number: [f"n{number}"])
    await cache.invalidate("a", "unknown")
    assert [await cache.get(key, source) for key in "abc"] == [4, 2, 3]
    await cache.invalidate_tags("y", "unknown")
    assert [await cache.get(key, source) for key in "abc"] == [4, 5, 3]
    await cache.invalidate_tags("n3")
    assert [await cache.get(key, source) for key in "abc"] == [4, 5, 6]
    await cache.clear()
    assert [await cache.get(key, source) for key in "abc"] == [7, 8, 9]
    assert cache._store._by_tag == {}


@pytest.mark.parametrize("tags", [["x"], lambda value: ["x"]])
@pytest.mark.parametrize("how", ["key", "tag", "all"])
async def test_what_was_being_loaded_when_it_was_invalidated_is_not_kept(source: Source, how: str, tags: Any) -> None:
    cache = exact()
    source.go.clear()
    first = asyncio.create_task(cache.get("a", source, tags=tags))
    await settled()
    await {"key": lambda: cache.invalidate("a"), "tag": lambda: cache.invalidate_tags("x"), "all": cache.clear}[how]()
    second = asyncio.create_task(cache.get("a", source, tags=tags))
    await settled()
    assert source.loads == 2
    source.go.set()
    assert [await first, await second, await cache.get("a", source)] == [1, 2, 2]
    assert len(cache._flights) == 0


class Counted:
    """A key that is seen whenever somebody looks for it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.looked = 0

    def __hash__(self) -> int:
        self.looked += 1
        return hash(self.number)


async def test_to_invalidate_a_key_looks_at_no_other_that_is_being_loaded(source: Source) -> None:
    cache, keys = exact(), [Counted(number) for number in range(100)]
    source.go.clear()
    loads = [asyncio.create_task(cache.get(key, source)) for key in keys]
    await settled()
    before = [key.looked for key in keys]
    await cache.invalidate(keys[7])
    assert [key.number for key, looked in zip(keys, before, strict=True) if key.looked != looked] == [7]
    source.go.set()
    await asyncio.gather(*loads)
    assert len(cache) == 99


async def test_another_tag_leaves_a_load_alone(source: Source) -> None:
    cache = exact()
    source.go.clear()
    first = asyncio.create_task(cache.get("a", source, tags=["x"]))
    await settled()
    await cache.invalidate_tags("y")
    await cache.invalidate("b")
    source.go.set()
    assert [await first, await cache.get("a", source)] == [1, 1]


async def test_an_invalidated_value_does_not_stand_in(source: Source) -> None:
    cache = exact()
    await cache.get("a", source)
    source.go.clear()
    forced = asyncio.create_task(cache.get("a", source, force_refresh=True))
    await settled()
    await cache.invalidate("a")
    source.error = Unavailable("away")
    source.go.set()
    with pytest.raises(Unavailable):
        await forced


async def test_a_load_that_was_invalidated_and_fails_does_not_touch_what_came_after_it(source: Source) -> None:
    cache = exact()
    go = asyncio.Event()

    async def fails(key: str) -> int:
        await go.wait()
        raise Unavailable("away")

    first = asyncio.create_task(cache.get("a", fails))
    await settled()
    await cache.invalidate("a")
    assert await cache.get("a", source) == 1
    fresh = cache._entries["a"].fresh
    go.set()
    with pytest.raises(Unavailable):
        await first
    assert cache._entries["a"].fresh == fresh


async def test_events_invalidate_keys_and_tags(source: Source) -> None:
    cache = exact(name="orders")
    by_key = invalidates(OrderShipped, cache, keys=lambda event: [event.order_id])
    by_tag = invalidates(OrderShipped, cache, tags=lambda event: [f"order:{event.order_id}"], name="by tag")
    bus = Bus([by_key, by_tag, invalidates(OrdersImported, cache, name="all")])
    for key, tags in ((1, []), ("lines", ["order:1"]), (2, ["order:2"])):
        await cache.get(key, source, tags=tags)
    await bus.publish(OrderShipped(order_id=1))
    assert [await cache.get(key, source) for key in (1, "lines", 2)] == [4, 5, 3]
    await bus.publish(OrdersImported(number=9))
    assert len(cache) == 0


async def test_events_that_name_letters_instead_of_a_list_are_told_so(source: Source) -> None:
    subscriber = invalidates(OrderShipped, exact(), tags=lambda event: "order")
    with pytest.raises(Misconfigured, match=r"\['order'\]"):
        await subscriber(OrderShipped(order_id=1))
    with pytest.raises(Misconfigured, match=r"takes a class of events and then a cache, .* not AsyncCache.* first"):
        invalidates(AsyncCache(60), OrderShipped)  # type: ignore[arg-type,type-var]
    with pytest.raises(Misconfigured, match="takes a cache"):
        invalidates(OrderShipped, {})  # type: ignore[arg-type]


class Remote:
    """A cache of somebody else's that all processes share, and that has no name."""

    async def invalidate(self, *keys: Any) -> None: ...

    async def invalidate_tags(self, *tags: str) -> None: ...

    async def clear(self) -> None: ...


def test_a_worker_cannot_make_the_memory_of_another_process_forget() -> None:
    with pytest.raises(Misconfigured, match="in the memory of each process.*Leave durable out, or use a SharedCache"):
        invalidates(OrderShipped, exact(), durable=True)


def test_what_a_worker_makes_forget_has_a_name() -> None:
    with pytest.raises(Misconfigured, match="its cache has none: give it one as name="):
        invalidates(OrderShipped, Remote(), durable=True)
    Bus([invalidates(OrderShipped, Remote(), durable=True, name=name) for name in ("one", "other")])


@pytest.mark.parametrize("what", ["keys", "tags"])
def test_keys_and_tags_that_are_no_functions_of_the_event_are_refused_when_it_is_made(what: str) -> None:
    async def later(event: OrderShipped) -> list[int]:
        raise AssertionError

    for wrong in (["x"], later):
        with pytest.raises(Misconfigured, match=rf"{what} of invalidates\(OrderShipped, …\) is a function of the ev"):
            invalidates(OrderShipped, exact(), **{what: wrong})


STEPS = st.lists(
    st.tuples(st.sampled_from(["get", "force", "change", "tag", "clear", "time"]), st.integers(0, 3)), max_size=40
)


@given(steps=STEPS, size=st.integers(1, 4))
async def test_no_value_is_older_than_its_life_or_than_the_last_invalidation(
    steps: list[tuple[str, int]], size: int
) -> None:
    time, stored, changed = Steered(), dict.fromkeys(range(4), 0), dict.fromkeys(range(4), -1.0)

    async def load(key: int) -> tuple[int, float]:
        return stored[key], time.passed

    with clock.use(time):
        cache = exact(10.0, max_size=size)
        for what, key in steps:
            if what in ("get", "force"):
                value, loaded = await cache.get(key, load, what == "force", tags=[f"t{key}"])
                assert time.passed - loaded < 10
                assert loaded >= changed[key]
                assert value == stored[key] or changed[key] < 0
            elif what == "time":
                time.passed += key
            else:
                for one in range(4) if what == "clear" else [key]:
                    stored[one] += 1
                    changed[one] = time.passed
                await _invalidate(cache, what, key)
            assert len(cache) <= size
        assert len(cache._store._order) == len(cache)
        assert {key for keys in cache._store._by_tag.values() for key in keys} == set(cache._entries)


async def _invalidate(cache: AsyncCache, what: str, key: int) -> None:
    ways: dict[str, Callable[[], Any]] = {
        "change": lambda: cache.invalidate(key),
        "tag": lambda: cache.invalidate_tags(f"t{key}"),
        "clear": cache.clear,
    }
    await ways[what]()
