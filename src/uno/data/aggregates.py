"""Entities for handlers that ask for them: read with the message, guarded by the commit.

Nothing is locked while a handler runs for the first time: the commit checks the version of all that was
handed over. A message that is run again, because somebody else was quicker, locks the rows.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper

from uno.bus.entities import Load, Named
from uno.context import left_behind
from uno.data.database import Database
from uno.data.repository import Repository
from uno.data.unit_of_work import UnitOfWork, ambient_unit
from uno.domain import AggregateRoot
from uno.errors import Invalid, NotFound

# Set while a message is run again after a conflict.
contended: ContextVar[bool] = left_behind(ContextVar("uno.contended", default=False), False)


def storable(kind: Any) -> bool:
    """Whether this is the class of something with a row of its own: mapped, or an aggregate."""
    if not isinstance(kind, type):
        return False
    mapped = isinstance(inspect(kind, raiseerr=False), Mapper)
    return mapped or (issubclass(kind, AggregateRoot) and kind is not AggregateRoot)


class Aggregates:
    """The entities of one database, for `Bus(entities=...)`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def knows(self, kind: Any) -> bool:
        return storable(kind)

    def loader(self, wanted: Sequence[Named], *, changing: bool) -> Load:
        """What reads them for a message: as they are, or so that they can be changed."""
        parts = [_Part(one, self._database, changing=changing) for one in wanted]
        return _only(parts[0]) if len(parts) == 1 else _all(parts)


class _Part:
    """One parameter of a handler."""

    def __init__(self, named: Named, database: Database, *, changing: bool) -> None:
        self.name = named.name
        self.named = named
        self.plan = database.plan(named.entity)
        self.entities = Repository(named.entity)
        self.changing = changing
        # Without a version nothing would tell that somebody else was quicker.
        self.always_locks = changing and self.plan.version_key is None

    def key(self, message: Any) -> tuple[Any, ...] | None:
        """The key of the row, None where the message names none."""
        id = self.named.id_in(message)
        try:
            return None if id is None else self.plan.key(id)
        except Invalid as error:  # in the words of the message, whose field it is
            said = error.errors[0]
            raise Invalid.field(self.named.field, said.message, said.code) from None

    async def load(self, uow: UnitOfWork, message: Any, key: tuple[Any, ...] | None, locked: bool) -> Any:
        found = None if key is None else await self._read(self.plan.id_of(key), locked)
        if found is None or key is None:
            return None
        self.named.check_version(message, self.plan.version(found), self.plan.id_of(key))
        if self.plan.version_key is not None and self.changing and not locked:
            uow.require(found, beside=True)
        return found

    async def _read(self, id: Any, locked: bool) -> Any:
        if not locked:
            return await (self.entities.get_by_id(id) if self.named.optional else self.entities.get(id))
        try:
            return await self.entities.get_for_update(id)
        except NotFound:
            if self.named.optional:
                return None
            raise

    def locks(self) -> bool:
        return self.always_locks or (self.changing and contended.get())


def _only(part: _Part) -> Load:
    async def load(message: Any) -> dict[str, Any]:
        return {part.name: await part.load(ambient_unit(), message, part.key(message), part.locks())}

    return load


def _all(parts: Sequence[_Part]) -> Load:
    async def load(message: Any) -> dict[str, Any]:
        uow, found = ambient_unit(), {}
        # In the order of rows, whatever the handler calls them, or two messages would wait for each other.
        for part, key in sorted([(part, part.key(message)) for part in parts], key=_turn):
            found[part.name] = await part.load(uow, message, key, part.locks())
        return found

    return load


def _turn(pair: tuple[_Part, tuple[Any, ...] | None]) -> tuple[str, list[tuple[int, str]]]:
    """Numbers in their own order, anything else as text: some kinds of keys have no order."""
    part, key = pair
    return part.plan.table.fullname, [(one if isinstance(one, int) else 0, str(one)) for one in key or ()]
