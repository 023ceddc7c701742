"""Messages and the unit of work around them: a `Failure` rolls back, a nested message joins."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import ClassVar

import pytest
from sqlalchemy import MetaData, String, select
from sqlalchemy.orm import Mapped, mapped_column

from uno.app import App
from uno.audit import AuditTrail
from uno.bus import Bus, command_handler, event_handler, query_handler
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot
from uno.errors import Conflict, Invalid, Misconfigured
from uno.messages import Command, DomainEvent, Query
from uno.modules import Module
from uno.result import Failure, Result, Success

Fresh = Callable[..., Awaitable[Database]]
FORMS = ("postgresql auto", "postgresql batch", "postgresql session", "sqlite auto", "sqlite session")


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Coin(VersionMixin, Tables, AggregateRoot[str]):
    __tablename__ = "coin"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[int] = mapped_column(default=1)


HELD: list[Coin] = []


class CoinSpent(DomainEvent):
    coin_id: str


@pytest.fixture(params=FORMS)
async def database(request: pytest.FixtureRequest, fresh: Fresh) -> Database:
    backend, commit = request.param.split()
    database = await fresh(backend, Tables.metadata, commit=commit)
    async with UnitOfWork(database):
        for id in "abc":
            await Repository(Coin).add(Coin(id=id))
    return database


async def values(database: Database) -> dict[str, int]:
    return {row.id: row.value for row in await database.query(select(Coin.id, Coin.value))}


async def audited(database: Database) -> list[tuple[str, str]]:
    return [(entry.record_id, entry.operation) for entry in await AuditTrail(database).query()]


class Spend(Command[int]):
    id: str
    outcome: str = "success"


class SpendBoth(Command[str]):
    inner: str
    guarded: bool = False


class SpendInVain(Command[None]):
    id: str


class Peek(Query[int]):
    id: str
    write: bool = False


@command_handler(Spend)
async def spend(command: Spend, repository: Repository[Coin]) -> Result[int]:
    coin = await repository.get(command.id)
    coin.value += 1
    coin.register_event(CoinSpent(coin_id=coin.id))
    if command.outcome == "failure":
        return Failure(Invalid("not today"))
    if command.outcome == "error":
        raise Conflict("not ever")
    if command.outcome == "bug":
        raise ZeroDivisionError
    if command.outcome == "misconfigured":
        raise Misconfigured("wrong")
    return Success(coin.value)


@command_handler(SpendBoth)
async def spend_both(command: SpendBoth, bus: Bus, repository: Repository[Coin], uow: UnitOfWork) -> str:
    (await repository.get("a")).value += 1
    try:
        if command.guarded:
            async with uow.savepoint():
                result = await bus.dispatch(Spend(id="b", outcome=command.inner))
        else:
            result = await bus.dispatch(Spend(id="b", outcome=command.inner))
    except (ZeroDivisionError, Misconfigured) as error:
        return f"bug {type(error).__name__}"
    return "success" if result.is_success else "failure"


@command_handler(SpendInVain)
async def spend_in_vain(command: SpendInVain, repository: Repository[Coin], uow: UnitOfWork) -> None:
    HELD[:] = [await repository.get("a")]
    with suppress(ZeroDivisionError):
        async with uow.savepoint():
            HELD.append(await repository.get(command.id))
            HELD[1].register_event(CoinSpent(coin_id=command.id))
            raise ZeroDivisionError


@query_handler(Peek)
async def peek(query: Peek, repository: Repository[Coin]) -> int:
    if query.write:
        await repository.add(Coin(id="peeked"))
    return (await repository.get(query.id)).value


class SpendByQuery(Command[None]):
    pass


@command_handler(SpendByQuery)
async def spend_by_query(_command: SpendByQuery, bus: Bus) -> None:
    await bus.dispatch(Peek(id="a", write=True))


SEEN: list[str] = []


@event_handler(CoinSpent)
async def seen(event: CoinSpent) -> None:
    SEEN.append(event.coin_id)


@pytest.fixture
async def app(database: Database) -> AsyncIterator[App]:
    SEEN.clear()
    handlers = [spend, spend_both, spend_in_vain, peek, spend_by_query, seen]
    async with App(Module("coins", handlers=handlers, models=[Coin]), database=database) as app:
        yield app


async def test_a_failure_of_any_kind_rolls_back_and_publishes_nothing(app: App, database: Database) -> None:
    for outcome, error in (("failure", Invalid), ("error", Conflict)):
        result = await app.bus.dispatch(Spend(id="a", outcome=outcome))
        assert isinstance(result.error, error)
    for outcome, bug in (("bug", ZeroDivisionError), ("misconfigured", Misconfigured)):
        with pytest.raises(bug):
            await app.bus.dispatch(Spend(id="a", outcome=outcome))
    assert SEEN == []
    assert (await values(database))["a"] == 1
    assert await audited(database) == []
    assert (await app.bus.dispatch(Spend(id="a"))).unwrap() == 2
    assert SEEN == ["a"]
    assert (await values(database))["a"] == 2


async def test_a_nested_message_joins_and_its_failure_dooms_the_whole(app: App, database: Database) -> None:
    assert (await app.bus.dispatch(SpendBoth(inner="success"))).unwrap() == "success"
    assert await values(database) == {"a": 2, "b": 2, "c": 1}
    for inner, error in (("failure", Invalid), ("error", Conflict)):
        result = await app.bus.dispatch(SpendBoth(inner=inner))
        assert isinstance(result.error, error)
    for inner, bug in (("bug", ZeroDivisionError), ("misconfigured", Misconfigured)):
        with pytest.raises(bug):
            await app.bus.dispatch(SpendBoth(inner=inner))
    assert await values(database) == {"a": 2, "b": 2, "c": 1}
    assert SEEN == ["b"]


async def test_a_savepoint_around_a_nested_message_is_the_way_to_go_on(app: App, database: Database) -> None:
    expected = {"success": "success", "failure": "failure", "error": "failure"}
    expected |= {"bug": "bug ZeroDivisionError", "misconfigured": "bug Misconfigured"}
    for n, (inner, outcome) in enumerate(expected.items()):
        assert (await app.bus.dispatch(SpendBoth(inner=inner, guarded=True))).unwrap() == outcome
        assert await values(database) == {"a": n + 2, "b": 2, "c": 1}
    assert SEEN == ["b"]
    assert [id for id, _ in await audited(database)].count("b") == 1


async def test_events_of_a_coin_read_inside_a_savepoint_go_with_it_however_long_it_is_held(app: App) -> None:
    assert (await app.bus.dispatch(SpendInVain(id="b"))).is_success
    assert SEEN == []


async def test_a_query_cannot_write_alone_or_inside_a_command(app: App, database: Database) -> None:
    assert (await app.bus.dispatch(Peek(id="a"))).unwrap() == 1
    with pytest.raises(Misconfigured, match="A query changes nothing"):
        await app.bus.dispatch(Peek(id="a", write=True))
    with pytest.raises(Misconfigured, match="A query changes nothing"):
        await app.bus.dispatch(SpendByQuery())
    assert await values(database) == {"a": 1, "b": 1, "c": 1}
