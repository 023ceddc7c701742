"""What migrations of PostgreSQL have and others have not: types of their own, indexes made beside the traffic."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

APP = """
import enum
from uno import App, Model, Module
from uno.data import ULIDMixin
from sqlalchemy import ARRAY, Enum
from sqlalchemy.orm import Mapped, mapped_column

class Mood(enum.Enum):
    good = "good"
    bad = "bad"

class Note(ULIDMixin, Model):
    __tablename__ = "notes"
    mood: Mapped[Mood]

class Diary(ULIDMixin, Model):
    __tablename__ = "diaries"
    moods: Mapped[list[Mood]] = mapped_column(ARRAY(Enum(Mood)))

def app() -> App:
    return App(Module("diary", models=[Note, Diary]))
"""


@pytest.fixture
def ask(uno: Any, postgres: Any, tmp_path: Path) -> Any:
    url = asyncio.run(postgres.create())
    (tmp_path / "diary.py").write_text(APP)

    def run(verb: str, *arguments: str) -> str:
        done = uno("db", verb, "diary:app", *arguments, UNO_DB_URL=url)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    run.url = url  # type: ignore[attr-defined]
    return run


def test_an_enumerated_type_comes_grows_and_goes_with_its_columns(ask: Any, tmp_path: Path) -> None:
    program = tmp_path / "diary.py"
    ask("revision", "-m", "first")
    for _ in range(2):
        ask("upgrade")
        assert ask("check") == "Nothing differs.\n"
        ask("downgrade", "base")
    ask("upgrade")
    program.write_text(APP.replace('bad = "bad"', 'bad = "bad"\n    dull = "it\'s dull"'))
    assert ask("diff") == "+ value mood: 'dull'\n"
    ask("revision", "-m", "grown")
    for _ in range(2):
        ask("upgrade")
        assert ask("check") == "Nothing differs.\n"
        ask("downgrade", "-1")
    ask("upgrade")
    program.write_text(
        APP.replace("mood: Mapped[Mood]", "text: Mapped[str]").replace(
            "moods: Mapped[list[Mood]] = ", "n: Mapped[int] #"
        )
    )
    assert "- type mood: 'good', 'bad', 'dull'" in ask("diff").splitlines()
    ask("revision", "-m", "gone")
    ask("upgrade")
    assert ask("check") == "Nothing differs.\n"
    ask("downgrade", "base")


def test_an_index_may_be_made_concurrently_and_take_longer_than_a_request(ask: Any, tmp_path: Path) -> None:
    ask("revision", "-m", "first")
    ask("revision", "-m", "index", "--empty")
    (written,) = (tmp_path / "migrations" / "versions").glob("*_index.py")
    written.write_text(
        written.read_text().replace(
            "pass",
            'assert op.get_bind().exec_driver_sql("SHOW statement_timeout").scalar() == "0"\n'
            "    with op.get_context().autocommit_block():\n"
            '        op.create_index("ix_mood", "notes", ["mood"], postgresql_concurrently=True)',
            1,
        )
    )
    assert len(json.loads(ask("upgrade", "--json"))) == 2

    async def indexes() -> list[str]:
        connection = await asyncpg.connect(ask.url)
        try:
            found = await connection.fetch("SELECT indexname FROM pg_indexes WHERE tablename = 'notes'")
        finally:
            await connection.close()
        return [row[0] for row in found]

    assert "ix_mood" in asyncio.run(indexes())
