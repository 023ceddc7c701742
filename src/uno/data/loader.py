"""Many entities by their keys with one query, and the loader that makes one query of many gets."""

import asyncio
from collections.abc import Iterable, Sequence
from contextvars import copy_context
from inspect import unwrap
from sys import maxsize
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import select

from uno import context, sync
from uno.aio import AsyncBatcher
from uno.data.database import Database, Plan
from uno.data.portions import KEYS, among, portions
from uno.data.session_path import SessionPath
from uno.data.unit_of_work import UnitOfWork, ambient_unit
from uno.data.untyped import chosen
from uno.errors import Misconfigured, NotFound

if TYPE_CHECKING:
    from uno.data.repository import Repository

T = TypeVar("T")
Key = tuple[Any, ...]


class Loader(Generic[T]):
    """Entities by their ids: what is asked for in one turn of the event loop is read with one query.

    For code that gets one entity at a time, in several tasks of one message: `asyncio.gather` over resolvers. It
    belongs to the unit of work in which it was made, and finds what that has. While it reads, nothing else may use the
    unit of work: await what was asked of the loader before using a repository again.
    """

    def __init__(self, repository: "Repository[T]", *, include_deleted: bool = False) -> None:
        self._repository = repository
        self._include_deleted = include_deleted
        self._unit, self._owner, self._whose = _unit_of(repository), sync.runner(), _who()
        database: Database = getattr(self._unit or repository, "database")  # noqa: B009 - one that works alone has its own
        self._plan: Plan = database.plan(repository.entity)
        name = f"loader of {repository.entity.__name__}"
        self._batcher = AsyncBatcher(
            self._read, KEYS, 0, key=_itself, max_pending=maxsize, name=name, context=copy_context()
        )

    async def load(self, id: Any) -> T:
        """The entity with this id. Raises `NotFound`."""
        self._check_whose()
        found = await self._batcher.add_item(self._plan.key(id))
        if found is None:
            raise NotFound(self._repository.entity.__name__, id)
        return found

    async def load_many(self, ids: Iterable[Any]) -> list[T | None]:
        """The entities with these ids, in their order; None for those that there are not."""
        self._check_whose()
        keys = [self._plan.key(id) for id in ids]
        return await asyncio.gather(*[self._batcher.submit(key) for key in keys])

    def _check_whose(self) -> None:
        """It reads in the name, and for the tenant, of who made it."""
        if _who() != self._whose:
            raise Misconfigured(
                f"The {self._batcher.name} was made for another tenant or in another name: make one for each message."
            )

    async def _read(self, keys: list[Key]) -> list[T | None]:
        unit = self._unit
        if unit is None:
            return await self._found(keys)
        before = unit.run_by(sync.runner())
        try:
            if unit.over or before is not self._owner:
                raise Misconfigured(
                    f"The unit of work of the {self._batcher.name} is over, or at work for somebody else: await what "
                    "was asked of a loader where it was made, before the unit of work ends."
                )
            return await self._found(keys)
        finally:
            unit.run_by(before)

    async def _found(self, keys: list[Key]) -> list[T | None]:
        ids = [self._plan.id_of(key) for key in keys]
        return await self._repository.get_many(ids, include_deleted=self._include_deleted)


def _who() -> tuple[str | None, str | None]:
    around = context.get()
    return (None, None) if around is None else (around.tenant, around.actor)


def _itself(key: Key) -> Key:
    return key


def _unit_of(repository: "Repository[Any]") -> UnitOfWork | None:
    """The unit of work of this task; None for a repository that works alone."""
    if "database" in repository.__dict__:
        return None
    unit = ambient_unit()
    unit.check_task()
    return unit


def reads_otherwise(cls: type[Any], usual: type[Any]) -> bool:
    """Whether a class of repositories gets one entity in another way than usual."""
    return any(unwrap(getattr(cls, name)) is not getattr(usual, name) for name in ("get", "get_by_id"))


async def one_by_one(repository: "Repository[T]", ids: Iterable[Any], include_deleted: bool) -> list[T | None]:
    options: dict[str, Any] = {"include_deleted": True} if include_deleted else {}
    found: list[T | None] = []
    for id in ids:
        try:
            found.append(await repository.get(id, **options))
        except NotFound:
            found.append(None)
    return found


async def read_many(uow: UnitOfWork, plan: Plan, keys: Sequence[Key]) -> dict[Key, Any]:
    """The entities with these keys, by key; first from the unit of work, the others with one query."""
    path = await uow.path(plan)
    found: dict[Key, Any] = {}
    wanted: list[Key] = []
    for key in dict.fromkeys(keys):
        known, entity = _known(uow, plan, path, key)
        if known:
            found[key] = entity
        else:
            wanted.append(key)
    for some in portions(wanted):
        for entity in await _rows(uow, plan, path, some):
            found[plan.key_of(entity)] = entity
    if path is None:
        for key in wanted:
            if key not in found:
                uow.lookups.missed(plan, key)
    return found


def _known(uow: UnitOfWork, plan: Plan, path: SessionPath | None, key: Key) -> tuple[bool, Any]:
    """Whether the unit of work has it, and the entity; None for one that it deleted."""
    if path is not None:
        held = path.known(plan, key)
        return held is not None, None if held in path.session.deleted else held
    entry = uow.tracked.find(plan, key)
    if entry is None:
        return False, None
    return True, None if entry.status == "deleted" else entry.entity


async def _rows(uow: UnitOfWork, plan: Plan, path: SessionPath | None, keys: Sequence[Key]) -> list[Any]:
    if path is not None:
        return await path.find(chosen(plan.cls).where(among([getattr(plan.cls, n) for n in plan.key_names], keys)))
    columns = [plan.table.c[name] for name in plan.key_row(tuple(plan.key_names))]
    rows = await uow.read(select(*plan.columns).where(among(columns, keys)))
    return [uow.tracked.loaded(plan, row) for row in rows]
