"""`uno db`: the embedded server on a folder of its own, and the tables in any database."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
from sqlalchemy import inspect

from uno.data import Database


def tables_in(url: str) -> set[str]:
    async def ask() -> set[str]:
        async with Database(url) as database, database.engine.connect() as connection:
            return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))

    return asyncio.run(ask())


async def answer(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SELECT current_database()"))
    finally:
        await connection.close()


def test_the_tables_of_uno_are_created_in_the_database_of_the_settings(uno: Any, url: str) -> None:
    for _ in range(2):
        done = uno("db", "create", UNO_DB_URL=url)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("The tables are there: ")
    assert {"uno_schema", "uno_delivery", "uno_audit"} <= tables_in(url)


def test_the_tables_of_an_application_are_created_with_them(uno: Any, url: str, tmp_path: Path) -> None:
    done = uno("db", "create", "uno.examples.inventory:app", UNO_DB_URL=url)
    assert done.returncode == 0, done.stderr
    assert {"uno_schema", "packages", "licence_checks"} <= tables_in(url)
    assert "password" not in done.stdout


def test_an_application_without_a_database_says_so(uno: Any, tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text("from uno.app import App\napp = App()\n")
    done = uno("db", "create", "bare:app")
    assert (done.returncode, done.stderr) == (1, "uno: bare:app has no database.\n")


def test_nothing_is_created_in_a_database_that_nobody_named(uno: Any) -> None:
    done = uno("db", "create", "uno.examples.inventory:app")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("uno: The application stores data but has no database; set UNO_DB_URL")


def test_an_embedded_server_is_started_found_used_and_stopped(
    uno: Any, background: Any, shop: str, server_folder: Path
) -> None:
    place = ("--data-dir", server_folder)
    before = json.loads(uno("db", "status", *place, "--json").stdout)
    assert (before["running"], before["version"]) == (False, None)
    refused = uno("db", "url", *place)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.endswith(f" is not running; start it with: uno db start --data-dir {server_folder}\n")

    started = uno("db", "start", *place, "--json")
    assert started.returncode == 0, started.stderr
    assert "Initialising PostgreSQL 18" in started.stderr
    port = json.loads(started.stdout)["port"]

    found = json.loads(uno("db", "status", *place, "--json").stdout)
    assert (found["running"], found["kept"], found["port"]) == (True, True, port)
    shown = uno("db", "status", *place).stdout
    assert "yes, kept by uno db start" in shown
    again = uno("db", "start", *place).stdout
    assert f"Its URL, with the password: uno db url --data-dir {server_folder}\n" in again
    url = uno("db", "url", *place).stdout.strip()
    assert asyncio.run(answer(url)) == "uno"

    with background("run", shop, "--port", "0", UNO_DB_URL=f"embedded:{server_folder}") as running:
        address = running.wait_for(r"Serving on (\S+)")[1]
        assert f"Data: embedded PostgreSQL in {server_folder}\n" in running.out
        assert httpx2.post(f"{address}/orders", json={"order_id": "a"}).status_code == 200
        in_use = uno("db", "stop", *place)
        assert in_use.returncode == 1
        assert "is in use" in in_use.stderr
        assert running.stop() == 0

    about = json.loads(uno("doctor", shop, "--json", UNO_DB_URL=f"embedded:{server_folder}").stdout)
    assert about["database"]["embedded"]["kept"] is True
    assert about["deliveries"] == {"ready": 1}

    assert uno("db", "stop", *place).stdout == "PostgreSQL is stopped.\n"
    assert uno("db", "stop", *place).stdout == "PostgreSQL was not running.\n"
