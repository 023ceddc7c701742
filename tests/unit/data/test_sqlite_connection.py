"""The SQLite connections that the pool holds."""

import sqlite3
from pathlib import Path

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
