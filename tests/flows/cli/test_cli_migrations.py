"""`uno db revision`, `upgrade`, `downgrade`, `history`, `diff`, `check`: tables as they change."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text

from uno.data import Database

PREAMBLE = """
import enum
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Integer, LargeBinary, Numeric, String, func, text, true
from sqlalchemy.orm import Mapped, mapped_column

from uno import App, Model, Module, TimestampMixin, UUIDMixin, VersionMixin
from uno.data import SoftDeleteMixin, ULIDMixin, UtcDateTime

class Mood(enum.Enum):
    good = "good"
    bad = "bad"
"""
FIRST = """
class Customer(UUIDMixin, TimestampMixin, VersionMixin, SoftDeleteMixin, Model):
    __tablename__ = "customers"
    __table_args__ = (CheckConstraint("points >= 0", name="positive"),)
    email: Mapped[str] = mapped_column(unique=True)
    city: Mapped[str] = mapped_column(server_default="")
    seen: Mapped[datetime] = mapped_column(server_default=func.now())
    active: Mapped[bool] = mapped_column(server_default=true())
    points: Mapped[int] = mapped_column(server_default="0", index=True)
    balance: Mapped[Decimal] = mapped_column(Numeric(12, 2), server_default=text("0"))
    extra: Mapped[dict[str, Any]]
    tags: Mapped[list[str]]
    picture: Mapped[bytes | None]
    nick: Mapped[str | None] = mapped_column(String(30))
    mood: Mapped[Mood | None]

class Order(ULIDMixin, Model):
    __tablename__ = "orders"
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customers.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(unique=True)
    total: Mapped[int]
    ratio: Mapped[float]
"""
SECOND = (
    FIRST.replace(
        "String(30))", "String(60), unique=True)\n    born: Mapped[datetime | None] = mapped_column(index=True)"
    )
    .replace("total: Mapped[int]", "total: Mapped[Decimal] = mapped_column(Numeric(10, 2))")
    .replace("class Order(ULIDMixin", "class Order(ULIDMixin, SoftDeleteMixin")
)
APP = """
def app() -> App:
    return App(Module("shop", models=[MODELS]))
"""
NOTE = """
class Note(ULIDMixin, Model):
    __tablename__ = "notes"
    text: Mapped[str]
"""
Models = Callable[..., str]


@pytest.fixture
def models(tmp_path: Path) -> Models:
    """`models(FIRST, "Customer, Order")` is the reference of an application that has them now."""

    def write(body: str, names: str, *, app: str = APP, file: str = "shop") -> str:
        (tmp_path / f"{file}.py").write_text(PREAMBLE + body + app.replace("MODELS", names))
        return f"{file}:app"

    return write


@pytest.fixture
def ask(uno: Any, url: str) -> Callable[..., str]:
    """What `uno db …` prints, when it ends well."""

    def run(*arguments: str) -> str:
        done = uno("db", *arguments, UNO_DB_URL=url)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    return run


@pytest.fixture
def refused(uno: Any, url: str) -> Callable[..., str]:
    """What is said of something that fails: one sentence."""

    def run(*arguments: str, **variables: str) -> str:
        done = uno(*arguments, UNO_DB_URL=url, **variables)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("uno: ")
        assert done.stderr.count("\n") == 1, done.stderr
        return str(done.stderr).removeprefix("uno: ").strip()

    return run


def rows(url: str, *statements: str) -> list[Any]:
    """The rows of the last of them."""

    async def run() -> list[Any]:
        async with Database(url) as database, database.transaction() as transaction:
            for one in statements:
                result = await transaction.execute(text(one))
            return list(result) if result.returns_rows else []

    return asyncio.run(run())


def tables(url: str) -> set[str]:
    async def look() -> set[str]:
        async with Database(url) as database, database.transaction() as transaction:
            return set(await transaction.connection.run_sync(lambda c: inspect(c).get_table_names()))

    return asyncio.run(look())


def added(folder: Path, after: str | None, upgrade: str) -> None:
    """A migration written by hand, called `hand`."""
    (folder / "versions" / "hand.py").write_text(
        f"import sqlalchemy as sa\nfrom alembic import op\nrevision = 'hand'\ndown_revision = {after!r}\n"
        f"def upgrade() -> None:\n    {upgrade}\ndef downgrade() -> None:\n    pass\n"
    )


def test_models_change_and_the_database_follows_forward_and_back(
    ask: Any, models: Models, url: str, uno: Any, tmp_path: Path
) -> None:
    app = models(FIRST, "Customer, Order")
    assert "Written, to be read" in ask("revision", app, "-m", "first")
    assert ask("upgrade", app, "--json").count('"') == 2
    assert ask("check", app) == "Nothing differs.\n"
    rows(
        url,
        "INSERT INTO customers (id, email, extra, tags, created_at, updated_at, version) VALUES "
        "('018f0000000070008000000000000001', 'ada', '{}', '[]', '2026-01-01', '2026-01-01', 1)",
        "INSERT INTO orders (id, customer_id, number, total, ratio) "
        "VALUES ('o', '018f0000000070008000000000000001', 1, 5, 0.5)",
    )

    app = models(SECOND, "Customer, Order")
    lines = ask("diff", app).splitlines()
    assert "~ type of orders.total: INTEGER → NUMERIC(10, 2)" in lines
    assert "~ type of customers.nick: VARCHAR(30) → VARCHAR(60)" in lines
    assert "+ index uq_customers_nick of customers (nick)" in lines
    assert "+ index uq_orders_number of orders (number)" in lines
    assert uno("db", "check", app, UNO_DB_URL=url).returncode == 1
    changes = {(one["change"], one["table"], one["name"]) for one in json.loads(ask("diff", app, "--json"))}
    assert ("add_column", "customers", "born") in changes

    ask("revision", app, "-m", "second")
    ask("upgrade", app)
    assert ask("check", app) == "Nothing differs.\n"
    assert ask("revision", app, "-m", "none").startswith("Nothing differs")
    # SQLite copies a table to change it; what refers to it, and its own rows, are still there.
    assert rows(url, "SELECT email FROM customers JOIN orders ON customer_id = customers.id") == [("ada",)]
    history = json.loads(ask("history", app, "--json"))
    assert [(one["message"], one["applied"]) for one in history] == [("second", True), ("first", True)]
    ask("downgrade", app, "-1")
    assert [one["applied"] for one in json.loads(ask("history", app, "--json"))] == [False, True]
    assert rows(url, "SELECT total FROM orders") == [(5,)]
    ask("downgrade", app, "base")
    assert not {"customers", "orders"} & tables(url)
    ask("upgrade", app)
    assert ask("check", app) == "Nothing differs.\n"


def test_two_who_upgrade_at_once_take_turns(ask: Any, models: Models, url: str, tmp_path: Path) -> None:
    app = models(NOTE, "Note")
    ask("revision", app, "-m", "first")
    ask("upgrade", app)
    revision = json.loads(ask("history", app, "--json"))[0]["revision"]
    added(tmp_path / "migrations", revision, "op.execute('CREATE TABLE once (a int)')")
    command = [sys.executable, "-m", "uno.cli", "db", "upgrade", app, "--json"]
    told = os.environ | {"UNO_DB_URL": url}
    started = [subprocess.Popen(command, cwd=tmp_path, env=told, stdout=subprocess.PIPE) for _ in range(3)]
    printed = [one.communicate(timeout=120)[0] for one in started]
    assert [one.returncode for one in started] == [0, 0, 0]
    assert sorted(json.loads(one) for one in printed) == [[], [], ["hand"]]


def test_an_application_does_not_start_on_a_database_that_is_behind(
    ask: Any, refused: Any, uno: Any, models: Models, url: str, tmp_path: Path
) -> None:
    app = models(NOTE, "Note")
    ask("revision", app, "-m", "first")
    ask("upgrade", app)
    revision = json.loads(ask("history", app, "--json"))[0]["revision"]
    added(tmp_path / "migrations", revision, "pass")
    behind = f"The database is at revision {revision}, and its migrations lead to hand; run: uno db upgrade"
    assert refused("worker", app) == f"{behind} PACKAGE:APP"
    assert refused("db", "check", app) == f"{behind} {app}"
    assert refused("db", "revision", app, "-m", "more") == f"{behind} {app}"
    doctor = uno("doctor", app, "--json", UNO_DB_URL=url)
    assert json.loads(doctor.stdout)["problems"] == [f"{behind} PACKAGE:APP"]
    rows(url, "UPDATE alembic_version SET version_num = 'later'")
    assert "at revision later, which is not in " in refused("worker", app)
    rows(url, "DELETE FROM alembic_version")
    assert "The database has none of the migrations in " in refused("worker", app)


def test_upgrading_makes_the_triggers_that_checking_misses(ask: Any, uno: Any, models: Models, url: str) -> None:
    app = models(NOTE, "Note")
    ask("revision", app, "-m", "first")
    ask("upgrade", app)
    for body, sign, why in (
        (NOTE + '    __audit__ = "trigger"\n', "+", "missing, disabled, or not those of its class"),
        (NOTE, "-", 'its class does not say __audit__ = "trigger"'),
    ):
        models(body, "Note")
        if url.startswith("postgresql"):
            done = uno("db", "check", app, UNO_DB_URL=url)
            said = f"{sign} triggers that audit notes: {why}; run: uno db upgrade {app}\n"
            assert (done.returncode, done.stdout) == (1, said)
        assert ask("upgrade", app) == "The database has all migrations.\n"
        assert ask("check", app) == "Nothing differs.\n"


def test_rows_without_a_value_for_a_new_column_are_told_in_a_sentence(
    ask: Any, refused: Any, models: Models, url: str
) -> None:
    app = models(NOTE, "Note")
    ask("revision", app, "-m", "first")
    ask("upgrade", app)
    rows(url, "INSERT INTO notes (id, text) VALUES ('018f0000000070008000000000000001', 'a')")
    models(NOTE + "    city: Mapped[str]\n", "Note")
    ask("revision", app, "-m", "second")
    assert refused("db", "upgrade", app).startswith("The column city of notes is to be NOT NULL, and the rows that")
    assert len(rows(url, "SELECT id, text FROM notes")) == 1


def test_what_is_wrong_with_the_folder_is_said_in_a_sentence(
    ask: Any, refused: Any, uno: Any, models: Models, tmp_path: Path
) -> None:
    app = models(NOTE, "Note")
    nowhere = refused("db", "upgrade", app)
    assert nowhere.startswith("There is no ")
    assert nowhere.endswith("env.py; make it with: uno db revision PACKAGE:APP -m MESSAGE")
    ask("revision", app, "-m", "first")
    assert "There is no revision 'abc' in " in refused("db", "upgrade", app, "abc")
    other = models(NOTE, "Note", file="blog")
    assert refused("db", "upgrade", other).startswith("migrations here has the migrations of shop:app; name another")
    elsewhere = models(NOTE, "Note", file="blog", app=APP.replace(")\n", ", migrations='own')\n"))
    ask("revision", elsewhere, "-m", "first")
    assert len(list((tmp_path / "own" / "versions").glob("*_first.py"))) == 1

    done = uno("db", "upgrade", app)
    assert done.returncode == 1
    assert "UNO_DB_URL" in done.stderr or "no database" in done.stderr


def test_alembics_own_command_does_the_same(ask: Any, models: Models, url: str, tmp_path: Path) -> None:
    app = models(FIRST, "Customer, Order")
    ask("revision", app, "-m", "first")
    told = os.environ | {"UNO_DB_URL": url}

    def alembic(*arguments: str) -> str:
        command = [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=told, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "CREATE TABLE customers" in alembic("upgrade", "head", "--sql")
    alembic("upgrade", "head")
    ask("create")  # uno's own tables
    assert ask("check", app) == "Nothing differs.\n"
    assert "No new upgrade operations" in alembic("check")
    models(FIRST + NOTE, "Customer, Order, Note")
    alembic("revision", "--autogenerate", "-m", "second")
    assert "Applied " in ask("upgrade", app)
    assert ask("check", app) == "Nothing differs.\n"
