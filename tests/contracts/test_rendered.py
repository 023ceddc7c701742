"""Rows that the database makes JSON of say what the objects say."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from sqlalchemy import MetaData, Numeric, delete
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import BACKENDS, Fresh
from tests.contracts.test_wire import ONLY_PYTHON, WIDGETS, Base as Widgets, Widget, as_read

from uno.data import Database, Model, Repository, SoftDeleteMixin, UnitOfWork, VersionMixin, paging, wire
from uno.data.plan import MappedPlan
from uno.data.rendered import Renderer


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class RenderedPart(VersionMixin, SoftDeleteMixin, Base):
    __tablename__ = "rendered_parts"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))


NAMES = ("id", "name", "version")


@pytest.fixture(scope="module", params=BACKENDS)
async def database(lasting: Fresh, request: pytest.FixtureRequest) -> Database:
    return await lasting(request.param, Widgets.metadata)


@pytest.fixture
async def parts(fresh: Fresh, backend: str) -> Database:
    database = await fresh(backend, Base.metadata)
    async with UnitOfWork(database) as uow:
        for id, name in enumerate(["b", None, 'say "a"', "b", "ü"]):
            await uow.repository(RenderedPart).add(RenderedPart(id=id, name=name))
    return database


def renderer(database: Database, cls: type[Any], names: tuple[str, ...]) -> Renderer:
    plan = database.plan(cls)
    assert isinstance(plan, MappedPlan)
    return Renderer(plan, names, database.backend)


@given(st.lists(WIDGETS, max_size=3))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_type_of_column(database: Database, rows: list[dict[str, Any]]) -> None:
    async with database.session() as session:
        await session.execute(delete(Widget))
        session.add_all([Widget(id=n, **values) for n, values in enumerate(rows)])
        await session.commit()
    columns = {c.key: c for c in Widget.__table__.c if c.key not in ONLY_PYTHON[database.backend]}
    made = renderer(database, Widget, tuple(columns))
    async with UnitOfWork(database) as uow:
        order = paging.orders("", uow.database.fields(uow.database.plan(Widget)), ("id",))
        page = await made.page(uow, order, 5)
        one = await made.one(uow, 0)
        things = await Repository(Widget).find(sort="id")
    told = [{name: wire.encoder(column)(getattr(one, name)) for name, column in columns.items()} for one in things]
    told = json.loads(json.dumps(told))
    assert [{name: as_read(name, value) for name, value in row.items()} for row in json.loads(page.text)] == told
    assert (page.count, page.next) == (len(rows), None)
    assert (one is None) is (not rows)
    assert one is None or {n: as_read(n, value) for n, value in json.loads(one.text).items()} == told[0]


@pytest.mark.parametrize("sort", ["", "name", "-name"])
@pytest.mark.parametrize("limit", [0, 1, 2, 5, 9])
async def test_pages_are_those_of_the_repository(parts: Database, sort: str, limit: int) -> None:
    made = renderer(parts, RenderedPart, NAMES)
    async with UnitOfWork(parts) as uow:
        await uow.repository(RenderedPart).soft_delete(3)
    async with UnitOfWork(parts) as uow:
        order = paging.orders(sort, parts.fields(parts.plan(RenderedPart)), ("id",))
        assert made.ready(uow, order)
        after = None
        for _ in range(4):
            wanted = await Repository(RenderedPart).page(sort=sort, limit=limit, after=after)
            where = () if after is None else (paging.after(order, paging.position(after, order)),)
            page = await made.page(uow, order, limit, where)
            assert [row["id"] for row in json.loads(page.text)] == [part.id for part in wanted.items]
            assert page.next == wanted.next
            after = wanted.next
            if after is None:
                return


async def test_one_has_its_version(parts: Database) -> None:
    made = renderer(parts, RenderedPart, NAMES)
    async with UnitOfWork(parts) as uow:
        await uow.repository(RenderedPart).update(2, name="new")
    async with UnitOfWork(parts) as uow:
        row = await made.one(uow, 2)
        assert row is not None
        assert (json.loads(row.text), row.version) == ({"id": 2, "name": "new", "version": 2}, 2)
        assert await made.one(uow, 9) is None
        await uow.repository(RenderedPart).soft_delete(2)
        await uow.flush()
        assert await made.one(uow, 2) is None  # in the transaction that deletes it


async def test_what_this_unit_of_work_changed_is_not_told_by_the_database(parts: Database) -> None:
    made = renderer(parts, RenderedPart, NAMES)
    async with UnitOfWork(parts) as uow:
        assert made.ready(uow)
        (await uow.repository(RenderedPart).get(1)).name = "x"
        assert not made.ready(uow)


async def test_what_has_no_form_in_sql_is_left_to_python(parts: Database) -> None:
    assert renderer(parts, RenderedPart, ("id", "price", "version")).possible is (parts.backend == "postgresql")
    assert not renderer(parts, RenderedPart, ("id", "is_deleted", "version")).possible
    assert not renderer(parts, RenderedPart, ("id", "name")).possible  # nobody could tell the version


async def test_a_list_that_is_sorted_by_what_it_does_not_show_is_left_to_python(parts: Database) -> None:
    order = paging.orders("price", parts.fields(parts.plan(RenderedPart)), ("id",))
    async with UnitOfWork(parts) as uow:
        assert not renderer(parts, RenderedPart, NAMES).ready(uow, order)
