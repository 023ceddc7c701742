"""A repository over sessions of one's own works without a unit of work: each call commits."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import MetaData, event, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session as SyncSession, mapped_column
from tests.contracts.conftest import Fresh

from uno.compat.database import BaseRepository
from uno.data import Filter, Repository, SoftDeleteMixin, TimestampMixin, UnitOfWork, UUIDMixin, VersionMixin
from uno.errors import Conflict, Misconfigured, NotFound, VersionConflict

Factory = async_sessionmaker[AsyncSession]


class Theirs(DeclarativeBase):
    """Not uno's base."""

    metadata = MetaData()


class User(UUIDMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Theirs):
    __tablename__ = "their_users"
    name: Mapped[str] = mapped_column(default="")
    email: Mapped[str] = mapped_column(unique=True)


class Users(Repository[User]):
    async def rename(self, old: str, new: str) -> int:
        found = await self.find(name=old)
        for user in found:
            user.name = new
        if new == "refused":
            raise ValueError(new)
        return len(found)


@pytest.fixture(params=[True, False], ids=["keeps", "expires"])
async def factory(fresh: Fresh, backend: str, request: pytest.FixtureRequest) -> AsyncIterator[Factory]:
    database = await fresh(backend, Theirs.metadata)
    scheme, _, rest = database.url.partition("://")
    url = f"{scheme.partition('+')[0]}+{'asyncpg' if backend == 'postgresql' else 'aiosqlite'}://{rest}"
    engine = create_async_engine(url.replace("sslmode", "ssl"))
    yield async_sessionmaker(engine, expire_on_commit=request.param)
    await engine.dispose()


@pytest.fixture
def users(factory: Factory) -> Users:
    return Users(session_factory=factory)


async def names(factory: Factory) -> list[str]:
    async with factory() as session:
        return list((await session.execute(text("SELECT name FROM their_users ORDER BY name"))).scalars())


async def test_each_call_commits(users: Users, factory: Factory) -> None:
    ada = await users.create(name="Ada", email="a@x")
    assert await names(factory) == ["Ada"]
    assert (await users.get(ada.id)).email == "a@x"
    assert [one.id for one in await users.find(Filter(name="Ada"))] == [ada.id]
    assert (await users.find_one(name="Nobody"), await users.count(), await users.exists(name="Ada")) == (None, 1, True)
    assert (await users.update(ada.id, name="Ada L.")).version == 2
    assert await names(factory) == ["Ada L."]
    assert [one.name for one in await users.get_all(limit=10)] == ["Ada L."]
    assert [one.name for one in (await users.page(limit=1)).items] == ["Ada L."]
    assert [one.name async for one in users.stream(sort="name")] == ["Ada L."]
    await users.delete(ada.id)
    assert await names(factory) == []
    with pytest.raises(NotFound):
        await users.get(ada.id)


async def test_soft_deletion_works_alone(users: Users) -> None:
    ada = await users.create(email="a@x")
    assert await users.soft_delete(ada.id)
    assert await users.get_by_id(ada.id) is None
    assert await users.restore(ada.id)
    assert await users.get_by_id(ada.id) is not None


async def test_what_was_changed_meanwhile_is_a_conflict(users: Users) -> None:
    first = await users.create(email="a@x")
    await users.update(first.id, name="new")
    first.name = "old"
    with pytest.raises(VersionConflict):
        await users.save(first)
    with pytest.raises(Conflict):
        await users.create(email="a@x")
    second = await users.get(first.id)
    second.name = "newer"
    await users.save(second)
    assert (await users.get(first.id)).name == "newer"
    await users.delete(await users.get(first.id))
    assert await users.count() == 0


async def test_a_query_of_ones_own_is_one_transaction(users: Users, factory: Factory) -> None:
    for n in range(3):
        await users.create(name="old", email=f"{n}@x")
    assert await users.rename("old", "new") == 3
    with pytest.raises(ValueError, match="refused"):
        await users.rename("new", "refused")
    assert await names(factory) == ["new"] * 3
    assert isinstance(users, Users)


async def test_it_uses_their_sessions_and_leaves_their_engine_open(users: Users, factory: Factory) -> None:
    class Heard(SyncSession):
        pass

    flushed: list[object] = []
    event.listen(Heard, "after_flush", lambda session, _: flushed.extend(session.new))
    heard: Factory = async_sessionmaker(factory.kw["bind"], sync_session_class=Heard)
    user = await Repository(User, session_factory=heard).create(email="a@x")
    assert flushed == [user]
    assert [one.id for one in await users.find()] == [user.id]


async def test_inside_a_unit_of_work_of_another_database_it_still_commits_by_itself(
    users: Users, factory: Factory, fresh: Fresh, backend: str
) -> None:
    other = await fresh(backend)
    with pytest.raises(ZeroDivisionError):
        async with UnitOfWork(other):
            await users.create(name="kept", email="a@x")
            raise ZeroDivisionError
    assert await names(factory) == ["kept"]


def test_sessions_of_another_kind_are_refused() -> None:
    for factory in (SyncSession, AsyncSession, lambda: None):
        with pytest.raises(Misconfigured, match="async_sessionmaker"):
            Repository(User, session_factory=factory)  # type: ignore[arg-type]


async def test_the_seeds_form_takes_the_sessions_first(factory: Factory) -> None:
    users = BaseRepository(factory, User)
    for n in range(3):
        await users.create(name="a", email=f"{n}@x")
    assert len(await users.find_many(limit=2, name="a")) == 2
