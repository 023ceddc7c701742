"""What it costs to tell tenants apart, and whatever else there is beside units of work."""

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from sqlalchemy import event, func, literal_column, select, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from tests.contracts.conftest import Fresh
from tests.contracts.tenants import (
    Base,
    Folder,
    Note,
    Town,
    both,
    everything,
    expected,
    folders,
    member,
    notes,
    of,
    run,
    towns,
)

from uno.audit import AuditBook, AuditLog, AuditTrail
from uno.cli.doctor import unprotected
from uno.data import Database, Repository, UnitOfWork
from uno.data.lease import Lease
from uno.data.rendered import Renderer
from uno.settings import DatabaseSettings

ROUNDS = 10


class Counted:
    """The statements of a database, and how many were in a lease of a tenant."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.leases: list[str] = []


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    found, fetch_of, fetch = Counted(), Lease.fetch_of, Lease.fetch

    async def of_tenant(self: Any, tenant: str, *more: Any) -> Any:
        found.leases.append(tenant)
        return await fetch_of(self, tenant, *more)

    async def plain(self: Any, prepared: Any, parameters: Any) -> Any:
        found.statements.append(prepared.sql)
        return await fetch(self, prepared, parameters)

    monkeypatch.setattr(Lease, "fetch_of", of_tenant)
    monkeypatch.setattr(Lease, "fetch", plain)
    return found


async def test_tables_without_policies_cost_what_they_did(tenant_url: str, counted: Counted) -> None:
    async with Database(tenant_url) as database:

        def note(_c: Any, _u: Any, sql: str, *_: Any) -> None:
            counted.statements.append(sql)

        event.listen(database.engine.sync_engine, "before_cursor_execute", note)
        renderer = Renderer(database.plan(Town), ["id", "name", "version"], "postgresql")  # type: ignore[arg-type]
        with of("north"):
            async with UnitOfWork(database) as uow:
                await towns.get(1)
                await renderer.one(uow, 1)
                assert len(counted.statements) == 2
                await towns.find(name="Bonn")
                await towns.count()
                await uow.execute(select(Town.id))
                assert len(counted.statements) == 5
                assert not counted.leases
            # Text may call whatever it does not name.
            async with UnitOfWork(database) as uow:
                await uow.execute("SELECT id FROM tenant_towns")
                assert len(counted.statements) == 7
            async with UnitOfWork(database):
                await notes.get(1)
                assert counted.leases == ["north"]
                await notes.find()
                assert counted.leases == ["north"] * 2
        assert sum("set_config" in one for one in counted.statements) == 1
        with of(None):
            counted.statements.clear()
            async with UnitOfWork(database):
                await notes.get_by_id(1)
                await notes.find()
            assert len(counted.statements) == 2
            assert counted.leases == ["north"] * 2


async def test_a_database_without_policies_is_never_told_a_tenant(fresh: Fresh, counted: Counted) -> None:
    database = await fresh("postgresql", Base.metadata)

    def note(_c: Any, _u: Any, sql: str, *_: Any) -> None:
        counted.statements.append(sql)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    with of("north"):
        async with UnitOfWork(database) as uow:
            await notes.add(Note(id=1))
            await folders.add(Folder(id=1, tenant="x"))
            await uow.flush()
            await notes.find()
            await uow.execute("SELECT count(*) FROM tenant_notes")
        async with UnitOfWork(database) as uow:
            await uow.execute("SELECT count(*) FROM tenant_notes")
            await notes.get(1)
    assert not any("set_config" in one for one in counted.statements)
    assert not counted.leases
    assert not database.tenants.possible


async def test_a_view_shows_what_its_tenant_may_see(tenant_url: str, tenant_owner: Database) -> None:
    await run(
        tenant_owner.dsn.partition("?")[0],
        "CREATE VIEW tenant_texts WITH (security_invoker) AS SELECT id, text FROM tenant_notes",
        "CREATE VIEW tenant_long AS SELECT * FROM tenant_texts",
        "GRANT SELECT ON tenant_texts, tenant_long TO PUBLIC",
    )
    async with Database(tenant_url) as database:
        await database.restricted_tables()
        with of("south"):
            found = await database.query(
                select(literal_column("id")).select_from(text("tenant_texts")).order_by(text("1"))
            )
            assert [row[0] for row in found] == [11, 12]
        assert database.tenants.in_text("SELECT * FROM tenant_long")
        assert not database.tenants.in_text("SELECT * FROM tenant_longer, tenant_towns")


async def test_the_replica_tells_tenants_apart_too(tenant_url: str) -> None:
    settings = DatabaseSettings(replica_url=SecretStr(tenant_url))
    async with Database(tenant_url, settings=settings) as database:

        async def work(tenant: str) -> None:
            async with UnitOfWork(database, read_only=True) as uow:
                assert uow.reading is database.replica
                assert (await notes.get(expected(tenant)[0])).tenant == tenant
                for found in await everything(uow, expected(tenant)[0]):
                    assert found == expected(tenant)

        for _ in range(ROUNDS):
            await both(work)


async def test_repositories_over_sessions_of_ones_own_tell_tenants_apart(tenant_url: str) -> None:
    engine = create_async_engine(tenant_url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=1)
    alone = Repository(Note, session_factory=async_sessionmaker(engine))
    twice = Repository(Folder, session_factory=async_sessionmaker(engine))

    async def work(tenant: str) -> None:
        assert [one.id for one in await alone.find(sort="id")] == expected(tenant)
        assert [one.id async for one in alone.stream(sort="id")] == expected(tenant)
        assert [one.id for one in await twice.find(sort="id")] == expected(tenant)
        await alone.add(Note(id=90 + expected(tenant)[0], tenant=tenant))
        assert await alone.count() == 3

    try:
        await both(work)
        # What is done with the engine itself is theirs.
        with of("north"):
            async with engine.connect() as connection:
                assert (await connection.execute(text("SELECT count(*) FROM tenant_notes"))).scalar_one() == 0
    finally:
        await engine.dispose()


async def test_the_trail_may_have_policies_too(tenant_url: str, tenant_owner: Database) -> None:
    await run(
        tenant_owner.dsn.partition("?")[0],
        "ALTER TABLE uno_audit ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON uno_audit USING (tenant = current_setting('uno.tenant', true))",
    )
    async with Database(tenant_url) as database:

        async def work(tenant: str) -> list[AuditLog]:
            for key in (1, 2):
                async with UnitOfWork(database, books=[AuditBook()]):
                    # Its own table has none.
                    await towns.add(Town(id=key + expected(tenant)[0]))
            return await AuditTrail(database).query()

        for tenant, found in zip(("north", "south"), await both(work), strict=True):
            assert [one.tenant for one in found] == [tenant, tenant]
        assert await AuditTrail(database).query() == []


async def test_synchronous_code_is_of_a_tenant_too(tenant_url: str) -> None:
    def work() -> None:
        with Database(tenant_url).blocking as blocking:
            for tenant in ("north", "south") * 3:
                with of(tenant):
                    with blocking.transaction() as uow:
                        repository = uow.repository(Note)
                        assert [one.id for one in repository.find(sort="id")] == expected(tenant)
                        assert [one.id for one in repository.stream(sort="id", batch=1)] == expected(tenant)
                        repository.get(expected(tenant)[0]).text = "sync"
                    with blocking.unit_of_work() as uow:
                        assert uow.repository(Note).get(expected(tenant)[0]).text == "sync"
                        assert uow.repository(Note).count() == 2
                    assert list(blocking.execute("SELECT id FROM tenant_notes ORDER BY id").scalars()) == expected(
                        tenant
                    )
                    with blocking.session() as found:
                        assert found.scalar(select(func.count()).select_from(Folder)) == 2
            assert blocking.execute("SELECT count(*) FROM tenant_notes").scalar_one() == 0

    await asyncio.to_thread(work)


async def test_tables_that_got_policies_later_show_nothing_until_it_is_known(tenant_owner: Database) -> None:
    async with member(tenant_owner.dsn, "tenant_sheets") as url, Database(url) as database:
        await database.restricted_tables()
        await run(tenant_owner.dsn.partition("?")[0], "ALTER TABLE tenant_notes ENABLE ROW LEVEL SECURITY")
        await run(
            tenant_owner.dsn.partition("?")[0],
            "CREATE POLICY own ON tenant_notes USING (tenant = current_setting('uno.tenant', true))",
        )
        with of("north"):
            async with UnitOfWork(database):
                assert await notes.get_by_id(1) is None
            database.forget_tables()
            async with UnitOfWork(database):
                assert (await notes.get(1)).tenant == "north"


async def test_the_doctor_knows_for_whom_policies_do_not_hold(tenant_owner: Database, tenant_url: str) -> None:
    async def told() -> list[str]:
        async with Database(tenant_url) as database:
            return await unprotected(database)

    role, admin = urlsplit(tenant_url).username, tenant_owner.dsn.partition("?")[0]
    assert await told() == []
    assert len(await unprotected(tenant_owner)) == 3
    assert "which is a superuser; let the application connect as" in (await unprotected(tenant_owner))[0]
    await run(admin, f"ALTER ROLE {role} BYPASSRLS")
    assert [f"role {role}, which has BYPASSRLS;" in one for one in await told()] == [True] * 3
    await run(admin, f"ALTER ROLE {role} NOBYPASSRLS", f"ALTER TABLE tenant_notes OWNER TO {role}")
    assert await told() == [
        f"The row-level security of public.tenant_notes does not hold for the role {role}, which owns it; "
        "ALTER TABLE public.tenant_notes FORCE ROW LEVEL SECURITY, or connect as another role."
    ]
    await run(admin, "ALTER TABLE tenant_notes FORCE ROW LEVEL SECURITY")
    assert await told() == []
