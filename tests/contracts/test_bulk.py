"""Many rows at once leave the rows and the audit trail that one object after the other does."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from sqlalchemy import delete, select
from tests.contracts.conftest import BACKENDS, Fresh
from tests.contracts.test_wire import WIDGETS, Base, Widget, as_read

from uno.audit import AuditBook
from uno.audit.tables import audit
from uno.data import Changes, Database, Repository, UnitOfWork
from uno.data.changes import Book

Work = Callable[[Repository[Widget]], Awaitable[object]]
Trail = list[tuple[str, str, Any, Any]]
things: Repository[Widget] = Repository(Widget)
COLUMNS = {c.key: c for c in Widget.__table__.c}


class PlainBook:
    """A book that has rows of changes only."""

    table = audit

    def rows(self, changes: Changes) -> list[dict[str, Any]]:
        return AuditBook().rows(changes)


@pytest.fixture(scope="module", params=BACKENDS)
async def database(lasting: Fresh, request: pytest.FixtureRequest) -> Database:
    return await lasting(request.param, Base.metadata)


async def trail(database: Database) -> Trail:
    wanted = (audit.c.operation, audit.c.record_id, audit.c.before, audit.c.after)
    rows = await database.query(select(*wanted).order_by(audit.c.id))
    return [(operation, id, image(before), image(after)) for operation, id, before, after in rows]


def image(values: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if values is None else {name: as_read(name, value) for name, value in values.items()}


async def outcome(database: Database, *works: Work, book: Book | None = None) -> tuple[list[Any], Trail]:
    """The rows and the audit trail of each of `works` in a unit of work of its own, on empty tables."""
    async with database.transaction() as transaction:
        await transaction.execute(delete(Widget))
        await transaction.execute(delete(audit))
    for work in works:
        async with UnitOfWork(database, books=(book or AuditBook(),)):
            await work(things)
    rows = await database.query(select(*COLUMNS.values()).order_by(Widget.id))
    return [tuple(row) for row in rows], await trail(database)


def one_by_one(rows: list[dict[str, Any]], values: dict[str, Any]) -> list[Work]:
    async def insert(things: Repository[Widget]) -> None:
        for row in rows:
            await things.add(Widget(**row))

    async def update(things: Repository[Widget]) -> None:
        for thing in await things.find(sort="id"):
            for name, value in values.items():
                setattr(thing, name, value)

    async def remove(things: Repository[Widget]) -> None:
        for thing in await things.find(Widget.id > 1, sort="id"):
            await things.delete(thing)

    return [insert, update, remove]


def at_once(rows: list[dict[str, Any]], values: dict[str, Any]) -> list[Work]:
    async def update(things: Repository[Widget]) -> None:
        await things.update_many(values=values, everything=True)

    return [lambda things: things.insert_many(rows, batch=2), update, lambda things: things.delete_many(Widget.id > 1)]


@given(rows=st.lists(WIDGETS, min_size=1, max_size=4), values=WIDGETS.filter(bool))
@example(
    rows=[{"double": float("inf"), "real": float("-inf")}, {}], values={"double": None, "colour": None, "data": None}
)
@example(
    rows=[{"aware": datetime(2026, 1, 2, tzinfo=UTC)}], values={"price": Decimal("0.10"), "data": {"a": [1, None]}}
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_rows_and_the_trail_are_those_of_single_objects(
    database: Database, rows: list[dict[str, Any]], values: dict[str, Any]
) -> None:
    numbered = [{"id": n, **row} for n, row in enumerate(rows, 1)]
    single = await outcome(database, *one_by_one(numbered, values))
    assert await outcome(database, *at_once(numbered, values)) == single
    assert await outcome(database, *at_once(numbered, values), book=PlainBook()) == single
    instances = [Widget(**row) for row in numbered]
    assert await outcome(database, lambda things: things.insert_many(instances)) == await outcome(
        database, one_by_one(numbered, values)[0]
    )
