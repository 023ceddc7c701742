"""ServiceProvider: lifetimes, scopes, closing, ambient things, overrides."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from uno.di import (
    ServiceProvider,
    scoped,
    singleton,
    transient,
    value,
)
from uno.errors import Misconfigured


class Settings:
    def __init__(self, url: str = "sqlite:") -> None:
        self.url = url


@singleton
class Pool:
    def __init__(self, settings: Settings) -> None:
        self.url = settings.url


@scoped
class Session:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool


@scoped
class Orders:
    def __init__(self, session: Session) -> None:
        self.session = session


@transient
class Stamp: ...


@transient
class Letter:
    def __init__(self, session: Session, stamp: Stamp) -> None:
        self.session, self.stamp = session, stamp


def shop(*more: object) -> ServiceProvider:
    return ServiceProvider([Pool, Session, Orders, Stamp, Letter, value(Settings()), *more])


# ── lifetimes ──


async def test_a_singleton_is_one_object_everywhere() -> None:
    provider = shop()
    pool = await provider.get(Pool)
    async with provider.scope() as scope:
        assert await scope.get(Pool) is pool
        assert (await scope.get(Session)).pool is pool
    assert provider.get_sync(Pool) is pool


async def test_a_scoped_service_is_one_object_in_a_scope_and_another_in_another() -> None:
    provider = shop()
    async with provider.scope() as one, provider.scope() as two:
        assert (await one.get(Orders)).session is await one.get(Session)
        assert await one.get(Session) is not await two.get(Session)


async def test_a_transient_is_new_at_every_resolution() -> None:
    provider = shop()
    assert await provider.get(Stamp) is not await provider.get(Stamp)
    async with provider.scope() as scope:
        first, second = await scope.get(Letter), await scope.get(Letter)
        assert first is not second
        assert first.stamp is not second.stamp
        assert first.session is second.session


async def test_scopes_of_concurrent_tasks_do_not_mix() -> None:
    @scoped
    async def number(stamp: Stamp) -> int:
        await asyncio.sleep(0)
        return id(stamp)

    @scoped
    class Uses:
        def __init__(self, session: Session, number: int, letter: Letter) -> None:
            self.all = (session, number, letter.session)

    provider = shop(number, Uses)

    async def work() -> tuple[object, ...]:
        async with provider.scope() as scope:
            session, uses = await scope.get(Session), await scope.get(Uses)
            await asyncio.sleep(0)
            assert uses.all == (session, await scope.get(int), session)
            return uses.all

    done = await asyncio.gather(*(work() for _ in range(50)))
    assert len({id(session) for session, *_ in done}) == 50


async def test_two_tasks_in_one_scope_get_the_same_object_while_it_is_still_being_made() -> None:
    made: list[int] = []

    @scoped
    async def slow() -> str:
        await asyncio.sleep(0)
        made.append(1)
        return f"made {len(made)}"

    provider = ServiceProvider([slow])
    async with provider.scope() as scope:
        assert await asyncio.gather(scope.get(str), scope.get(str)) == ["made 1", "made 1"]


async def test_a_singleton_is_made_once_by_many_tasks_even_if_some_give_up() -> None:
    made: list[int] = []
    go = asyncio.Event()

    @singleton
    async def slow() -> str:
        await go.wait()
        made.append(1)
        return f"made {len(made)}"

    provider = ServiceProvider([slow])
    tasks = [asyncio.create_task(provider.get(str)) for _ in range(10)]
    await asyncio.sleep(0)
    for gives_up in tasks[3:6]:
        gives_up.cancel()
    go.set()
    got = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert [g for g in got if isinstance(g, str)] == ["made 1"] * 7


async def test_a_resolution_that_is_cancelled_leaves_its_turn_to_the_next() -> None:
    started = asyncio.Event()

    @scoped
    async def once_slow() -> str:
        if not started.is_set():
            started.set()
            await asyncio.Event().wait()
        return "made"

    provider = ServiceProvider([once_slow])
    async with provider.scope() as scope:
        first, second = asyncio.create_task(scope.get(str)), asyncio.create_task(scope.get(str))
        await asyncio.wait_for(started.wait(), 5)
        first.cancel()
        assert await asyncio.wait_for(second, 5) == "made"


async def test_a_factory_may_ask_the_provider_for_more() -> None:
    @singleton
    async def url() -> str:
        await asyncio.sleep(0)
        return (await provider.get(Pool)).url

    provider = shop(url)
    assert await asyncio.wait_for(provider.get(str), 5) == "sqlite:"


# ── asking for what cannot be had ──


async def test_a_scoped_service_outside_a_scope_names_the_scope() -> None:
    provider = shop()
    for ask in (provider.get_sync, provider.get):
        with pytest.raises(Misconfigured, match=r"Letter lives in a scope: `async with provider\.scope\(\)"):
            await ask(Letter)  # type: ignore[misc]


async def test_something_nobody_provides_is_named() -> None:
    provider = shop()
    async with provider.scope() as scope:
        for ask in (provider.get_sync, provider.get, scope.get):
            with pytest.raises(Misconfigured, match=r"missing provider: bytes\n   get needs it as `bytes` and nothing"):
                await ask(bytes)  # type: ignore[arg-type,misc]


async def test_get_sync_names_get_where_something_has_to_be_awaited() -> None:
    @singleton
    async def connect() -> str:
        return "connected"

    @singleton
    class Uses:
        def __init__(self, connection: str) -> None: ...

    provider = ServiceProvider([connect, Uses])
    with pytest.raises(Misconfigured, match=r"Uses cannot be made without awaiting: use `await provider\.get\(Uses\)`"):
        provider.get_sync(Uses)


def test_get_sync_works_without_an_event_loop() -> None:
    assert shop().get_sync(Pool).url == "sqlite:"


def test_a_scope_can_be_driven_without_an_event_loop() -> None:
    provider = shop()

    async def work() -> Session:
        async with provider.scope() as scope:
            return await scope.get(Session)

    with pytest.raises(StopIteration) as done:
        work().send(None)
    assert isinstance(done.value.value, Session)


async def test_a_provider_with_problems_resolves_nothing() -> None:
    provider = ServiceProvider([Pool, Stamp])
    with pytest.raises(Misconfigured, match="1 problem") as raised:
        await provider.get(Stamp)
    assert list(raised.value.problems) == provider.problems()


async def test_an_error_of_a_constructor_is_not_dressed_up() -> None:
    @singleton
    def broken() -> int:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        await ServiceProvider([broken]).get(int)


# ── closing ──


async def test_generators_are_closed_with_their_scope_last_first() -> None:
    log: list[str] = []

    @singleton
    async def first() -> AsyncIterator[int]:
        yield 1
        log.append("singleton")

    @scoped
    def second(first: int) -> Iterator[str]:
        yield "2"
        log.append("scoped")

    @transient
    async def third(second: str) -> AsyncIterator[bytes]:
        yield b"3"
        log.append("transient")

    async with ServiceProvider([first, second, third]) as provider:
        async with provider.scope() as scope:
            await scope.get(bytes)
            await scope.get(bytes)
            assert log == []
        assert log == ["transient", "transient", "scoped"]
    assert log == ["transient", "transient", "scoped", "singleton"]


async def test_an_exception_that_ends_the_scope_is_raised_at_the_yield() -> None:
    seen: list[object] = []

    @scoped
    async def one() -> AsyncIterator[int]:
        try:
            yield 1
        except KeyError as error:
            seen.append(error)
            raise

    @scoped
    def two() -> Iterator[str]:
        try:
            yield "2"
        except KeyError as error:
            seen.append(error)

    provider = ServiceProvider([one, two])
    error = KeyError("mine")

    async def fail() -> None:
        async with provider.scope() as scope:
            await scope.get(int), await scope.get(str)
            raise error

    with pytest.raises(KeyError) as raised:
        await fail()
    assert raised.value is error
    assert seen == [error, error]


async def test_a_generator_that_fails_to_close_is_heard_and_the_others_are_closed() -> None:
    log: list[str] = []

    @scoped
    async def first() -> AsyncIterator[int]:
        yield 1
        log.append("first")

    @scoped
    async def second(first: int) -> AsyncIterator[str]:
        yield "2"
        raise ZeroDivisionError("while closing")

    async def use() -> None:
        async with ServiceProvider([first, second]).scope() as scope:
            await scope.get(str)

    with pytest.raises(ExceptionGroup) as raised:
        await use()
    assert raised.group_contains(ZeroDivisionError, match="while closing")
    assert log == ["first"]


async def test_a_cancel_while_closing_leaves_nothing_open() -> None:
    log: list[str] = []
    closing = asyncio.Event()

    @scoped
    async def first() -> AsyncIterator[int]:
        yield 1
        log.append("first")

    @scoped
    async def second(first: int) -> AsyncIterator[str]:
        yield "2"
        closing.set()
        await asyncio.Event().wait()

    async def use() -> None:
        async with ServiceProvider([first, second]).scope() as scope:
            await scope.get(str)

    task = asyncio.create_task(use())
    await asyncio.wait_for(closing.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["first"]


async def test_a_cancelled_scope_is_closed() -> None:
    log: list[str] = []
    inside = asyncio.Event()

    @scoped
    async def opened() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    async def use() -> None:
        async with ServiceProvider([opened]).scope() as scope:
            await scope.get(int)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await asyncio.wait_for(inside.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["closed"]


async def test_a_generator_that_yields_twice_is_an_error() -> None:
    @singleton
    async def twice() -> AsyncIterator[int]:
        yield 1
        yield 2

    provider = ServiceProvider([twice])
    await provider.get(int)
    with pytest.raises(ExceptionGroup) as raised:
        await provider.close()
    assert raised.group_contains(RuntimeError, match=r"twice yielded more than once\.")


async def test_a_value_is_not_closed() -> None:
    class Closable:
        closed = False

        async def close(self) -> None:
            self.closed = True

    given = Closable()
    async with ServiceProvider([value(given)]) as provider:
        assert await provider.get(Closable) is given
    assert not given.closed


async def test_a_closed_provider_makes_new_singletons() -> None:
    provider = shop()
    before = await provider.get(Pool)
    await provider.close()
    await provider.close()
    assert await provider.get(Pool) is not before


# ── needs a scope, and ambient things ──


class Clock:
    def __init__(self, at: int) -> None:
        self.at = at


async def test_what_needs_a_scope_is_known_beforehand() -> None:
    @transient
    class Timed:
        def __init__(self, clock: Clock) -> None:
            self.clock = clock

    @transient
    def opened() -> Iterator[bytes]:
        yield b""

    provider = ServiceProvider(
        [Pool, Session, Orders, Stamp, Letter, Timed, opened, value(Settings())], ambient={Clock: lambda: Clock(1)}
    )
    needs = {
        t.__name__
        for t in (Pool, Session, Orders, Stamp, Letter, Timed, Clock, bytes, Settings, set)
        if provider.needs_scope(t)
    }
    assert needs == {"Session", "Orders", "Letter", "Timed", "Clock", "bytes"}


async def test_an_ambient_type_is_asked_for_at_every_resolution() -> None:
    now = 0

    @scoped
    class Uses:
        def __init__(self, clock: Clock) -> None:
            self.clock = clock

    def tick() -> Clock:
        nonlocal now
        now += 1
        return Clock(now)

    provider = ServiceProvider([Uses], ambient={Clock: tick})
    async with provider.scope() as scope:
        assert (await scope.get(Uses)).clock.at == 1
        assert (await scope.get(Clock)).at == 2
    assert (await provider.get(Clock)).at == 3
    assert provider.get_sync(Clock).at == 4
    assert provider.ambient_getter(Clock) is tick
    assert provider.ambient_getter(Uses) is None
    assert provider.ambient_getter(bytes) is None
