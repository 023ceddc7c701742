"""More that a database refuses: exclusions, read-only servers, missing rights, a newer schema."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text

from uno.data import Database, schema
from uno.errors import Conflict, Misconfigured, Unavailable, UnoError

Fresh = Callable[..., Awaitable[Database]]


async def refused(database: Database, *statements: str, error: type[UnoError]) -> UnoError:
    with pytest.raises(error) as caught:
        async with database.transaction() as transaction:
            for one in statements:
                await transaction.execute(text(one))
    return caught.value


async def test_what_an_exclusion_refuses_is_a_conflict(fresh: Fresh) -> None:
    database = await fresh("postgresql")
    table = "CREATE TABLE stay (nights int4range, CONSTRAINT once EXCLUDE USING gist (nights WITH &&))"
    stays = ["INSERT INTO stay VALUES ('[1,5)')", "INSERT INTO stay VALUES ('[4,6)')"]
    error = await refused(database, table, *stays, error=Conflict)
    assert isinstance(error, Conflict)
    assert (error.constraint, error.repeatable) == ("once", False)


async def test_a_server_that_only_reads_is_unavailable(fresh: Fresh) -> None:
    database = await fresh("postgresql")
    await refused(database, "SET TRANSACTION READ ONLY", "DELETE FROM uno_document", error=Unavailable)


async def test_a_missing_right_is_a_mistake_of_the_set_up(fresh: Fresh) -> None:
    database = await fresh("postgresql")
    statements = "SET LOCAL ROLE pg_read_all_settings", "DELETE FROM uno_document"
    error = await refused(database, *statements, error=Misconfigured)
    assert str(error) == "The user of the database may not do this: permission denied for table uno_document."


async def test_creating_over_a_newer_schema_says_to_upgrade(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend)
    async with database.transaction() as transaction:
        await transaction.execute(text("UPDATE uno_schema SET version_num = '9999'"))
    with pytest.raises(Misconfigured, match=r"uno's schema 9999, newer than this version's .*; upgrade uno\."):
        await schema.create(database)
    assert await schema.current(database) == "9999"
