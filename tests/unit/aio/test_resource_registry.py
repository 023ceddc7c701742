"""What is kept open: in which order it starts and closes, what is shared by name, and what goes wrong."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from uno import clock
from uno.aio import (
    ConnectionPool,
    RegistryClosed,
    ResourceExists,
    ResourceRegistry,
    get_resource_registry,
    managed_resource,
)
from uno.aio.order import in_order
from uno.errors import Misconfigured, TimedOut, Unavailable
from uno.resilience import CircuitBreaker


class Part:
    """Writes down when it starts and closes."""

    def __init__(self, name: str, story: list[str]) -> None:
        self.name = name
        self.story = story

    async def start(self) -> None:
        self.story.append(f"+{self.name}")

    async def close(self) -> None:
        self.story.append(f"-{self.name}")


@pytest.fixture
def story() -> list[str]:
    return []


@pytest.fixture
def part(story: list[str]) -> Callable[[str], Part]:
    return lambda name: Part(name, story)


# ── order ──


async def test_a_resource_starts_after_those_it_depends_on_and_closes_before_them(
    story: list[str], part: Callable[[str], Part]
) -> None:
    registry = ResourceRegistry()
    await registry.register("mailer", part("mailer"), depends_on=["queue", "database"])
    await registry.register("queue", part("queue"), depends_on="database")
    await registry.register("database", part("database"))
    await registry.start()
    await registry.close()
    assert story == ["+database", "+queue", "+mailer", "-mailer", "-queue", "-database"]


async def test_what_is_registered_in_a_running_registry_starts_at_once(
    story: list[str], part: Callable[[str], Part]
) -> None:
    registry = ResourceRegistry()
    await registry.start()
    assert (await registry.register("cache", part("cache"))).name == "cache"
    assert story == ["+cache"]
    await registry.unregister("cache")
    assert story == ["+cache", "-cache"]
    assert "cache" not in registry


async def test_two_that_depend_on_each_other_are_drawn(part: Callable[[str], Part]) -> None:
    registry = ResourceRegistry()
    await registry.register("a", part("a"), depends_on=["b"])
    with pytest.raises(Misconfigured, match="a → b → a") as caught:
        await registry.register("b", part("b"), depends_on=["a"])
    assert caught.value.problems[0].path == ("a", "b", "a")
    assert "b" not in registry


async def test_one_that_depends_on_itself_is_drawn(part: Callable[[str], Part]) -> None:
    with pytest.raises(Misconfigured, match="a → a"):
        await ResourceRegistry().register("a", part("a"), depends_on="a")


async def test_a_dependency_that_nobody_has_registered_is_named(part: Callable[[str], Part]) -> None:
    registry = ResourceRegistry()
    await registry.register("mailer", part("mailer"), depends_on=["broker"])
    with pytest.raises(Misconfigured, match=r"'mailer' depends on 'broker', which nobody has registered"):
        await registry.start()


@given(st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 12), max_size=4), max_size=13))
def test_every_order_has_each_after_those_it_needs_or_a_ring_is_drawn(wanted: dict[int, list[int]]) -> None:
    needs = {str(name): tuple(map(str, others)) for name, others in wanted.items()}
    try:
        order = in_order(needs)
    except Misconfigured as error:
        path = error.problems[0].path
        assert path[0] == path[-1]
        assert all(after in needs[before] for before, after in pairwise(path))
        return
    assert sorted(order) == sorted(needs)
    place = {name: n for n, name in enumerate(order)}
    assert all(place[other] < place[name] for name in needs for other in needs[name] if other in needs)


# ── what fails ──


async def test_where_one_does_not_start_those_that_did_are_closed_again(
    story: list[str], part: Callable[[str], Part]
) -> None:
    async def refuse() -> None:
        raise ConnectionRefusedError("nobody there")

    registry = ResourceRegistry()
    await registry.register("database", part("database"))
    await registry.register("broker", object(), depends_on="database", start=refuse)
    with pytest.raises(Unavailable, match="'broker' could not start: ConnectionRefusedError: nobody there") as caught:
        await registry.start()
    assert story == ["+database", "-database"]
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_one_whose_close_hangs_is_told_with_its_line_and_the_others_close(
    story: list[str], part: Callable[[str], Part]
) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    registry = ResourceRegistry()
    await registry.register("first", part("first"))
    await registry.register("hanging", object(), close=hang, close_timeout=0.01)
    await registry.register("last", part("last"))
    await registry.start()
    with pytest.raises(TimedOut) as caught:
        async with asyncio.timeout(5):
            await registry.close()
    text = str(caught.value)
    assert text.startswith("Closing the resource 'hanging' took longer than 0.01 s; it waits at ")
    assert "hang; " in text
    assert "register(close_timeout=...)" in text
    assert story == ["+first", "+last", "-last", "-first"]


async def test_one_that_does_not_even_end_when_it_is_cancelled_is_left_behind() -> None:
    release = asyncio.Event()

    async def deaf() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    registry = ResourceRegistry(close_timeout=0.01)
    await registry.register("deaf", object(), close=deaf)
    with pytest.raises(TimedOut, match="left behind"):
        async with asyncio.timeout(5):
            await registry.close()
    release.set()
    await asyncio.sleep(0)


async def test_several_errors_of_closing_come_together(part: Callable[[str], Part]) -> None:
    async def fail(name: str) -> None:
        raise OSError(name)

    registry = ResourceRegistry()
    for name in ("one", "two"):
        await registry.register(name, object(), close=lambda name=name: fail(name))
    with pytest.raises(ExceptionGroup, match="2 resources were not closed properly") as caught:
        await registry.close()
    assert [str(error) for error in caught.value.exceptions] == ["two", "one"]
    assert caught.value.exceptions[0].__notes__ == ["while closing the resource 'two'"]


async def test_all_together_close_until_a_moment() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    registry = ResourceRegistry()
    for n in range(5):
        await registry.register(f"r{n}", object(), close=hang)
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(5):
            await registry.close(until=clock.monotonic())
    assert all("took longer than 0 s" in str(error) for error in caught.value.exceptions)


async def test_who_is_cancelled_while_it_closes_waits_for_the_end(
    story: list[str], part: Callable[[str], Part]
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        reached.set()
        await go_on.wait()
        story.append("-slow")

    registry = ResourceRegistry()
    await registry.register("first", part("first"))
    await registry.register("slow", object(), close=slow)
    await registry.start()
    closing = asyncio.create_task(registry.close())
    await reached.wait()
    closing.cancel()
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.sleep(0)
    assert not closing.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert story == ["+first", "-slow", "-first"]


async def test_two_who_close_it_at_once_close_it_once(story: list[str], part: Callable[[str], Part]) -> None:
    registry = ResourceRegistry()
    await registry.register("cache", part("cache"))
    await registry.start()
    await asyncio.gather(registry.close(), registry.close())
    await registry.close()
    assert story == ["+cache", "-cache"]


async def test_who_is_cancelled_while_one_starts_leaves_nothing_behind() -> None:
    reached = asyncio.Event()
    ended = False

    async def slow() -> None:
        nonlocal ended
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended = True

    registry = ResourceRegistry()
    await registry.start()
    adding = asyncio.create_task(registry.register("slow", object(), start=slow))
    await reached.wait()
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert ended
    assert len(registry) == 0


# ── misuse ──


async def test_a_name_is_one_resource() -> None:
    registry = ResourceRegistry()
    cache = object()
    await registry.register("cache", cache)
    assert await registry.register("cache", cache) is cache
    with pytest.raises(ResourceExists, match=r"'cache' is the name of another resource, a object"):
        await registry.register("cache", object())
    assert issubclass(ResourceExists, ValueError)


async def test_a_resource_without_a_name_is_refused() -> None:
    wrong: Any = object()
    with pytest.raises(Misconfigured, match="A resource has a name, which comes first"):
        await ResourceRegistry().register(wrong, "cache")


async def test_a_call_instead_of_a_function_is_refused() -> None:
    async def close() -> None: ...

    called: Any = close()
    with pytest.raises(Misconfigured, match="close of the resource 'cache' is a function without arguments"):
        await ResourceRegistry().register("cache", object(), close=called)


async def test_a_start_that_is_not_async_is_only_called_where_it_is_meant(story: list[str]) -> None:
    class Old:
        def start(self) -> None:
            story.append("+old")

        def close(self) -> None:
            story.append("-old")

    registry, old = ResourceRegistry(), Old()
    await registry.start()
    with pytest.raises(Misconfigured, match=r"The start\(\) of the resource 'old', a Old, is not async"):
        await registry.register("old", old)
    assert len(registry) == 0
    await registry.register("meant", old, start=old.start)
    await registry.register("running already", Old(), start=lambda: None)
    await registry.register("somebody else's", Old(), owned=False)
    await registry.close()
    assert story == ["+old", "-old", "-old"]


async def test_a_closed_registry_takes_nothing_that_would_stay_open() -> None:
    registry = ResourceRegistry()
    await registry.close()
    with pytest.raises(RegistryClosed, match="The resources are closed, so 'cache' would stay open for ever"):
        await registry.register("cache", object())
    assert issubclass(RegistryClosed, RuntimeError)
    with pytest.raises(Misconfigured, match="The resources are closed"):
        registry.pool("broker", object, print)


async def test_an_unknown_name_is_told_with_those_there_are(part: Callable[[str], Part]) -> None:
    registry = ResourceRegistry()
    with pytest.raises(Misconfigured, match="There is no resource called 'cache'; there is none yet"):
        registry.get("cache")
    await registry.register("broker", part("broker"))
    with pytest.raises(Misconfigured, match="there is broker"):
        await registry.unregister("cache")


async def test_what_others_depend_on_is_not_taken_away_or_after_them(
    story: list[str], part: Callable[[str], Part]
) -> None:
    registry = ResourceRegistry()
    await registry.start()
    for name, needs in ("database", ()), ("cache", "database"), ("page", ("cache", "database")), ("other", ()):
        await registry.register(name, part(name), depends_on=needs)
    with pytest.raises(Misconfigured, match="cache, page depends on the resource 'database'"):
        await registry.unregister("database")
    story.clear()
    await registry.unregister("database", dependents=True)
    assert story == ["-page", "-cache", "-database"]
    assert list(registry.get_all_resources()) == ["other"]
    await registry.close()


# ── one of each name ──


async def test_a_breaker_is_made_once_and_shared() -> None:
    registry = ResourceRegistry()
    made = registry.breaker("payments", failure_threshold=3)
    assert registry.breaker("payments") is made
    assert registry.breaker("payments", failure_threshold=3) is made
    assert made.failure_threshold == 3


async def test_other_settings_for_the_same_name_are_an_error() -> None:
    registry = ResourceRegistry()
    registry.breaker("payments", failure_threshold=3)
    with pytest.raises(Misconfigured, match=r"'payments' has failure_threshold=3, and is asked for with 5 here"):
        registry.breaker("payments", failure_threshold=5)
    registry.limiter("api", rate=5)
    with pytest.raises(Misconfigured, match=r"The RateLimiter 'api' has rate=5.0, and is asked for with 6"):
        registry.limiter("api", rate=6)
    registry.bulkhead("files", max_concurrent=2)
    with pytest.raises(Misconfigured, match="max_concurrent=2"):
        registry.bulkhead("files", max_concurrent=3)
    with pytest.raises(Misconfigured, match="A Bulkhead has no setting 'size'"):
        registry.bulkhead("files", size=3)


async def test_a_name_is_that_of_one_kind() -> None:
    registry = ResourceRegistry()
    registry.breaker("payments")
    with pytest.raises(Misconfigured, match="'payments' is the name of another resource, a CircuitBreaker"):
        registry.limiter("payments")


async def test_a_breaker_that_was_registered_is_found_by_its_name() -> None:
    registry = ResourceRegistry()
    own = await registry.register("payments", CircuitBreaker("payments", failure_threshold=2))
    assert registry.breaker("payments", failure_threshold=2) is own


async def test_a_pool_is_shared_where_its_functions_are_the_same() -> None:
    registry = ResourceRegistry()

    def asked(host: str) -> ConnectionPool[Any]:
        return registry.pool("broker", lambda: host, print, max_size=3)

    assert asked("a") is asked("a")
    assert registry.pool("broker") is asked("a")
    with pytest.raises(Misconfigured, match="'broker' has factory=.*asked.*<lambda>"):
        asked("b")


async def test_breakers_outlive_a_stop_and_pools_do_not() -> None:
    registry = ResourceRegistry()
    breaker, pool = registry.breaker("payments"), registry.pool("broker", object, print)
    await registry.start()
    await registry.close()
    assert pool.is_closed
    await registry.start()
    assert registry.breaker("payments") is breaker
    assert "broker" not in registry


# ── looking ──


async def test_figures_are_those_of_each_resource() -> None:
    registry = ResourceRegistry()
    registry.breaker("payments")
    await registry.register("clock", object())
    await registry.register("disk", object(), metrics=lambda: {"free": 3})
    assert registry.get_metrics() == {
        "payments": {"type": "CircuitBreaker", "state": "closed", "failure_threshold": 5},
        "clock": {"type": "object"},
        "disk": {"type": "object", "free": 3},
    }


async def test_what_is_not_owned_is_neither_started_nor_closed(story: list[str], part: Callable[[str], Part]) -> None:
    registry = ResourceRegistry()
    await registry.register("database", part("database"), owned=False)
    await registry.start()
    await registry.close()
    assert story == []


async def test_one_that_starts_while_everything_closes_is_closed_too(story: list[str]) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Part):
        async def start(self) -> None:
            reached.set()
            await go_on.wait()
            await super().start()

    registry = ResourceRegistry()
    await registry.start()
    adding = asyncio.create_task(registry.register("slow", Slow("slow", story)))
    await reached.wait()
    await registry.close()
    go_on.set()
    with pytest.raises(Misconfigured, match="The resources are closed"):
        await adding
    assert story == ["+slow", "-slow"]


async def test_for_a_block_a_closed_registry_is_good_enough(story: list[str], part: Callable[[str], Part]) -> None:
    registry = ResourceRegistry()
    await registry.close()
    async with managed_resource(part("cache"), "cache", registry=registry):
        assert "cache" in registry
    assert story == ["+cache", "-cache"]


async def test_a_managed_resource_is_closed_and_forgotten_after_its_block(
    story: list[str], part: Callable[[str], Part]
) -> None:
    async with managed_resource(part("cache"), "cache") as cache:
        assert get_resource_registry().get("cache") is cache
    assert "cache" not in get_resource_registry()
    assert story == ["+cache", "-cache"]
