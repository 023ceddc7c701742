"""What is marked, hidden, or called like a secret is not written down."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.audit import AuditBook, AuditTrail
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot
from uno.errors import Misconfigured
from uno.redact import Redacted


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Account(VersionMixin, Base):
    __tablename__ = "marked_accounts"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    iban: Mapped[str | None] = mapped_column("account_iban", info={"audit": "redact"})
    password_hash: Mapped[str | None]
    margin: Mapped[int | None] = mapped_column(info={"hidden": True})
    token: Mapped[str | None] = mapped_column(info={"audit": True})
    visits: Mapped[int] = mapped_column(default=0, info={"audit": False})


class Session(Base):
    __tablename__ = "marked_sessions"
    __audit__ = False
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


@dataclass(eq=False)
class Patient(AggregateRoot[str]):
    id: str
    name: str = ""
    diagnosis: Annotated[str | None, Redacted] = None
    api_key: str | None = None


@dataclass(eq=False)
class Draft(AggregateRoot[str]):
    id: str
    text: str = ""
    __audit__ = False


@pytest.fixture(params=["auto", "session"])
async def database(fresh: Fresh, backend: str, request: pytest.FixtureRequest) -> Database:
    return await fresh(backend, Base.metadata, commit=request.param)


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=[AuditBook()])


async def images(database: Database, component: Any) -> list[tuple[Any, Any]]:
    return [(entry.before, entry.after) for entry in await AuditTrail(database).query(component=component)]


async def test_a_redacted_column_shows_that_it_changed(database: Database) -> None:
    values: dict[str, Any] = {
        "name": "Ada",
        "iban": "DE1",
        "password_hash": "h1",
        "margin": 3,
        "token": "t",
        "visits": 1,
    }
    async with unit(database):
        await Repository(Account).add(Account(id=1, **values))
    async with unit(database):
        account = await Repository(Account).get(1)
        account.iban, account.password_hash, account.margin, account.visits = "DE2", None, 4, 2
    created, updated = await images(database, Account)
    shown = {"iban": "***", "password_hash": "***", "margin": "***", "token": "t", "name": "Ada", "id": 1}
    assert created == (None, shown)
    before = {"iban": "***", "password_hash": "***", "margin": "***"}
    assert updated == (before, before | {"password_hash": None})


async def test_what_is_left_out_is_no_change(database: Database) -> None:
    async with unit(database):
        await Repository(Account).add(Account(id=1, name="Ada"))
        await Repository(Session).add(Session(id=1))
        await Repository(Draft).add(Draft("d", "secret plans"))
    async with unit(database):
        (await Repository(Account).get(1)).visits += 1
        (await Repository(Draft).get("d")).text = "others"
    assert [entry.component for entry in await AuditTrail(database).query()] == ["Account"]
    async with unit(database):
        assert (await Repository(Account).get(1)).visits == 1


async def test_an_attribute_of_a_document_is_redacted_by_its_annotation_or_its_name(database: Database) -> None:
    async with unit(database):
        await Repository(Patient).add(Patient("p", "Bob", "flu", "k"))
    async with unit(database):
        (await Repository(Patient).get("p")).diagnosis = "cold"
    [created, updated] = await images(database, Patient)
    assert created == (None, {"name": "Bob", "diagnosis": "***", "api_key": "***"})
    assert updated == ({"diagnosis": "***"}, {"diagnosis": "***"})
    trail = AuditTrail(database)
    [*_, last] = await trail.history(Patient, "p")
    assert await trail.as_of(Patient, "p", last.timestamp) == created[1]


async def test_a_mark_that_is_none_is_an_error(fresh: Fresh) -> None:
    class Wrong(Model):
        __tablename__ = "marked_wrongly"
        metadata = MetaData()
        id: Mapped[int] = mapped_column(primary_key=True, info={"audit": "reduct"})

    class Odd(AggregateRoot[str]):
        __audit__ = "maybe"

    class Triggered(AggregateRoot[str]):
        __audit__ = "trigger"

    database = await fresh("sqlite")
    for cls, said in (
        (Wrong, r'Wrong.id: info={"audit": …} is True, False or "redact", not \'reduct\''),
        (Odd, r'Odd.__audit__ is True, False or "trigger", not \'maybe\''),
        (Triggered, "Triggered is stored as a document, which no trigger writes down"),
    ):
        with pytest.raises(Misconfigured, match=said):
            database.plan(cls)
