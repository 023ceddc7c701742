"""The SQLite connections that the pool holds."""

import asyncio
import sqlite3
from pathlib import Path

from uno.data import Database
from uno.data.sqlite import SqliteConnection


def test_a_connection_may_be_closed_twice_and_ends_its_transaction(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    connection = sqlite3.connect(file, isolation_level=None, factory=SqliteConnection)
    connection.execute("CREATE TABLE t (n)")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.close()
    connection.close()
    with sqlite3.connect(file) as other:
        assert other.execute("SELECT count(*) FROM t").fetchone() == (0,)
    other.close()


async def test_many_may_open_a_new_file_at_the_same_moment(tmp_path: Path) -> None:
    async def open_and_ask(file: Path) -> None:
        async with Database(f"sqlite:///{file}") as database:
            await database.ping()

    for number in range(8):
        await asyncio.gather(*(open_and_ask(tmp_path / f"{number}.db") for _ in range(8)))
