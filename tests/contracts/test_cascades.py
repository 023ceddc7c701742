"""What foreign keys do in the database is not in the audit trail, and said so; what else does it, is."""

import logging
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.contracts.conftest import Fresh

from uno import App, Module
from uno.audit import AuditBook, AuditTrail
from uno.cli.doctor import _unaudited
from uno.data import Model, Repository, UnitOfWork


def key() -> Any:
    return mapped_column(primary_key=True, autoincrement=False)


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class CascadingParent(Base):
    __tablename__ = "cascading"
    id: Mapped[int] = key()
    lines: Mapped[list["CascadingLine"]] = relationship(cascade="all, delete-orphan")
    notes: Mapped[list["CascadingNote"]] = relationship()
    late: Mapped[list["CascadingLate"]] = relationship(cascade="all, delete-orphan", passive_deletes=True)


class CascadingLine(Base):
    __tablename__ = "cascading_lines"
    id: Mapped[int] = key()
    parent_id: Mapped[int] = mapped_column(ForeignKey("cascading.id", ondelete="CASCADE"))


class CascadingNote(Base):
    __tablename__ = "cascading_notes"
    id: Mapped[int] = key()
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("cascading.id", ondelete="SET NULL"))


class CascadingLate(Base):
    __tablename__ = "cascading_late"
    id: Mapped[int] = key()
    parent_id: Mapped[int] = mapped_column(ForeignKey("cascading.id", ondelete="CASCADE"))


class CascadingAlone(Base):
    __tablename__ = "cascading_alone"
    id: Mapped[int] = key()
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("cascading.id", ondelete="set null"))
    alone_id: Mapped[int | None] = mapped_column(ForeignKey("cascading_alone.id"))


class CascadingTree(Base):
    __tablename__ = "cascading_tree"
    id: Mapped[int] = key()
    kind: Mapped[str]
    tree_id: Mapped[int | None] = mapped_column(ForeignKey("cascading_tree.id", ondelete="CASCADE"))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "tree"}


class CascadingOak(CascadingTree):
    __tablename__ = "cascading_oaks"
    id: Mapped[int] = mapped_column(
        ForeignKey("cascading_tree.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    __mapper_args__ = {"polymorphic_identity": "oak"}


class CascadingCaptured(Base):
    __tablename__ = "cascading_captured"
    __audit__ = "trigger"
    id: Mapped[int] = key()
    parent_id: Mapped[int] = mapped_column(ForeignKey("cascading.id", ondelete="CASCADE"))


class CascadingSilent(Base):
    __tablename__ = "cascading_silent"
    __audit__ = False
    id: Mapped[int] = key()
    parent_id: Mapped[int] = mapped_column(ForeignKey("cascading.id", ondelete="CASCADE"))


COVERED: list[type] = [CascadingParent, CascadingLine, CascadingNote, CascadingSilent]


async def test_an_application_and_the_doctor_name_the_tables_that_change_unaudited(
    fresh: Fresh, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = await fresh(backend, Base.metadata)
    app = App(
        Module(
            "cascades", models=[*COVERED, CascadingLate, CascadingAlone, CascadingTree, CascadingOak, CascadingCaptured]
        ),
        database=database,
    )
    with caplog.at_level(logging.WARNING, logger="uno.data"):
        async with app:
            [told] = await _unaudited(app, database)
    [line] = [one.getMessage() for one in caplog.records if "audit trail" in one.getMessage()]
    assert line == told
    alone = "cascading_alone (ON DELETE SET NULL of cascading)"
    captured = [] if backend == "postgresql" else ["cascading_captured (ON DELETE CASCADE of cascading)"]
    late = "cascading_late (ON DELETE CASCADE of cascading)"
    tree = "cascading_tree (ON DELETE CASCADE of cascading_tree)"
    assert line.startswith(
        f"The database itself deletes or changes rows of {', '.join([alone, *captured, late, tree])}, and neither"
    )
    assert '__audit__ = "trigger"' in line


async def test_nothing_is_said_where_relationships_do_it_and_their_changes_are_in_the_trail(
    fresh: Fresh, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = await fresh(backend, Base.metadata)
    app = App(Module("cascades", models=COVERED), database=database)
    with caplog.at_level(logging.WARNING, logger="uno.data"):
        async with app:
            assert await _unaudited(app, database) == []
            for work in (_make, _remove):
                async with UnitOfWork(database, books=[AuditBook()]):
                    await work()
    assert not [one for one in caplog.records if "audit trail" in one.getMessage()]
    trail = AuditTrail(database)
    assert [one.operation for one in await trail.history(CascadingLine, 1)] == ["create", "delete"]
    assert [one.after for one in await trail.history(CascadingNote, 1)] == [
        {"id": 1, "parent_id": 1},
        {"parent_id": None},
    ]


async def _make() -> None:
    await Repository(CascadingParent).add(CascadingParent(id=1))
    await Repository(CascadingLine).add(CascadingLine(id=1, parent_id=1))
    await Repository(CascadingNote).add(CascadingNote(id=1, parent_id=1))


async def _remove() -> None:
    parents = Repository(CascadingParent)
    await parents.delete(await parents.get(1))
