"""Overrides for tests, and the provider of the running application."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import pytest

from uno.di import (
    ServiceProvider,
    get_service_provider,
    scoped,
    set_service_provider,
    singleton,
    use_service_provider,
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


class Clock:
    def __init__(self, at: int) -> None:
        self.at = at


def shop(*more: object) -> ServiceProvider:
    return ServiceProvider([Pool, Session, Orders, value(Settings()), *more])


class Mailer(Protocol):
    def send(self) -> str: ...


@singleton(provides=Mailer)
class Smtp:
    def send(self) -> str:
        return "sent"


@singleton
class Newsletter:
    def __init__(self, mailer: Mailer, pool: Pool) -> None:
        self.mailer, self.pool = mailer, pool


class FakeMailer:
    def send(self) -> str:
        return "kept"


async def test_overrides_given_at_the_start_replace_providers_with_their_needs() -> None:
    @singleton(provides=Mailer)
    class NeedsMissing:
        def __init__(self, nothing: bytes) -> None: ...

    fake = FakeMailer()
    provider = shop(NeedsMissing, Newsletter)
    assert [p.kind for p in provider.problems()] == ["missing provider"]
    provider = ServiceProvider([Pool, NeedsMissing, Newsletter], overrides={Mailer: fake, Settings: Settings("x")})
    newsletter = await provider.get(Newsletter)
    assert newsletter.mailer is fake
    assert newsletter.pool.url == "x"


async def test_an_override_reaches_singletons_that_exist_already_and_is_taken_back() -> None:
    provider, fake = shop(Smtp, Newsletter), FakeMailer()
    before = await provider.get(Newsletter)
    with provider.override(Mailer, fake):
        inside = await provider.get(Newsletter)
        assert inside.mailer is fake
        assert inside.pool is before.pool
        assert await provider.get(Newsletter) is inside
        assert provider.get_sync(Mailer) is fake
    assert await provider.get(Newsletter) is before
    assert (await provider.get(Mailer)).send() == "sent"


async def test_an_override_reaches_scoped_services_of_new_scopes() -> None:
    provider, settings = shop(), Settings("memory")
    async with provider.scope() as running:
        with provider.override(Settings, settings):
            async with provider.scope() as scope:
                assert (await scope.get(Orders)).session.pool.url == "memory"
            assert (await running.get(Orders)).session.pool.url == "sqlite:"


async def test_overrides_nest_and_are_taken_back_after_an_error() -> None:
    provider = shop(Smtp)
    with provider.override(Settings, Settings("one")):
        with pytest.raises(ZeroDivisionError), provider.override(Mailer, FakeMailer()):
            assert (await provider.get(Pool)).url == "one"
            raise ZeroDivisionError
        assert (await provider.get(Mailer)).send() == "sent"
        assert (await provider.get(Pool)).url == "one"
    assert (await provider.get(Pool)).url == "sqlite:"


async def test_an_override_can_provide_what_was_missing() -> None:
    provider = ServiceProvider([Pool])
    with provider.override(Settings, Settings("late")):
        assert provider.problems() == []
        assert (await provider.get(Pool)).url == "late"
    assert [p.kind for p in provider.problems()] == ["missing provider"]


async def test_an_override_replaces_an_ambient_type() -> None:
    provider = ServiceProvider([], ambient={Clock: lambda: Clock(1)})
    fixed = Clock(9)
    with provider.override(Clock, fixed):
        assert provider.ambient_getter(Clock) is None
        assert await provider.get(Clock) is fixed
    assert (await provider.get(Clock)).at == 1


async def test_awaited_singletons_are_kept_by_an_override_and_closed_once() -> None:
    log: list[str] = []

    @singleton
    async def connection() -> AsyncIterator[bytes]:
        log.append("opened")
        yield b"connection"
        log.append("closed")

    @singleton
    def mailbox(connection: bytes, settings: Settings) -> Iterator[str]:
        log.append("mailbox opened")
        yield settings.url
        log.append("mailbox closed")

    async with shop(connection, mailbox) as provider:
        assert await provider.get(str) == "sqlite:"
        with provider.override(Settings, Settings("memory")):
            assert await provider.get(str) == "memory"
    opened, closed = ["opened", "mailbox opened", "mailbox opened"], ["mailbox closed", "mailbox closed", "closed"]
    assert log == opened + closed


# ── the current provider ──


def test_without_a_current_provider_the_error_says_how() -> None:
    with pytest.raises(Misconfigured, match=r"There is no service provider: .* `with use_service_provider\("):
        get_service_provider()


async def test_the_current_provider_is_seen_by_threads_and_restored() -> None:
    outer, inner = shop(), shop()
    with use_service_provider(outer):
        with use_service_provider(inner) as used:
            assert used is inner
            assert await asyncio.to_thread(get_service_provider) is inner
        assert get_service_provider() is outer
    with pytest.raises(Misconfigured):
        get_service_provider()


def test_applications_that_overlap_each_take_back_their_own() -> None:
    first, second = use_service_provider(shop()), use_service_provider(shop())
    first.__enter__()
    running = second.__enter__()
    first.__exit__(None, None, None)
    assert get_service_provider() is running
    second.__exit__(None, None, None)
    with pytest.raises(Misconfigured):
        get_service_provider()


def test_a_provider_can_be_set_and_forgotten() -> None:
    provider = shop()
    set_service_provider(provider)
    assert get_service_provider() is provider
    set_service_provider(None)
    with pytest.raises(Misconfigured):
        get_service_provider()
