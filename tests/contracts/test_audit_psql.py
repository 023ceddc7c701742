"""Raw SQL in `psql` on an audited table leaves audit rows, with the name of who did it."""

import asyncio
import os
import secrets
import subprocess
from collections.abc import AsyncIterator
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
from sqlalchemy import MetaData, text
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.audit import AuditLog, AuditTrail
from uno.data import Database, Model, Repository, UnitOfWork
from uno.data.embedded.binaries import installed


class Base(Model):
    __abstract__ = True
    __audit__ = "trigger"
    metadata: ClassVar[MetaData] = MetaData()


class Ware(Base):
    __tablename__ = "psql_wares"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    pin: Mapped[str | None] = mapped_column(info={"audit": "redact"})


@pytest.fixture
async def database(fresh: Fresh) -> Database:
    return await fresh("postgresql", Base.metadata)


@pytest.fixture
async def clerk(database: Database) -> AsyncIterator[str]:
    """A role that may write the table and nothing else, with its own name as password."""
    name = f"uno_clerk_{secrets.token_hex(4)}"
    async with database.transaction() as transaction:
        await transaction.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'"))
        await transaction.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON psql_wares TO {name}"))
    yield name
    async with database.transaction() as transaction:
        await transaction.execute(text(f"DROP OWNED BY {name}"))
        await transaction.execute(text(f"DROP ROLE {name}"))


async def psql(database: Database, role: str, *lines: str) -> str:
    """What `psql` prints for lines typed into it."""
    url = urlsplit(database.url)
    command = [str(installed() / "bin" / "psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--set=ON_ERROR_STOP=1"]
    there = ["--host", url.hostname or "", "--port", str(url.port), "--username", role, "--dbname", url.path[1:]]
    environment = {**os.environ, "PGPASSWORD": role}
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, *there],
        input="\n".join(lines),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def trail(database: Database) -> list[AuditLog]:
    return await AuditTrail(database).query(component=Ware)


async def test_what_is_typed_into_psql_is_written_down_with_the_role_that_logged_in(
    database: Database, clerk: str
) -> None:
    printed = await psql(
        database,
        clerk,
        "INSERT INTO psql_wares VALUES (1, 'lamp', '1234'), (2, 'desk', NULL);",
        "BEGIN; UPDATE psql_wares SET name = 'light', pin = '4321' WHERE id = 1;",
        "UPDATE psql_wares SET name = 'light' WHERE id = 1; DELETE FROM psql_wares WHERE id = 2; COMMIT;",
        "BEGIN; DELETE FROM psql_wares; ROLLBACK;",
        "SELECT count(*) FROM psql_wares;",
    )
    assert printed.strip() == "1"
    found = await trail(database)
    assert [(one.record_id, one.operation) for one in found] == [
        ("1", "create"), ("2", "create"), ("1", "update"), ("2", "delete"),
    ]  # fmt: skip
    assert found[0].after == {"id": 1, "name": "lamp", "pin": "***"}
    assert (found[2].before, found[2].after) == ({"name": "lamp", "pin": "***"}, {"name": "light", "pin": "***"})
    assert {(one.actor, one.actor_source, one.tenant) for one in found} == {(clerk, "database", None)}
    assert [one.correlation_id for one in found][1:3].count(found[0].correlation_id) == 1
    assert found[2].correlation_id == found[3].correlation_id


async def test_a_session_may_say_who_works_in_it_and_for_how_long(database: Database, clerk: str) -> None:
    await psql(
        database,
        clerk,
        "SET uno.actor = 'ada';",
        "INSERT INTO psql_wares VALUES (1, 'lamp', NULL);",
        """BEGIN; SET LOCAL uno.actor = 'bob'; UPDATE psql_wares SET name = 'a'; COMMIT;""",
        "UPDATE psql_wares SET name = 'b';",
        """SET uno.context = '{"actor": "job-7", "tenant": "north"}'; UPDATE psql_wares SET name = 'c';""",
        "RESET uno.context; RESET uno.actor; TRUNCATE psql_wares;",
    )
    assert [(one.operation, one.actor, one.actor_source, one.tenant) for one in await trail(database)] == [
        ("create", "ada", "setting", None),
        ("update", "bob", "setting", None),
        ("update", "ada", "setting", None),
        ("update", "job-7", "database", "north"),
        ("delete", clerk, "database", None),
    ]


async def test_nobody_may_touch_the_trail_by_the_way(database: Database, clerk: str) -> None:
    await psql(database, clerk, "INSERT INTO psql_wares VALUES (1, 'lamp', NULL);")
    for statement in ("DELETE FROM uno_audit;", "UPDATE uno_audit SET actor = 'eve';", "SELECT * FROM uno_audit;"):
        with pytest.raises(AssertionError, match="permission denied for table uno_audit"):
            await psql(database, clerk, statement)
    with pytest.raises(AssertionError, match="permission denied for function uno_audit_psql_wares|trigger functions"):
        await psql(database, clerk, "SELECT uno_audit_psql_wares();")
    async with UnitOfWork(database):
        await Repository(Ware).update(1, name="light")
    assert [(one.operation, one.actor) for one in await trail(database)] == [("create", clerk), ("update", None)]
