"""A query sees what was changed before it, however often it is asked, and does not look at what stayed the same."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from sqlalchemy import MetaData, text
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin, hooks
from uno.data.document import DocumentPlan
from uno.data.plan import MappedPlan
from uno.domain import AggregateRoot
from uno.errors import Misconfigured, VersionConflict


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class State(Enum):
    NEW = "new"
    OLD = "old"


class Row(VersionMixin, Base):
    __tablename__ = "noticed"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(default="a")
    note: Mapped[str | None]


@dataclass
class Plain(AggregateRoot[int]):
    id: int
    name: str = "a"
    note: str | None = None
    price: Decimal = Decimal(1)
    state: State = State.NEW


@dataclass
class Deep(AggregateRoot[int]):
    id: int
    name: str = "a"
    note: str | None = None
    lines: list[str] = field(default_factory=list)


class OnClass(AggregateRoot[int]):
    name: str = "a"
    note: str | None = None
    lines: list[str] = []

    def __init__(self, id: int) -> None:
        super().__init__(id=id)


KINDS: list[Any] = [Row, Plain, Deep, OnClass]


@pytest.fixture(scope="module")
async def database(lasting: Fresh) -> Database:
    return await lasting("sqlite", Base.metadata)


async def stored(database: Database, kind: Any, number: int = 3) -> None:
    async with UnitOfWork(database):
        for one in await Repository(kind).find():
            await Repository(kind).delete(one.id)
    async with UnitOfWork(database):
        for n in range(number):
            await Repository(kind).add(kind(id=n))


CHANGES: list[Callable[[Any], None]] = [
    lambda one: setattr(one, "name", "b"),
    lambda one: setattr(one, "name", "a"),
    lambda one: setattr(one, "name", "".join(["", "a"])),
    lambda one: setattr(one, "note", "x"),
    lambda one: setattr(one, "note", None),
    lambda one: one.lines.append("b") if isinstance(one, Deep) else None,
    lambda one: one.lines.clear() if isinstance(one, Deep) else None,
    lambda one: setattr(one, "state", State.OLD) if isinstance(one, Plain) else None,
    lambda one: setattr(one, "price", one.price + 1) if isinstance(one, Plain) else None,
]
steps = st.tuples(st.integers(0, 2), st.integers(0, len(CHANGES) - 1))
asked = st.sampled_from(["ask", "flush", "save", "undo", "read", "count"])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(steps, asked), max_size=12))
async def test_nothing_that_waits_is_missed(database: Database, kind: Any, done: list[Any]) -> None:
    """Whatever happened, what is told at once is what comparing everything tells."""
    await stored(database, kind)
    repository = Repository(kind)
    async with UnitOfWork(database) as uow:
        for step in done:
            await _do(uow, repository, step)
            plan = database.plan(kind)
            # Asked twice: what was found the first time must not hide anything the second time.
            wanted = any(uow.tracked.images(one.entity) for one in uow.tracked if one.status == "loaded")
            assert [uow.tracked.touches(plan) for _ in "ab"] == [wanted] * 2


async def _do(uow: UnitOfWork, repository: Any, step: Any) -> None:
    if isinstance(step, tuple):
        CHANGES[step[1]](await repository.get(step[0]))
    elif step == "flush":
        await uow.flush()
    elif step == "read":
        await repository.find()
    elif step == "count":
        await repository.count(name="b")
    elif step == "save" and repository.entity is Row:  # a document says that it is new
        await repository.save(repository.entity(id=1))
    elif step == "undo":
        with pytest.raises(ZeroDivisionError):
            async with uow.savepoint():
                (await repository.get(2)).name = "undone"
                await repository.count()
                raise ZeroDivisionError


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each entity whose values were looked at."""
    found: list[Any] = []

    def counted(state: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        return lambda plan, entity: found.append(entity) or state(plan, entity)  # type: ignore[func-returns-value]

    for plan in (MappedPlan, DocumentPlan):
        monkeypatch.setattr(plan, "state", counted(plan.state))
    return found


class Other:
    """Has nothing to do with the rest."""


@pytest.fixture(params=[True, False], ids=["hooks of another class", "no more hooks"])
def others(request: pytest.FixtureRequest) -> Iterator[None]:
    def hook(_other: Other) -> None: ...

    if request.param:
        hooks.before_update(Other)(hook)
    yield
    if request.param:
        hooks.remove(hook)


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("kind", [Row, Plain])
async def test_what_stayed_the_same_is_compared_no_more(database: Database, kind: Any, compared: list[Any]) -> None:
    await stored(database, kind, 20)
    async with UnitOfWork(database):
        found = await Repository(kind).find()
        compared.clear()
        for _ in range(3):
            assert await Repository(kind).count(name="a") == 20
        assert set(compared) <= set(found)
        assert len(compared) <= len(found)
        compared.clear()
        for at, one in enumerate(found):
            one.name = "b"
            assert await Repository(kind).count(name="b") == at + 1
            assert all(other is one or other is found[at - 1] for other in compared)
            compared.clear()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_put_past_everything_is_committed(database: Database, kind: Any) -> None:
    """A value in `__dict__` is told by nobody."""
    await stored(database, kind)
    async with UnitOfWork(database) as uow:
        one, other = await Repository(kind).get(1), await Repository(kind).get(2)
        await Repository(kind).count()
        one.__dict__["name"], other.name = "past", "b"
        assert await Repository(kind).count(name="b") == 1
        await uow.flush()
    async with UnitOfWork(database):
        assert (await Repository(kind).get(1)).name == "past"


async def test_two_units_notice_what_becomes_of_one_object(database: Database, lasting: Fresh) -> None:
    """One that writes it does not hide the change from the other."""
    another = await lasting("sqlite", Base.metadata)
    await stored(database, Row)
    await stored(another, Row)
    async with UnitOfWork(database) as outer:
        one = await Repository(Row).get(1)
        async with UnitOfWork(another) as inner:
            await Repository(Row).save(one)
            assert not inner.tracked.touches(another.plan(Row))
            one.name = "b"
            assert inner.tracked.touches(another.plan(Row))
        assert outer.tracked.touches(database.plan(Row))
        assert await Repository(Row).count(name="b") == 1


async def test_what_is_required_is_checked_by_the_next_flush(database: Database) -> None:
    await stored(database, Row)
    with pytest.raises(VersionConflict):
        async with UnitOfWork(database) as uow:
            one = await Repository(Row).get(1)
            await Repository(Row).count()
            async with database.transaction() as elsewhere:
                await elsewhere.execute(text("UPDATE noticed SET version = version + 1 WHERE id = 1"))
            uow.require(one)
            await Repository(Row).count()
            await uow.flush()
            raise AssertionError


async def test_the_object_of_another_unit_is_compared(database: Database) -> None:
    await stored(database, Row)
    async with UnitOfWork(database):
        old = await Repository(Row).get(1)
    async with UnitOfWork(database):
        (await Repository(Row).get(1)).name = "b"
    async with UnitOfWork(database) as uow:
        now = await Repository(Row).get(1)
        assert not uow.tracked.touches(database.plan(Row))
        uow.tracked.replace(now, old)
        assert uow.tracked.touches(database.plan(Row))
        uow.doom(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await uow.commit()
        uow.doomed = None
        uow.tracked.replace(old, now)


@pytest.mark.parametrize("kind", [Row, Plain])
async def test_a_key_that_was_changed_is_told_by_the_next_query(database: Database, kind: Any) -> None:
    await stored(database, kind)
    with pytest.raises(Misconfigured, match="The key of"):
        async with UnitOfWork(database):
            one = await Repository(kind).get(1)
            assert await Repository(kind).count() == 3
            one.id = 9
            await Repository(kind).count()
