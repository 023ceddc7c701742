"""Whatever a class was declared with, a repository does the same with it, on both backends and both ways to write."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from tests.contracts.kinds import KINDS, NOW, TABLES, State

from uno.audit import AuditBook, AuditTrail
from uno.audit.tables import audit
from uno.data import Database, Filter, Repository, UnitOfWork, hooks
from uno.errors import Conflict, Invalid, NotFound, VersionConflict

Fresh = Callable[..., Awaitable[Database]]
# Where, and what writes: the plan that the class has, or SQLAlchemy's session in any case.
PLACES = {"sqlite": ("sqlite", "auto"), "postgresql": ("postgresql", "auto"), "session": ("postgresql", "session")}


@pytest.fixture(scope="module", params=PLACES)
async def everything(request: pytest.FixtureRequest, lasting: Fresh) -> Database:
    backend, commit = PLACES[request.param]
    return await lasting(backend, TABLES, commit=commit)


@pytest.fixture(params=KINDS, ids=lambda cls: cls.__name__)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def database(everything: Database, kind: Any) -> Database:
    async with everything.transaction() as transaction:
        await transaction.execute(everything.plan(kind).table.delete())
        await transaction.execute(audit.delete())
    return everything


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=[AuditBook()])


def seen(entity: Any) -> dict[str, Any]:
    names = ("name", "rank", "state", "price", "born", "data", "note", "deleted_at")
    return {name: getattr(entity, name) for name in names}


USUAL = {
    "rank": 1,
    "state": State.NEW,
    "price": Decimal("1.50"),
    "born": NOW,
    "data": {},
    "note": None,
    "deleted_at": None,
}


async def test_it_is_added_found_changed_and_deleted(database: Database, kind: Any) -> None:
    heroes = Repository(kind)
    async with unit(database) as uow:
        added = await heroes.add(kind(name="Ada"))
        await uow.flush()
        id = added.id
    assert isinstance(id, int)
    async with unit(database):
        found = await heroes.get(id)
        assert seen(found) == {"name": "Ada", **USUAL}
        assert await heroes.get(id) is found
        found.rank, found.state, found.note = 7, State.SENT, "é"
        found.data = {"a": [1, None]}
    async with unit(database):
        again = await heroes.get_for_update(id)
        assert seen(again) == {
            **USUAL, "name": "Ada", "rank": 7, "state": State.SENT, "note": "é", "data": {"a": [1, None]},
        }  # fmt: skip
        assert again.version == 2
        await heroes.delete(again)
    async with unit(database):
        assert await heroes.get_by_id(id) is None
        with pytest.raises(NotFound):
            await heroes.get(id)
    trail = await AuditTrail(database).query(component=kind.__name__)
    assert [one.operation for one in trail] == ["create", "update", "delete"]
    updated = trail[1]
    assert updated.before == {"rank": 1, "state": "new", "note": None, "data": {}}
    assert updated.after == {"rank": 7, "state": "sent", "note": "é", "data": {"a": [1, None]}}
    assert (trail[0].after["born"], trail[2].before["price"]) == ("2026-01-31T09:30:00+00:00", "1.50")


async def test_short_forms_make_and_change_one(database: Database, kind: Any) -> None:
    heroes = Repository(kind)
    async with unit(database) as uow:
        made = await heroes.create(name="Ada", rank=3, state=State.SENT, price=Decimal("2.25"))
        await uow.flush()
        id = made.id
    async with unit(database):
        await heroes.update(id, rank=4)
    async with unit(database):
        assert seen(await heroes.get(id)) == {
            **USUAL, "name": "Ada", "rank": 4, "state": State.SENT, "price": Decimal("2.25"),
        }  # fmt: skip
    async with unit(database):
        for refuse in (lambda: heroes.create(name="Bob", rnak=3), lambda: heroes.update(id, rank=5, rnak=3)):
            with pytest.raises(Invalid) as error:
                await refuse()
            assert [one.field for one in error.value.errors] == ["rnak"]
    async with unit(database):
        assert (await heroes.get(id)).rank == 4


async def test_it_is_looked_for_sorted_counted_and_paged(database: Database, kind: Any) -> None:
    heroes = Repository(kind)
    async with unit(database):
        for n, name in enumerate(["Ada", "Bob", "Cid", "Dan", "Eve"]):
            await heroes.create(name=name, rank=n, state=State.SENT if n % 2 else State.NEW, data={"n": n})
    async with unit(database):
        names = [one.name for one in await heroes.find(Filter(rank__gte=1, state="sent"), sort="-name")]
        assert names == ["Dan", "Bob"]
        assert [one.name for one in await heroes.find(kind.rank > 3)] == ["Eve"]
        assert await heroes.count(name__in=["Ada", "Bob"]) == 2
        assert await heroes.count(Filter(**{"data.n": 2})) == 1
        assert (await heroes.exists(name="Eve"), await heroes.exists(name="Zoe")) == (True, False)
        assert (await heroes.find_one(born=NOW, name="Cid")) is not None
        first = await heroes.page(sort="-rank", limit=2, total=True)
        rest = await heroes.page(sort="-rank", limit=9, after=first.next)
        assert ([one.name for one in first.items], first.total) == (["Eve", "Dan"], 5)
        assert [one.name for one in rest.items] == ["Cid", "Bob", "Ada"]
        assert [one.name async for one in heroes.stream(sort="name", rank__lt=2)] == ["Ada", "Bob"]
        assert [one.name for one in await heroes.get_all(order_by="name", limit=2, offset=1)] == ["Bob", "Cid"]


async def test_many_are_written_at_once(database: Database, kind: Any) -> None:
    heroes = Repository(kind)
    async with unit(database):
        assert await heroes.insert_many({"name": f"m{n}", "rank": n} for n in range(5)) == 5
        objects = [kind(name=f"o{n}") for n in range(3)]
        assert await heroes.insert_many(objects) == 3
        assert len({one.id for one in objects} - {None}) == 3
    async with unit(database):
        assert seen(await heroes.find_one(name="m3")) == {**USUAL, "name": "m3", "rank": 3}
        assert seen(await heroes.find_one(name="o1")) == {**USUAL, "name": "o1"}
        assert await heroes.update_many(rank__gte=3, values={"note": "high"}) == 2
        assert await heroes.delete_many(rank=0) == 1
    with pytest.raises(Invalid) as error:
        async with unit(database):
            await heroes.insert_many([{"name": "x1"}, {"name": "x2", "rnak": 1}])
    assert [one.field for one in error.value.errors] == ["rnak"]
    assert "row 2" in str(error.value)


async def test_many_are_counted_and_audited(database: Database, kind: Any) -> None:
    heroes = Repository(kind)
    async with unit(database):
        await heroes.insert_many([{"name": f"m{n}", "rank": n} for n in range(4)])
    async with unit(database):
        await heroes.update_many(rank__gte=2, values={"note": "high", "state": State.SENT})
        await heroes.soft_delete_many(rank=0)
    async with unit(database):
        assert (await heroes.count(), await heroes.count(include_deleted=True)) == (3, 4)
        assert await heroes.count(note="high", state=State.SENT) == 2
        assert await heroes.delete_many(everything=True, include_deleted=True) == 4
    found = await AuditTrail(database).query(component=kind.__name__, limit=100)
    operations = [one.operation for one in found]
    assert [operations.count(one) for one in ("create", "update", "soft_delete", "delete")] == [4, 2, 1, 4]
    assert all(one.before["price"] == "1.50" for one in found if one.operation == "delete")


async def test_softly_deleted_it_is_gone_and_comes_back(database: Database, kind: Any) -> None:
    heroes = Repository(kind)
    async with unit(database) as uow:
        added = await heroes.add(kind(name="Ada"))
        await uow.flush()
        id = added.id
    async with unit(database):
        assert await heroes.soft_delete(id)
    async with unit(database):
        assert await heroes.get_by_id(id) is None
        assert (await heroes.get(id, include_deleted=True)).deleted_at is not None
        assert (await heroes.count(), await heroes.count(include_deleted=True)) == (0, 1)
        assert not await heroes.soft_delete(id)
        assert await heroes.restore(id)
    async with unit(database):
        assert (await heroes.get(id)).deleted_at is None
    found = await AuditTrail(database).query(component=kind.__name__)
    assert [one.operation for one in found] == ["create", "soft_delete", "restore"]


async def test_a_stale_one_is_a_conflict(database: Database, kind: Any) -> None:
    heroes = Repository(kind)
    async with unit(database) as uow:
        added = await heroes.add(kind(name="Ada"))
        await uow.flush()
        id = added.id
    table = database.plan(kind).table
    with pytest.raises(VersionConflict):
        async with unit(database) as uow:
            found = await heroes.get(id)
            await uow.execute(table.update().values(rank=9, version=table.c.version + 1))
            found.rank = 5
    async with unit(database):
        assert (await heroes.get(id)).rank == 1


async def test_saving_one_that_came_from_elsewhere_updates_its_row(database: Database, kind: Any) -> None:
    heroes = Repository(kind)
    async with unit(database) as uow:
        added = await heroes.add(kind(name="Ada", rank=3))
        await uow.flush()
        id, version = added.id, added.version
    stranger = kind(name="Bob")
    stranger.id, stranger.version = id, version
    async with unit(database):
        await heroes.save(stranger)
    async with unit(database):
        saved = await heroes.get(id)
        assert (saved.name, saved.version) == ("Bob", 2)
        await heroes.save(kind(name="Cid"))
    async with unit(database):
        assert await heroes.count() == 2


@contextmanager
def hooked(cls: type, moments: list[str], made: list[Any]) -> Iterator[None]:
    functions = []
    for moment in moments:

        async def heard(entity: Any, moment: str = moment) -> None:
            made.append((moment, entity.name))
            if moment == "before_insert":
                entity.note = "hooked"

        functions.append(getattr(hooks, moment)(cls)(heard))
    try:
        yield
    finally:
        for one in functions:
            hooks.remove(one)


async def test_hooks_run_for_it(database: Database, kind: Any) -> None:
    heroes, made = Repository(kind), []
    with hooked(kind, ["before_insert", "after_insert", "before_update", "after_delete"], made):
        async with unit(database) as uow:
            added = await heroes.add(kind(name="Ada"))
            await uow.flush()
            id = added.id
        async with unit(database):
            (await heroes.get(id)).rank = 5
        async with unit(database):
            await heroes.insert_many([{"name": "Bob"}])
            assert (await heroes.get(id)).note == "hooked"
            await heroes.delete(id)
    assert made == [
        ("before_insert", "Ada"), ("after_insert", "Ada"), ("before_update", "Ada"),
        ("before_insert", "Bob"), ("after_insert", "Bob"), ("after_delete", "Ada"),
    ]  # fmt: skip


async def test_what_is_there_twice_is_a_conflict_and_a_savepoint_undoes(database: Database, kind: Any) -> None:
    heroes = Repository(kind)
    async with unit(database) as uow:
        await heroes.add(kind(name="Ada"))
        with pytest.raises(Conflict):
            async with uow.savepoint():
                await heroes.add(kind(name="Ada"))
        await heroes.add(kind(name="Bob"))
    async with unit(database):
        assert sorted(one.name for one in await heroes.find()) == ["Ada", "Bob"]


async def test_the_session_has_it_too(database: Database, kind: Any) -> None:
    heroes = Repository(kind)
    async with unit(database) as uow:
        added = await heroes.add(kind(name="Ada"))
        session = await uow.session()
        assert added in session
        added.rank = 2
    async with unit(database) as uow:
        found = await heroes.find_one(name="Ada")
        session = await uow.session()
        assert await session.get(kind, found.id) is found
        assert found.rank == 2
