"""One thing stored in each way: as a row, as a row with parts that SQLAlchemy's session writes, as a document."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, String
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.contracts.conftest import Fresh

from uno.audit import AuditBook
from uno.data import Changes, Database, Model, Repository, SoftDeleteMixin, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot
from uno.messages import DomainEvent

FORMS = ("postgresql auto", "postgresql session", "sqlite auto", "sqlite session")


class Base(Model):
    __abstract__ = True
    metadata = MetaData()
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    name: Mapped[str] = mapped_column(default="")


class Row(VersionMixin, SoftDeleteMixin, Base, AggregateRoot[str]):
    __tablename__ = "thing_row"


class Rich(VersionMixin, SoftDeleteMixin, Base, AggregateRoot[str]):
    """Its relationship makes it a class of SQLAlchemy's session."""

    __tablename__ = "thing_rich"
    parts: Mapped[list["ThingPart"]] = relationship(cascade="all, delete-orphan", lazy="selectin")


class ThingPart(Base):
    __tablename__ = "thing_part"
    rich_id: Mapped[str | None] = mapped_column(ForeignKey("thing_rich.id"))


class Note(SoftDeleteMixin, Base):
    """It has no version, so nobody knows whether it is stale."""

    __tablename__ = "thing_note"


@dataclass(eq=False)
class Paper(AggregateRoot[str]):
    id: str
    name: str = ""
    deleted_at: datetime | None = None


EACH = [(form, cls) for form in FORMS for cls in (Row, Rich, Paper)]


class Shelf:
    """A database with a thing in it, what its hooks did, and the events that went out."""

    def __init__(self, database: Database, cls: Any) -> None:
        self.database = database
        self.cls = cls
        self.ran: list[str] = []
        self.told: list[DomainEvent] = []

    @classmethod
    async def made(cls, request: pytest.FixtureRequest, fresh: Fresh) -> Any:
        form, stored = request.param
        backend, commit = form.split()
        shelf = cls(await fresh(backend, Base.metadata, commit=commit), stored)
        async with shelf.unit():
            await shelf.things.add(stored(id="a", name="old"))
        return shelf

    @property
    def things(self) -> Repository[Any]:
        return Repository(self.cls)

    def unit(self) -> UnitOfWork:
        async def after(changes: Changes) -> None:
            self.told.extend(changes.events)

        return UnitOfWork(self.database, books=[AuditBook()], after=[after])
