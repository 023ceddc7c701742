"""Row-level security on PostgreSQL: whatever reads or writes, it is told the tenant of the context, and no other."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, strategies as st
from sqlalchemy import func, literal_column, select, text
from tests.contracts.tenants import (
    Folder,
    Note,
    both,
    everything,
    expected,
    folders,
    notes,
    of,
)

from uno import context
from uno.context import Context
from uno.data import Database, UnitOfWork, session, transaction
from uno.data.tenants import opening
from uno.errors import Forbidden, Invalid, Misconfigured, NotFound, VersionConflict
from uno.settings import DatabaseSettings

ROUNDS = 10


@pytest.fixture(params=["auto", "batch", "session"])
async def database(tenant_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """That of a role for which the policies hold; two connections, so that they change hands."""
    settings = DatabaseSettings(pool_size=1, max_overflow=1)
    async with Database(tenant_url, settings=settings, commit=request.param) as database:
        yield database


async def test_each_reads_its_own_rows_whatever_the_way(database: Database) -> None:
    async def work(tenant: str) -> None:
        for read_only in (True, False) * 3:
            async with UnitOfWork(database, read_only=read_only) as uow:
                first, last = expected(tenant)
                assert (await notes.get(first)).tenant == tenant
                other = 11 if tenant == "north" else 1
                assert await notes.get_by_id(other) is None
                with pytest.raises(NotFound):
                    await folders.get(other)
                assert not await notes.exists(id=other)
                for found in await everything(uow, first):
                    assert found == [first, last]

    await both(work)


async def test_nobody_sees_anything_without_a_tenant(database: Database) -> None:
    async def work(tenant: str) -> None:
        async with UnitOfWork(database):
            assert len(await notes.find()) == 2

    for _ in range(ROUNDS):
        await both(work)
        for asked in (None, Context(), Context(tenant="")):
            with context.use(asked or Context()):
                async with UnitOfWork(database) as uow:
                    assert await notes.get_by_id(1) is None
                    assert await notes.find() == [] == await folders.find()
                    assert (await uow.execute("SELECT count(*) FROM tenant_notes")).scalar_one() == 0
                async with database.lease() as lease:
                    [[told]] = await lease.fetch_text("SELECT current_setting('uno.tenant', true)", ())
                    assert not told
                    assert await lease.fetch_text("SELECT id FROM tenant_notes", ()) == []


async def test_each_writes_its_own_rows(database: Database, tenant_owner: Database) -> None:
    async def work(tenant: str) -> None:
        first, last = expected(tenant)
        other = 11 if tenant == "north" else 1
        for turn in range(ROUNDS):
            async with UnitOfWork(database):
                (await notes.get(first)).text = f"{tenant} {turn}"
                await notes.add(Note(id=100 * first + turn, tenant=tenant))
        async with UnitOfWork(database) as uow:
            await notes.delete(last)
            assert await notes.update_many(everything=True, values={"text": tenant}) == 1 + ROUNDS
            assert await notes.delete_many(id=other) == 0
            assert await notes.insert_many([Note(id=100 * first + 50, tenant=tenant)]) == 1
            locked = await notes.get_for_update(first)
            locked.text = "locked"
            assert (await uow.execute("UPDATE tenant_notes SET text = :t", {"t": tenant})).rowcount == 2 + ROUNDS
        async with UnitOfWork(database) as uow:
            folder = await folders.get(first)
            folder.name = "changed"
            folder.sheets = []
            (await (await uow.session()).get_one(Note, first)).text = "by session"

    await both(work)
    async with UnitOfWork(tenant_owner) as uow:
        for tenant, key in (("north", 1), ("south", 11)):
            mine = await notes.find(tenant=tenant, sort="id")
            added = [*range(100 * key, 100 * key + ROUNDS), 100 * key + 50]
            assert [one.id for one in mine] == [key, *added]
            assert [one.text for one in mine] == ["by session", *[tenant] * (ROUNDS + 1)]
            assert [one.name for one in await folders.find(tenant=tenant, sort="id")] == ["changed", tenant]
        assert list((await uow.execute("SELECT id FROM tenant_sheets ORDER BY id")).scalars()) == [2, 12]


async def test_a_row_for_somebody_else_is_forbidden(database: Database, tenant_owner: Database) -> None:
    async def direct() -> None:
        await notes.add(Note(id=50, tenant="south"))

    async def moved() -> None:
        (await notes.get(1)).tenant = "south"

    async def many() -> None:
        await notes.insert_many([Note(id=50, tenant="north"), Note(id=51, tenant="south")])

    async def changed() -> None:
        await notes.update_many(everything=True, values={"tenant": "south"})

    async def by_session() -> None:
        await folders.add(Folder(id=50, tenant="south"))

    async def raw() -> None:
        uow = UnitOfWork(database)
        async with uow as uow:
            await uow.execute("INSERT INTO tenant_notes VALUES (50, :text, :whose, 1)", {"text": "", "whose": "south"})

    for write in (direct, moved, many, changed, by_session, raw):
        with of("north"), pytest.raises(Forbidden) as caught:
            async with UnitOfWork(database):
                await write()
        assert "INSERT" not in str(caught.value).upper()
        assert "tenant_notes" not in str(caught.value)
    with of(None), pytest.raises(Forbidden):
        async with UnitOfWork(database):
            await direct()
    async with UnitOfWork(tenant_owner):
        assert [one.id for one in await notes.find(sort="id")] == [1, 2, 11, 12]
        assert [one.id for one in await notes.find(tenant="south", sort="id")] == [11, 12]


async def test_what_only_another_tenant_has_cannot_be_changed(database: Database, tenant_owner: Database) -> None:
    with of("north"), pytest.raises(NotFound):
        async with UnitOfWork(database):
            await notes.delete(11)
    with of("south"):
        async with UnitOfWork(database):
            known = await notes.get(11)
    # As an object that somebody kept: the row is not there for this one.
    known.text = "north was here"
    with of("north"), pytest.raises((NotFound, VersionConflict)):
        async with UnitOfWork(database):
            await notes.delete(known)
    async with UnitOfWork(tenant_owner):
        assert (await notes.get(11)).text == "south 1"


async def test_one_unit_of_work_is_of_one_tenant(database: Database) -> None:
    async with UnitOfWork(database):
        with of("north"):
            await notes.get(1)
            with of("south"), pytest.raises(Misconfigured, match="of one tenant"):
                await notes.get(1)
            with of(None), pytest.raises(Misconfigured, match="of one tenant"):
                await notes.find()
            assert (await notes.get(2)).tenant == "north"
    # What is written when the context is left is nobody's any more.
    with pytest.raises((Misconfigured, Forbidden)):
        async with UnitOfWork(database):
            with of("north"):
                await notes.get(1)
                await notes.add(Note(id=60, tenant="north"))
    # It is looked up first, and then it is known whose.
    async with UnitOfWork(database):
        assert await notes.find() == []
        with of("south"):
            assert len(await notes.find(sort="id")) == 2


async def test_a_transaction_that_changes_hands_is_told_again(database: Database) -> None:
    """Not through a unit of work, which refuses it."""
    count = select(func.count()).select_from(Note)
    async with database.transaction() as one:
        for tenant, found in (("north", 2), (None, 0), ("south", 2), ("south", 2), ("nobody", 0)):
            with of(tenant):
                assert (await one.execute(count)).scalar_one() == found
                assert (
                    (await one.execute(text("SELECT max(tenant) FROM tenant_notes"))).scalar_one() or tenant
                ) == tenant
    async with database.session() as session_:
        with of("north"):
            assert {one.tenant for one in await session_.scalars(select(Note))} == {"north"}
        with of("south"):
            assert [one.id for one in await session_.scalars(select(Note).order_by(Note.id))] == [11, 12]


async def test_a_savepoint_that_is_undone_takes_what_was_told_with_it(database: Database) -> None:
    count = text("SELECT count(*) FROM tenant_notes")
    async with database.transaction() as one:
        for tenant, inside in (("north", "south"), (None, "south"), ("south", None)):
            for undone in (True, False):
                with of(tenant):
                    before = (await one.execute(count)).scalar_one()
                nested = await one.connection.begin_nested()
                with of(inside):
                    assert (await one.execute(count)).scalar_one() == (2 if inside else 0)
                await (nested.rollback() if undone else nested.commit())
                with of(tenant):
                    assert (await one.execute(count)).scalar_one() == before == (2 if tenant else 0)
                with of(inside):
                    assert (await one.execute(count)).scalar_one() == (2 if inside else 0)
    with of("north"):
        async with UnitOfWork(database) as uow:
            with pytest.raises(Forbidden):
                async with uow.savepoint():
                    await notes.add(Note(id=70, tenant="south"))
                    await uow.flush()
            assert [one.id for one in await notes.find(sort="id")] == [1, 2]


async def test_streams_in_turns_keep_to_their_tenants(database: Database) -> None:
    async def work(tenant: str) -> list[int]:
        found = []
        async with UnitOfWork(database, read_only=True):
            async for one in notes.stream(sort="id", batch=1):
                found.append(one.id)
                await asyncio.sleep(0)
        return found

    for _ in range(ROUNDS):
        assert await both(work) == [[1, 2], [11, 12]]


async def test_no_connection_keeps_a_tenant_after_an_error_or_a_cancellation(database: Database) -> None:
    class Stop(Exception):
        pass

    async def told() -> None:
        async with database.lease() as one, database.lease() as other:
            for lease in (one, other):
                assert not (await lease.fetch_text("SELECT current_setting('uno.tenant', true)", ()))[0][0]
                assert not lease.driver.is_in_transaction()

    with of("north"):
        with pytest.raises(Stop):
            async with transaction(database):
                await notes.find()
                raise Stop
        await told()
        with pytest.raises(Invalid):
            async with UnitOfWork(database):
                await notes.get(2**40)  # no int4
        await told()
        with pytest.raises(Invalid):
            async with UnitOfWork(database):
                await notes.find(literal_column("1 / (tenant_notes.id - tenant_notes.id)") == 1)
        await told()
        for seconds in (0.0, 0.0005, 0.001, 0.002, 0.004):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(seconds):
                    while True:
                        async with UnitOfWork(database) as uow:
                            await notes.get(1)
                            await notes.find()
                            await uow.execute("SELECT count(*) FROM tenant_notes")
            await told()


@pytest.mark.parametrize("tenant", ["o'hara", "a\\'b", "'; DROP TABLE tenant_notes; --", "Zoë 💡", "$1", "%s :x"])
async def test_a_tenant_may_have_any_name(tenant_url: str, tenant_owner: Database, tenant: str) -> None:
    async with UnitOfWork(tenant_owner):
        await notes.add(Note(id=80, tenant=tenant))
    async with Database(tenant_url) as database:
        with of(tenant):
            async with UnitOfWork(database) as uow:
                assert (await notes.get(80)).tenant == tenant
                assert [one.id for one in await notes.find()] == [80]
                assert (await uow.execute("SELECT count(*) FROM tenant_notes")).scalar_one() == 1
        with of("\0"), pytest.raises(Invalid):
            async with UnitOfWork(database):
                await notes.get(80)
        with of("\0"), pytest.raises(Invalid):
            async with UnitOfWork(database):
                await notes.find()
        with of("north"):
            async with UnitOfWork(database):
                assert await notes.get_by_id(80) is None


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_tenant_is_no_part_of_the_sql(tenant: str) -> None:
    form = r"BEGIN; SELECT set_config\('uno\.tenant', convert_from\(decode\('([0-9a-f]*)', 'hex'\), 'UTF8'\), true\)"
    found = re.fullmatch(form, opening(tenant))
    assert found is not None
    assert bytes.fromhex(found[1]).decode() == tenant


async def test_a_session_in_a_transaction_is_told(database: Database) -> None:
    async def work(tenant: str) -> None:
        async with session(database) as one:
            one.add(Note(id=90 + expected(tenant)[0], tenant=tenant))
            await one.flush()
            assert len((await one.scalars(select(Note))).all()) == 3
            assert [x.id for x in (await one.scalars(select(Folder).order_by(Folder.id))).all()] == expected(tenant)

    await both(work)
