"""Objects that the unit of work does not know are deleted and brought back as those that it knows."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest
from sqlalchemy import select
from tests.contracts.conftest import Fresh
from tests.contracts.things import EACH, FORMS, Note, Shelf

from uno.audit import AuditTrail
from uno.data import Repository, UnitOfWork, hooks
from uno.errors import Misconfigured, NotFound, VersionConflict
from uno.messages import DomainEvent


class Left(DomainEvent):
    thing_id: str


class Shop(Shelf):
    async def early(self) -> Any:
        """The object of a unit of work that is over."""
        async with UnitOfWork(self.database):
            return await self.things.get("a", include_deleted=True)

    async def changed_by_somebody_else(self) -> None:
        async with UnitOfWork(self.database):
            (await self.things.get("a", include_deleted=True)).name = "theirs"

    async def stored(self, id: str = "a") -> Any:
        """Its name, and whether it is deleted softly; None where it is deleted for good."""
        async with UnitOfWork(self.database):
            found = await self.things.get_by_id(id, include_deleted=True)
            return None if found is None else (found.name, found.deleted_at is not None)

    async def audited(self) -> list[str]:
        return [f"{one.operation} {one.record_id}" for one in await AuditTrail(self.database).query()]


@pytest.fixture(params=EACH, ids=str)
async def shop(request: pytest.FixtureRequest, fresh: Fresh) -> Any:
    return await Shop.made(request, fresh)


@pytest.fixture(params=[(form, Note) for form in FORMS], ids=str)
async def loose(request: pytest.FixtureRequest, fresh: Fresh) -> Any:
    return await Shop.made(request, fresh)


@pytest.fixture
def watched(shop: Shop) -> Iterator[Shop]:
    def noting(moment: str) -> Callable[[Any], None]:
        return lambda thing: shop.ran.append(f"{moment} {thing.id}")

    added = []
    for what in ("delete", "restore"):
        for when in ("before", "after"):
            added.append(noting(f"{when}_{what}"))
            getattr(hooks, f"{when}_{what}")(shop.cls)(added[-1])
    yield shop
    for function in added:
        with suppress(Misconfigured):
            hooks.remove(function)


Act = Callable[[Repository[Any], Any], Awaitable[Any]]
ACTS: dict[str, Act] = {
    "soft_delete": lambda things, thing: things.soft_delete(thing),
    "restore": lambda things, thing: things.restore(thing),
    "delete": lambda things, thing: things.delete(thing),
}


async def test_one_of_an_earlier_unit_of_work_goes_and_comes_back(shop: Shop) -> None:
    thing = await shop.early()
    async with shop.unit():
        assert await shop.things.soft_delete(thing)
        assert not await shop.things.soft_delete(thing)
        assert await shop.things.count() == 0
        assert not await shop.things.soft_delete(thing)
    assert thing.deleted_at is not None
    assert await shop.stored() == ("old", True)
    async with shop.unit():
        assert not await shop.things.soft_delete(thing)
        assert await shop.things.restore(thing)
    assert (thing.deleted_at, thing.version) == (None, 3)
    assert await shop.stored() == ("old", False)
    thing.name = "new"
    async with shop.unit():
        await shop.things.save(thing)
    async with shop.unit():
        await shop.things.delete(await shop.early())
    assert await shop.stored() is None
    assert await shop.audited() == ["create a", "soft_delete a", "restore a", "update a", "delete a"]


async def test_one_of_a_stream_goes(shop: Shop) -> None:
    async with shop.unit():
        await shop.things.add(shop.cls(id="b"))
    async with shop.unit(), aclosing(shop.things.stream(sort="id")) as stream:
        assert [await shop.things.soft_delete(one) async for one in stream] == [True, True]
    assert await shop.stored() == ("old", True)
    async with shop.unit():
        found = [one async for one in shop.things.stream(sort="id", include_deleted=True)]
        assert [await shop.things.restore(one) for one in found] == [True, True]
        await shop.things.delete(found[1])
    assert await shop.stored() == ("old", False)
    trail = ["create a", "create b", "soft_delete a", "soft_delete b", "delete b", "restore a"]
    assert sorted(await shop.audited()) == sorted(trail)


async def test_one_that_was_inserted_in_bulk_goes(shop: Shop) -> None:
    one, other = shop.cls(id="b"), shop.cls(id="c")
    async with shop.unit():
        await shop.things.insert_many([one, other])
        assert await shop.things.soft_delete(one)
        await shop.things.delete(other)
        assert not await shop.things.exists(id="b")
    assert await shop.stored("b") == ("", True)
    assert await shop.stored("c") is None
    async with shop.unit():
        assert await shop.things.restore(one)
    assert await shop.stored("b") == ("", False)


async def test_its_hooks_run_once(watched: Shop) -> None:
    thing = await watched.early()
    for act in ("soft_delete", "restore", "delete"):
        async with watched.unit():
            await ACTS[act](watched.things, thing)
    ends = ("delete", "restore", "delete")
    assert watched.ran == [f"{when}_{what} a" for what in ends for when in ("before", "after")]


@pytest.mark.parametrize("act", ACTS)
async def test_a_stale_one_is_a_conflict_and_runs_no_hooks(watched: Shop, act: str) -> None:
    if act == "restore":
        async with UnitOfWork(watched.database):
            await watched.things.soft_delete("a")
    stale = await watched.early()
    await watched.changed_by_somebody_else()
    trail, stored = await watched.audited(), await watched.stored()
    watched.ran.clear()
    with pytest.raises(VersionConflict, match="'a' was changed"):
        async with watched.unit():
            await ACTS[act](watched.things, stale)
    assert (watched.ran, await watched.audited(), await watched.stored()) == ([], trail, stored)


@pytest.mark.parametrize("act", ACTS)
async def test_one_that_is_stale_by_a_change_of_this_unit_of_work_is_too(shop: Shop, act: str) -> None:
    stale = await shop.early()
    with pytest.raises(VersionConflict):
        async with shop.unit() as uow:
            (await shop.things.get("a")).name = "new"
            await uow.flush()
            await ACTS[act](shop.things, stale)
    assert await shop.stored() == ("old", False)


async def test_what_is_known_already_stands_for_it(shop: Shop) -> None:
    thing = await shop.early()
    async with shop.unit():
        known = await shop.things.get("a")
        known.name = "new"
        assert await shop.things.soft_delete(thing)
        assert known.deleted_at == thing.deleted_at is not None
        assert await shop.things.get("a", include_deleted=True) is known
    assert await shop.stored() == ("new", True)
    assert (thing.version, thing.name) == (2, "new")
    async with shop.unit():
        await shop.things.get("a", include_deleted=True)
        await shop.things.delete(thing)
    assert await shop.stored() is None


async def test_what_a_savepoint_undid_is_not_so(shop: Shop) -> None:
    thing = await shop.early()
    async with shop.unit() as uow:
        with suppress(ZeroDivisionError):
            async with uow.savepoint():
                assert await shop.things.soft_delete(thing)
                raise ZeroDivisionError
        assert await shop.things.exists(id="a")
    assert (thing.deleted_at, thing.version) == (None, 1)
    async with shop.unit():
        assert await shop.things.soft_delete(thing)
    assert await shop.audited() == ["create a", "soft_delete a"]


async def test_its_events_are_published(shop: Shop) -> None:
    for act in ("soft_delete", "restore", "delete"):
        thing = await shop.early()
        thing.register_event(Left(thing_id=act))
        async with shop.unit():
            await ACTS[act](shop.things, thing)
    assert [one.thing_id for one in shop.told if isinstance(one, Left)] == ["soft_delete", "restore", "delete"]


@pytest.mark.parametrize("act", ACTS)
async def test_one_that_is_not_stored_is_not_found(shop: Shop, act: str) -> None:
    thing = await shop.early()
    async with shop.unit():
        await shop.things.delete("a")
    for lost in (thing, shop.cls(id="nowhere")):
        with pytest.raises(NotFound):
            async with shop.unit():
                await ACTS[act](shop.things, lost)


async def test_without_a_version_the_last_one_counts(loose: Shop) -> None:
    thing = await loose.early()
    await loose.changed_by_somebody_else()
    async with loose.unit():
        assert await loose.things.soft_delete(thing)
    assert await loose.stored() == ("theirs", True)
    async with loose.unit():
        await loose.things.delete(thing)
    assert await loose.database.query(select(Note.id)) == []
