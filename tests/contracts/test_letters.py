"""Letters have the same case in Python, on SQLite and on PostgreSQL."""

import asyncio
import sys
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from sqlalchemy import JSON, MetaData, text
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.data import Database, Filter, Model, Repository, UnitOfWork
from uno.data.letters import small
from uno.domain import AggregateRoot

TEXTS = [
    *("", "a", "A", "Straße", "STRASSE", "STRAẞE", "Äpfel", "äpfel", "A\u0308pfel", "Öl%", "öl_", "ÖL\\\\"),
    *("ΟΔΟΣ", "οδος", "οδοσ", "İzmir", "izmir", "Izmir", "ızmir", "ЖУК", "жук", "\u212a", "k", "Ǆ", "ǅ", "ǆ"),
    *("𐐀", "𐐨", "Ａ", "ａ", "Ⅷ", "ⅷ", "日本", "é", "É", "ΌΣΑ", "όσα"),
]


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Word(Base):
    __tablename__ = "letters_words"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


@dataclass
class Note(AggregateRoot[int]):
    id: int
    name: str | None = None


@pytest.fixture
async def database(fresh: Fresh, backend: str) -> Database:
    made = await fresh(backend, Base.metadata)
    async with UnitOfWork(made):
        for id, name in enumerate([*TEXTS, None]):
            await Repository(Word).add(Word(id=id, name=name, data={"name": name}))
            await Repository(Note).add(Note(id=id, name=name))
    return made


FEW = ["A", "ß", "ÄPFEL", "οδος", "Σ", "İ", "I", "K", "ǅ", "%", ""]


async def test_the_same_is_found_as_in_python(database: Database) -> None:
    asked = [("name__icontains", value) for value in TEXTS]
    asked += product(("name__istarts_with", "name__iends_with", "data.name__icontains"), FEW)
    async with UnitOfWork(database):
        words = await Repository(Word).find(sort="id")
        for key, value in asked:
            wanted = Filter(**{key: value})
            found = await Repository(Word).find(wanted, sort="id")
            assert [w.name for w in found] == [w.name for w in words if wanted.fits(w)], (key, value)


async def test_the_same_documents_are_found(database: Database) -> None:
    async with UnitOfWork(database):
        notes = await Repository(Note).find()
        for value in FEW:
            wanted = Filter(name__icontains=value)
            assert {n.id for n in await Repository(Note).find(wanted)} == {n.id for n in notes if wanted.fits(n)}, value


async def test_what_people_expect(database: Database) -> None:
    async with UnitOfWork(database):
        for value, names in {"ÄPFEL": ["Äpfel", "äpfel"], "straße": ["Straße", "STRAẞE"], "öL": ["Öl%", "öl_"]}.items():
            found = await Repository(Word).find(name__istarts_with=value, sort="id")
            assert [w.name for w in found][: len(names)] == names
        assert [w.name for w in await Repository(Word).find(name__iends_with="Жук", sort="id")] == ["ЖУК", "жук"]


async def test_so_it_is_in_every_connection(fresh: Fresh) -> None:
    """Also where several are open at once."""
    database = await fresh("sqlite", Base.metadata)

    async def found(name: str) -> Any:
        async with UnitOfWork(database):
            return await Repository(Word).count(name__icontains=name)

    async with UnitOfWork(database):
        await Repository(Word).add(Word(id=1, name="Äpfel"))
    assert await asyncio.gather(*(found("äPF") for _ in range(4))) == [1] * 4


async def test_what_is_no_text_in_a_column_of_texts(fresh: Fresh) -> None:
    """SQLite stores anything anywhere."""
    database = await fresh("sqlite", Base.metadata)
    async with database.transaction() as transaction:
        await transaction.execute(
            text("INSERT INTO letters_words (id, name, data) VALUES (1, x'4100', '{}'), (2, 'A', '{}')")
        )
    async with UnitOfWork(database):
        assert await Repository(Word).count(name__iends_with="a") == 1


def test_each_letter_stays_one() -> None:
    every = "".join(chr(n) for n in range(sys.maxunicode + 1) if not 0xD800 <= n < 0xE000)
    assert len(small(every)) == len(every)
    assert all(len(small(one)) == 1 for one in every)
    assert small(every) == "".join(map(small, every))
