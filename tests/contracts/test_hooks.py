"""Hooks run around every write, in its transaction, whatever way the class is stored."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from sqlalchemy import event
from tests.contracts.conftest import Fresh
from tests.contracts.things import EACH, Note, Rich, Shelf

from uno import context
from uno.audit import AuditTrail
from uno.context import Context
from uno.data import Repository, UnitOfWork, hooks
from uno.data.unit_of_work import ambient_unit
from uno.domain import AggregateRoot
from uno.errors import Invalid, Misconfigured, VersionConflict
from uno.messages import DomainEvent
from uno.result import Failure


class Renamed(DomainEvent):
    thing_id: str


MOMENTS = [f"{when}_{what}" for what in ("insert", "update", "delete", "restore") for when in ("before", "after")]


class Shop(Shelf):
    def watch(self, *moments: str) -> None:
        """Note every run of these hooks."""
        for moment in moments or MOMENTS:
            self.on(moment, self.noting(moment))

    def noting(self, moment: str) -> Callable[[Any], None]:
        return lambda thing: self.ran.append(f"{moment} {thing.id}")

    def on(self, moment: str, function: Callable[..., Any], cls: Any = None) -> None:
        getattr(hooks, moment)(cls or self.cls)(function)

    async def stored(self, id: str = "a", cls: Any = None) -> Any:
        async with UnitOfWork(self.database):
            found = await Repository(cls or self.cls).get_by_id(id, include_deleted=True)
            return None if found is None else (found.name, getattr(found, "version", None))

    async def audited(self) -> list[str]:
        entries = await AuditTrail(self.database).query()
        return [f"{entry.component} {entry.record_id} {entry.operation}" for entry in entries]


@pytest.fixture(autouse=True)
def _no_hooks_left() -> Iterator[None]:
    yield
    for found in list(hooks.registered.values()):
        for hook in list(found):
            with suppress(Misconfigured):
                hooks.remove(hook.function)


@pytest.fixture(params=EACH, ids=str)
async def shop(request: pytest.FixtureRequest, fresh: Fresh) -> Any:
    return await Shop.made(request, fresh)


async def test_each_write_runs_its_hooks(shop: Shop) -> None:
    shop.watch()
    async with shop.unit():
        await shop.things.add(shop.cls(id="b"))
    async with shop.unit():
        (await shop.things.get("b")).name = "new"
    async with shop.unit():
        await shop.things.soft_delete("b")
    async with shop.unit():
        await shop.things.restore("b")
    async with shop.unit():
        await shop.things.delete("b")
    endings = ("insert", "update", "delete", "restore", "delete")
    assert shop.ran == [f"{when}_{what} b" for what in endings for when in ("before", "after")]


async def test_what_is_not_written_runs_no_hooks(shop: Shop) -> None:
    shop.watch()
    async with shop.unit() as uow:
        thing = await shop.things.get("a")
        thing.name = "other"
        thing.name = "old"
        never = await shop.things.add(shop.cls(id="never"))
        await shop.things.delete(never)
        await shop.things.soft_delete(thing)
        await shop.things.restore(thing)
        uow.require(thing)
    assert shop.ran == []
    assert await shop.stored() == ("old", 1)


async def test_a_before_hook_may_change_what_is_written_and_does_not_run_again_for_it(shop: Shop) -> None:
    def shout(thing: Any) -> None:
        thing.name += "!"
        thing.register_event(Renamed(thing_id=thing.id))

    shop.on("before_insert", shout)
    shop.on("before_update", shout)
    async with shop.unit():
        await shop.things.add(shop.cls(id="b", name="b"))
        (await shop.things.get("a")).name = "new"
    assert (await shop.stored("b"), await shop.stored("a")) == (("b!", 1), ("new!", 2))
    name = shop.cls.__name__
    assert sorted(await shop.audited()) == [f"{name} a create", f"{name} a update", f"{name} b create"]
    assert len(shop.told) == 2


async def test_a_before_hook_may_take_the_change_back(shop: Shop) -> None:
    shop.watch("after_update", "after_delete", "before_update")

    def undo(thing: Any) -> None:
        thing.name = "old"

    shop.on("before_update", undo)
    async with shop.unit() as uow:
        for _ in range(2):
            (await shop.things.get("a")).name = "new"
            await uow.flush()
    assert shop.ran == ["before_update a", "before_update a"]
    assert (await shop.stored(), await shop.audited()) == (("old", 1), [f"{shop.cls.__name__} a create"])


async def test_a_before_hook_may_delete_instead(shop: Shop) -> None:
    shop.watch()

    async def delete(thing: Any) -> None:
        await shop.things.delete(thing)

    shop.on("before_update", delete)
    async with shop.unit():
        (await shop.things.get("a")).name = "new"
    assert shop.ran == ["before_update a", "before_delete a", "after_delete a"]
    assert await shop.stored() is None


async def test_what_hooks_write_joins_the_transaction_and_is_audited_with_its_context(shop: Shop) -> None:
    async def note(thing: Any) -> None:
        found = await shop.things.find_one(name=thing.name)  # it is written, so it is found
        await Repository(Note).add(Note(id=f"n{len(await Repository(Note).find())}", name=f"{found is thing}"))

    shop.on("after_insert", note)
    shop.on("after_update", note)
    with context.use(Context(actor="ada", tenant="t")) as used:
        async with shop.unit():
            await shop.things.add(shop.cls(id="b", name="b"))
            (await shop.things.get("a")).name = "new"
    assert [await shop.stored(id, Note) for id in ("n0", "n1", "n2")] == [("True", None), ("True", None), None]
    entries = (await AuditTrail(shop.database).query())[1:]
    assert len(entries) == 4
    assert {(e.actor, e.tenant, e.correlation_id) for e in entries} == {("ada", "t", used.correlation_id)}


async def test_an_after_hook_that_changes_its_entity_leads_to_an_update_with_its_hooks(shop: Shop) -> None:
    shop.watch()

    async def rename(thing: Any) -> None:
        thing.name = f"stored {thing.id}"

    shop.on("after_insert", rename)
    async with shop.unit():
        await shop.things.add(shop.cls(id="b"))
    assert shop.ran == ["before_insert b", "after_insert b", "before_update b", "after_update b"]
    assert await shop.stored("b") == ("stored b", 2)
    assert await shop.audited() == [f"{shop.cls.__name__} {id} create" for id in "ab"]


async def test_hooks_of_what_hooks_write_run_too(shop: Shop) -> None:
    shop.watch()

    async def copy(thing: Any) -> None:
        if thing.id < "e":
            await shop.things.add(shop.cls(id=chr(ord(thing.id) + 1)))

    shop.on("before_insert", copy)
    shop.on("after_insert", copy, Note)
    async with shop.unit():
        await shop.things.add(shop.cls(id="c"))
    assert sorted(shop.ran) == sorted(f"{when}_insert {id}" for id in "cde" for when in ("before", "after"))
    assert await shop.stored("e") == ("", 1)


async def test_a_failing_hook_undoes_everything_and_its_error_is_the_answer(shop: Shop) -> None:
    async with shop.unit():
        (await shop.things.get("a")).deleted_at = None
    for moment in MOMENTS:
        if moment == "before_restore":
            async with shop.unit():
                await shop.things.soft_delete("a")
        before = await shop.stored(), await shop.audited()
        for error, given in ((ZeroDivisionError(), False), (Invalid("no"), False), (Invalid("no"), True)):
            refuse = _refusing(error, given=given)
            shop.on(moment, refuse)
            for flush in (False, True):
                assert await _fails(shop, moment.partition("_")[2], flush=flush) is error
            hooks.remove(refuse)
        assert (await shop.stored(), await shop.audited()) == before
        assert await shop.stored("n", Note) is None


def _refusing(error: Exception, *, given: bool) -> Callable[[Any], Any]:
    async def refuse(_thing: Any) -> Any:
        if not given:
            raise error
        return Failure(error)

    return refuse


async def _fails(shop: Shop, what: str, *, flush: bool) -> BaseException:
    with pytest.raises((Invalid, ZeroDivisionError)) as caught:
        async with shop.unit() as uow:
            await Repository(Note).add(Note(id="n"))
            await _do(shop, what)
            with suppress(Invalid, ZeroDivisionError):  # who catches it cannot go on
                await (uow.flush() if flush else asyncio.sleep(0))
    return caught.value


async def _do(shop: Shop, what: str) -> None:
    if what == "insert":
        await shop.things.add(shop.cls(id="b"))
    elif what == "update":
        (await shop.things.get("a")).name = "new"
    elif what == "delete":
        await shop.things.delete("a")
    else:
        await shop.things.restore("a")


async def test_hooks_run_by_order_then_base_classes_first_then_as_registered(shop: Shop) -> None:
    ran: list[str] = []

    def noting(name: str) -> Callable[[Any], None]:
        return lambda _: ran.append(name)

    hooks.before_insert(shop.cls)(noting("own"))
    hooks.before_insert(shop.cls, order=-1)(noting("first"))
    hooks.before_insert(AggregateRoot)(noting("base"))
    hooks.before_insert(AggregateRoot, order=1)(noting("last"))
    hooks.before_insert(shop.cls)(noting("own too"))
    async with shop.unit():
        await shop.things.add(shop.cls(id="b"))
    assert ran == ["first", "base", "own", "own too", "last"]


@pytest.mark.parametrize("moment", ["before_update", "after_update"])
async def test_hooks_that_never_end_are_an_error_that_names_the_class(shop: Shop, moment: str) -> None:
    numbers = count()

    async def again(thing: Any) -> None:
        if moment == "after_update":
            thing.name += "x"
        else:
            await shop.things.add(shop.cls(id=f"n{next(numbers)}"))

    shop.on(moment, again)
    if moment == "before_update":
        shop.on("before_insert", again)
    with pytest.raises(Misconfigured, match=rf"^The hooks of {shop.cls.__name__} lead to more and more writes"):
        async with shop.unit():
            (await shop.things.get("a")).name = "x"
    assert await shop.stored() == ("old", 1)


async def test_hooks_that_flush_themselves_without_end_are_an_error_too(shop: Shop) -> None:
    async def again(thing: Any) -> None:
        thing.name += "x"
        await shop.things.count()

    shop.on("after_update", again)
    with pytest.raises(Misconfigured, match=rf"^The hooks of {shop.cls.__name__} lead to more and more writes"):
        async with shop.unit():
            (await shop.things.get("a")).name = "x"
    assert await shop.stored() == ("old", 1)


async def test_hooks_run_in_the_task_of_the_handler(shop: Shop) -> None:
    tasks: list[Any] = []

    def note(_thing: Any) -> None:
        tasks.append(asyncio.current_task())

    shop.on("before_update", note)
    async with shop.unit():
        (await shop.things.get("a")).name = "one"
    shop.on("after_update", note)
    async with shop.unit():
        (await shop.things.get("a")).name = "two"
    assert tasks == [asyncio.current_task()] * 3


async def test_what_a_savepoint_took_back_runs_its_hooks_again_when_it_is_written(shop: Shop) -> None:
    shop.watch()
    async with shop.unit() as uow:
        thing = await shop.things.get("a")
        for _ in range(2):
            with suppress(ValueError):
                async with uow.savepoint():
                    thing.name = "undone"
                    await uow.flush()
                    raise ValueError
        thing.name = "kept"
    assert shop.ran == ["before_update a", "after_update a"] * 3
    assert await shop.stored() == ("kept", 2)


async def test_a_hook_that_fails_in_a_savepoint_undoes_that_only(shop: Shop) -> None:
    def refuse(_thing: Any) -> None:
        raise Invalid("no")

    shop.on("after_insert", refuse)
    async with shop.unit() as uow:
        (await shop.things.get("a")).name = "kept"
        with suppress(Invalid):
            async with uow.savepoint():
                await shop.things.add(shop.cls(id="b"))
    assert (await shop.stored(), await shop.stored("b")) == (("kept", 2), None)


async def test_in_a_before_hook_nothing_is_written_yet(shop: Shop) -> None:
    counted: list[int] = []
    errors: list[str] = []

    async def look(thing: Any) -> None:
        assert await shop.things.get(thing.id) is thing
        counted.append(await shop.things.count())
        with suppress(Misconfigured):
            await ambient_unit().flush()
            errors.append("flushed")

    shop.on("before_insert", look)
    async with shop.unit():
        await shop.things.add(shop.cls(id="b"))
    async with shop.unit():
        await shop.things.add(shop.cls(id="c"))
        assert await shop.things.count() == 3
    assert (counted, errors) == ([1, 2], [])


async def test_a_stale_row_is_a_conflict_as_without_hooks(shop: Shop) -> None:
    shop.watch()
    async with UnitOfWork(shop.database):
        early = await shop.things.get("a")
    async with shop.unit():
        (await shop.things.get("a")).name = "elsewhere"
    early.name = "mine"
    with pytest.raises(VersionConflict):
        async with shop.unit():
            await shop.things.save(early)
    assert await shop.stored() == ("elsewhere", 2)


async def test_a_query_that_changes_something_runs_no_hook(shop: Shop) -> None:
    shop.watch()
    with pytest.raises(Misconfigured, match="A query changes nothing"):
        async with UnitOfWork(shop.database, read_only=True):
            (await shop.things.get("a")).name = "new"
    assert shop.ran == []


async def test_before_hooks_alone_leave_the_commit_its_one_statement(shop: Shop) -> None:
    begun: list[Any] = []
    event.listen(shop.database.engine.sync_engine, "begin", begun.append)
    shop.watch("before_update")
    async with shop.unit():
        (await shop.things.get("a")).name = "new"
    one_statement = shop.database.commit == "auto" and shop.database.backend == "postgresql" and shop.cls is not Rich
    assert (begun == []) is one_statement
    assert shop.ran == ["before_update a"]


async def test_a_row_that_takes_the_key_of_a_deleted_one_is_an_update(shop: Shop) -> None:
    if shop.cls is Rich:  # its rows are deleted first
        return
    shop.watch()
    async with shop.unit():
        await shop.things.delete("a")
        await shop.things.add(shop.cls(id="a", name="new"))
    assert shop.ran == ["before_update a", "after_update a"]
