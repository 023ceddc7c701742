"""Repositories: the entities of one class, as if they were a collection.

A repository has no state of its own. It joins the ambient unit of work, so one object serves all
messages.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar, cast

from sqlalchemy import ColumnElement, Select

from uno import clock
from uno.data import asked, bulk, document_query, includes, paging, streams
from uno.data.alone import SessionFactory, work_alone
from uno.data.database import Plan, select_by_key
from uno.data.document import DocumentPlan
from uno.data.document_filter import sortable
from uno.data.filter_sql import compile_filter
from uno.data.filters import SEPARATOR, Condition, Filter
from uno.data.finding import answer, rows_of
from uno.data.loader import Loader, one_by_one, read_many, reads_otherwise
from uno.data.making import changed, made
from uno.data.paging import Page
from uno.data.plan import MappedPlan
from uno.data.tables import documents
from uno.data.unit_of_work import UnitOfWork, ambient_unit
from uno.data.untyped import chosen
from uno.domain import Specification
from uno.domain.aggregate import numbered_events
from uno.errors import Misconfigured, NotFound

T = TypeVar("T")
# What `find` takes: conditions as data, a rule that has a `filter()`, a SQLAlchemy expression over the attributes.
Criterion: TypeAlias = Filter | Specification[Any] | ColumnElement[bool]


class Repository(Generic[T]):
    """The stored entities of class `T`: a `Model`, a mapped class or a plain aggregate.

    `Repository(Order)`, or a subclass `class Orders(Repository[Order])` with queries of its own. With a
    `session_factory` (an `async_sessionmaker` of your own) it needs no unit of work, and each call commits.
    """

    def __init__(self, entity: type[T] | None = None, *, session_factory: SessionFactory | None = None) -> None:
        wanted = entity or asked.declared(type(self))
        if wanted is None:
            raise Misconfigured(f"{type(self).__name__} does not say of what; write Repository[Order].")
        self.entity: type[T] = asked.entity_class(wanted)
        if session_factory is not None:
            work_alone(self, session_factory)

    async def get(self, id: Any, *, include: Sequence[str] = (), include_deleted: bool = False) -> T:
        """The entity with this id; raises `NotFound`, also for one that is softly deleted.

        `include` names relationships whose objects are read with it.
        """
        found = await self.get_by_id(id, include=include, include_deleted=include_deleted)
        if found is None:
            raise NotFound(self.entity.__name__, id)
        return found

    async def get_by_id(self, id: Any, *, include: Sequence[str] = (), include_deleted: bool = False) -> T | None:
        """The entity with this id, or None."""
        if include:
            return await self._with_others(id, asked.named("include", include), include_deleted)
        return self._seen(await self._read(id, lock=False), include_deleted)

    async def get_many(self, ids: Iterable[Any], *, include_deleted: bool = False) -> list[T | None]:
        """The entities with these ids, in their order, with one query; None for those that there are not.

        A class with a `get` or `get_by_id` of its own, which may hide some, is asked for one after another.
        """
        if reads_otherwise(type(self), Repository):
            return await one_by_one(self, ids, include_deleted)
        uow, plan = self._unit()
        keys = [plan.key(id) for id in ids]
        found = await read_many(uow, plan, keys)
        return [self._seen(found.get(key), include_deleted) for key in keys]

    def loader(self, *, include_deleted: bool = False) -> Loader[T]:
        """What makes one query of all that is got of it in one turn of the event loop, by any task of this message."""
        return Loader(self, include_deleted=include_deleted)

    async def _with_others(self, id: Any, include: Sequence[str], include_deleted: bool) -> T | None:
        plan = self._unit()[1]
        includes.relationships(plan, include)
        key = dict(zip(cast(MappedPlan, plan).key_names, plan.key(id), strict=True))
        return await self.find_one(include=include, include_deleted=include_deleted, **key)

    async def get_for_update(self, id: Any, *, include_deleted: bool = False) -> T:
        """The entity, its row locked until the end of the transaction; raises `NotFound`."""
        found = self._seen(await self._read(id, lock=True), include_deleted)
        if found is None:
            raise NotFound(self.entity.__name__, id)
        return found

    async def find_one(
        self, *filters: Criterion, include: Sequence[str] = (), include_deleted: bool = False, **equal: Any
    ) -> T | None:
        """Any one entity that fits, or None."""
        found = await self.find(*filters, limit=1, include=include, include_deleted=include_deleted, **equal)
        return found[0] if found else None

    async def find(
        self,
        *filters: Criterion,
        sort: str | Sequence[str] = (),
        limit: int | None = None,
        offset: int = 0,
        include: Sequence[str] = (),
        include_deleted: bool = False,
        **equal: Any,
    ) -> list[T]:
        """The entities that fit all `filters` and the conditions in `equal`.

        `filters` are a `Filter`, a `Specification` that has one, or SQLAlchemy expressions.

        A condition is `name=value` or `name__operator=value`. `sort` names attributes, each with a
        leading `-` for descending order, `include` relationships whose objects are read as well, with
        one query for each. Between equals, and for a stretch without `sort`, the key decides.
        """
        uow, plan = self._unit()
        seen = self._undeleted(uow, plan, include_deleted)
        order = _order(uow, plan, sort, limit, offset)
        return await self._find([*filters, *seen], equal, order, limit, offset, include)

    def stream(
        self,
        *filters: Criterion,
        sort: str | Sequence[str] = (),
        limit: int | None = None,
        offset: int = 0,
        batch: int = 1000,
        include_deleted: bool = False,
        **equal: Any,
    ) -> AsyncGenerator[T, None]:
        """What `find` finds, one after another, read `batch` rows at a time: for more than memory holds.

        It ends with its unit of work; break out of it inside `contextlib.aclosing(stream)` to end it at once. What
        it yields is not kept: `save` it to store a change.
        """
        asked.check_count("batch", batch, 1)
        asked.check_stretch(limit, offset)
        uow, plan = self._unit()
        where = self._where(uow, plan, [*filters, *self._undeleted(uow, plan, include_deleted)], equal)
        order = _order(uow, plan, sort, limit, offset)

        def statement(what: Sequence[Any]) -> Select[Any]:
            return chosen(*what).where(*where).order_by(*order).limit(limit).offset(offset or None)

        return uow.streaming(streams.stream(uow, plan, statement, batch))

    async def _find(
        self,
        filters: Sequence[Criterion],
        equal: dict[str, Any],
        order: Sequence[ColumnElement[Any]],
        limit: int | None,
        offset: int = 0,
        include: Sequence[str] = (),
    ) -> list[T]:
        asked.check_stretch(limit, offset)
        include = asked.named("include", include) if include else ()
        uow, plan = await self._flushed()
        if not includes.separate(uow, plan, include):
            await uow.session()
        path = await uow.path(plan)
        where = self._where(uow, plan, filters, equal)
        if limit is None and not (filters or equal or offset):
            uow.lookups.read_all(plan)
        if path is not None:
            statement = chosen(self.entity).where(*where).limit(limit).offset(offset or None).order_by(*order)
            return await path.find(statement.options(*includes.options(plan, include)))
        rows = await rows_of(uow, plan, where, order, limit, offset)
        found = [one for row in rows if not _gone(uow, one := uow.tracked.loaded(plan, row))]
        await includes.load(uow, plan, found, include)
        return found

    async def page(
        self,
        *filters: Criterion,
        sort: str | Sequence[str] = (),
        limit: int = 100,
        after: str | None = None,
        offset: int = 0,
        total: bool = False,
        include: Sequence[str] = (),
        include_deleted: bool = False,
        **equal: Any,
    ) -> Page[T]:
        """The next `limit` entities behind the cursor `after`, the `next` of a page before; `offset` are left out."""
        asked.check_count("limit", limit)
        uow, plan = self._unit()
        order = paging.orders(sort, uow.database.fields(plan), plan.sort_names)
        behind = () if after is None else (paging.after(order, paging.position(after, order)),)
        seen = self._undeleted(uow, plan, include_deleted)
        by = [one.by for one in order]
        found = await self._find([*filters, *behind, *seen], equal, by, limit + 1, offset, include=include)
        following = paging.cursor(order, found[limit - 1]) if limit and len(found) > limit else None
        count = await self.count(*filters, include_deleted=include_deleted, **equal) if total else None
        return Page(found[:limit], following, count)

    async def get_all(
        self,
        *,
        offset: int = 0,
        limit: int = 100,
        order_by: str = "",
        descending: bool = False,
        include_deleted: bool = False,
    ) -> list[T]:
        """A stretch of all entities."""
        sort = f"{'-' if descending else ''}{order_by}" if order_by else ()
        return await self.find(sort=sort, limit=limit, offset=offset, include_deleted=include_deleted)

    async def count(self, *filters: Criterion, include_deleted: bool = False, **equal: Any) -> int:
        """How many entities fit."""
        return int(await self._asked(asked.number, filters, equal, include_deleted))

    async def exists(self, *filters: Criterion, include_deleted: bool = False, **equal: Any) -> bool:
        """Whether any entity fits."""
        return bool(await self._asked(asked.presence, filters, equal, include_deleted))

    async def _asked(
        self,
        around: Callable[[Select[Any]], Select[Any]],
        filters: Sequence[Criterion],
        equal: dict[str, Any],
        include_deleted: bool,
    ) -> Any:
        """The one value that `around` asks about the rows that fit."""
        uow, plan = await self._flushed()
        where = self._where(uow, plan, [*filters, *self._undeleted(uow, plan, include_deleted)], equal)
        # A class that is not the fast kind may be more than one table.
        what: Any = plan.columns if plan.fast else [self.entity]
        rows = await answer(uow, (plan, around), where, lambda: around(chosen(*what).where(*where)), {})
        return rows[0][0]

    async def add(self, entity: T) -> T:
        """Store a new entity when the unit of work commits."""
        asked.check_entity(entity, self.entity)
        uow, plan = self._writable()
        path = await uow.path(plan)
        if path is None:
            uow.tracked.add(plan, entity)
        else:
            await path.add(entity)
        return entity

    async def save(self, entity: T) -> T:
        """Store an entity, new or not: by its identity it becomes an insert or an update."""
        asked.check_entity(entity, self.entity)
        uow, plan = self._writable()
        path = await uow.path(plan)
        if path is not None:
            return cast(T, await path.save(entity))
        if uow.tracked.of(entity) is not None:
            return entity
        key = plan.key_of(entity)
        stored = None if None in key or plan.version(entity) == 0 else await self._read(plan.id_of(key), lock=False)
        if stored is None:
            return await self.add(entity)
        uow.tracked.replace(stored, entity)
        return entity

    async def delete(self, entity_or_id: Any) -> None:
        """Delete the row; raises `NotFound` where there is none with this id."""
        uow, plan = self._writable()
        entity = await self._known(entity_or_id)
        path = await uow.path(plan)
        if path is not None:
            return await path.delete(entity)
        entry = uow.tracked.of(entity)
        assert entry is not None
        uow.tracked.delete(entry)

    async def soft_delete(self, entity_or_id: Any) -> bool:
        """Set its `deleted_at`; False where it was set already. Raises `NotFound`."""
        return await self._mark(entity_or_id, deleted=True)

    async def restore(self, entity_or_id: Any) -> bool:
        """Take its `deleted_at` away again; False where there was none. Raises `NotFound`."""
        return await self._mark(entity_or_id, deleted=False)

    async def _mark(self, entity_or_id: Any, *, deleted: bool) -> bool:
        uow, plan = self._writable()
        name = plan.deleted_name
        if name is None:
            raise Misconfigured(f"{plan.label} has no deleted_at; give it SoftDeleteMixin, or delete() it for good.")
        entity = await self._known(entity_or_id)
        if (getattr(entity, name) is not None) is deleted:
            return False
        setattr(entity, name, clock.now() if deleted else None)
        uow.strangers.tell(entity_or_id)
        return True

    async def _known(self, entity_or_id: Any) -> T:
        """The object that the unit of work has for this one, or for this id; raises `NotFound`.

        It is the given one itself, or one that is read, of the same version: otherwise `VersionConflict`.
        """
        uow, plan = self._unit()
        if not isinstance(entity_or_id, self.entity):
            return await self.get(entity_or_id, include_deleted=True)
        given: Any = entity_or_id
        path = await uow.path(plan)
        has = uow.tracked.of if path is None else path.has
        for one in (given, uow.strangers.of(given)):
            if one is not None and has(one):
                return cast(T, one)
        key = plan.key_of(given)
        if None in key:
            raise NotFound(plan.label, plan.id_of(key))
        found = await self.get(plan.id_of(key), include_deleted=True)
        entry = uow.tracked.of(found)
        stored = entry.stored if entry is not None else path.stored(found) if path is not None else None
        uow.strangers.meet(plan, given, found, stored or {})
        if plan.has_events:
            uow.take_events(numbered_events(given))
        return found

    async def insert_many(
        self, items: Iterable[T | Mapping[str, Any]] | AsyncIterable[T | Mapping[str, Any]], *, batch: int = 10_000
    ) -> int:
        """Insert objects, or mappings from attributes to values, now; returns how many.

        Objects have their keys and defaults then, and are not known to the unit of work. An error
        names the field and the number of the row, and dooms the unit of work.
        """
        uow, plan = self._writable()
        return await bulk.insert_many(self, uow, plan, items, batch)

    async def update_many(
        self,
        *filters: Criterion,
        values: Mapping[str, Any],
        include_deleted: bool = False,
        everything: bool = False,
        **equal: Any,
    ) -> int:
        """Set `values` in all rows that fit, now; returns how many had others.

        Without a condition it needs `everything=True`.
        """
        uow, plan = self._writable()
        chosen = bulk.chosen(filters, equal, include_deleted, everything)
        return await bulk.update_many(self, uow, plan, chosen, values)

    async def delete_many(
        self, *filters: Criterion, include_deleted: bool = False, everything: bool = False, **equal: Any
    ) -> int:
        """Really delete all rows that fit, now; returns how many. Without a condition it needs `everything=True`."""
        uow, plan = self._writable()
        return await bulk.delete_many(self, uow, plan, bulk.chosen(filters, equal, include_deleted, everything))

    async def soft_delete_many(self, *filters: Criterion, everything: bool = False, **equal: Any) -> int:
        """Set `deleted_at` in all rows that fit and have none; returns how many."""
        _, plan = self._writable()
        if plan.deleted_name is None:
            raise Misconfigured(f"{plan.label} has no deleted_at; give it SoftDeleteMixin, or delete_many() for good.")
        values = {plan.deleted_name: clock.now()}
        return await self.update_many(*filters, values=values, everything=everything, **equal)

    def _seen(self, entity: T | None, include_deleted: bool) -> T | None:
        name = None if entity is None or include_deleted else self._unit()[1].deleted_name
        return entity if name is None or getattr(entity, name) is None else None

    def _undeleted(self, uow: UnitOfWork, plan: Plan, include_deleted: bool) -> list[ColumnElement[bool]]:
        """The condition that leaves out what is softly deleted."""
        name = None if include_deleted else plan.deleted_name
        return [] if name is None else [_equals(uow, plan, name, None)]

    async def create(self, **values: Any) -> T:
        """`add` of a new entity made of `values`."""
        return await self.add(made(self._unit()[1], values))

    async def update(self, id: Any, **values: Any) -> T:
        """`get`, then set `values`."""
        entity = await self.get(id)
        changed(self._unit()[1], entity, values)
        return entity

    async def _read(self, id: Any, *, lock: bool) -> T | None:
        uow, plan = self._unit()
        path = await uow.path(plan)
        key = plan.key(id)
        if path is not None:
            if not lock and path.known(plan, key) is None:
                uow.reads.one(self.entity)
            return cast("T | None", await path.get(self.entity, key, lock))
        known = uow.tracked.find(plan, key)
        if known is not None and known.status == "deleted":
            return None
        if known is not None and (not lock or known.status == "new"):
            return cast(T, known.entity)
        if not lock:
            uow.reads.one(self.entity)
        row = await self._row(uow, plan, key, lock)
        if row is not None and known is not None:
            uow.tracked.refresh(known, row)
        if row is None:
            uow.lookups.missed(plan, key)
            return None
        return cast(T, uow.tracked.loaded(plan, row))

    async def _row(self, uow: UnitOfWork, plan: Plan, key: tuple[Any, ...], lock: bool) -> Any:
        parameters = dict(zip((f"k{n}" for n in range(len(key))), key, strict=True))
        if lock:
            transaction = await uow.transaction()
            return (await transaction.execute(select_by_key(plan).with_for_update(), parameters)).one_or_none()
        if uow.explicit is not None:
            return (await uow.explicit.execute(select_by_key(plan), parameters)).one_or_none()
        prepared = uow.database.by_key(plan)
        rows = await uow.reading.fetch(prepared, parameters)
        return prepared.row(rows[0]) if rows else None

    def _where(
        self, uow: UnitOfWork, plan: Plan, filters: Sequence[Criterion], equal: dict[str, Any]
    ) -> list[ColumnElement[bool]]:
        found = [self._expression(uow, plan, one) for one in filters]
        if isinstance(plan, DocumentPlan):
            found.append(documents.c.kind == plan.kind)
        return found + [self._condition(uow, plan, name, value) for name, value in equal.items()]

    def _expression(self, uow: UnitOfWork, plan: Plan, one: Criterion) -> ColumnElement[bool]:
        if isinstance(one, ColumnElement):
            asked.check_tables(plan, one)
            return one
        return compile_filter(asked.filter_of(one), uow.database.fields(plan), uow.database.backend)

    def _condition(self, uow: UnitOfWork, plan: Plan, name: str, value: Any) -> ColumnElement[bool]:
        """As a `Filter` has it; what that does not compare may be equal to any value that the column takes."""
        own = plan.fields if isinstance(plan, DocumentPlan) else plan.names
        plain = name in own or not ("." in name or SEPARATOR in name)
        field = uow.database.fields(plan).find(name) if plain else None
        if value is None and field is not None and field.kind == "json":
            # None is also what JSON's own null is read as.
            return self._expression(uow, plan, Filter(**{f"{name}{SEPARATOR}is_null": True}))
        raw = plain and not asked.is_read(plan, field, value)
        if raw and Condition(name, value).split()[0] == name:
            return _equals(uow, plan, name, value)
        return self._expression(uow, plan, Filter(**{name: value}))

    async def _flushed(self) -> tuple[UnitOfWork, Plan]:
        """The unit of work, with what it changed in this table visible to a query."""
        uow, plan = self._unit()
        uow.check_task()
        path = await uow.path(plan)
        if path is not None:
            with uow.writing_before():
                await path.flush()
        elif uow.tracked.touches(plan) and not uow.preparing:
            await uow.flush()
        return uow, plan

    def _writable(self) -> tuple[UnitOfWork, Plan]:
        uow, plan = self._unit()
        uow.writable()
        return uow, plan

    def _unit(self) -> tuple[UnitOfWork, Plan]:
        uow = ambient_unit()
        return uow, uow.database.plan(self.entity)


def _order(
    uow: UnitOfWork, plan: Plan, sort: str | Sequence[str], limit: int | None, offset: int
) -> list[ColumnElement[Any]]:
    """That of a page; where neither an order nor a stretch of it is asked for, rows come as they are found."""
    # Any one row is no stretch: to find the first by its key may be slow.
    cut = limit not in (None, 1) or bool(offset)
    if not cut and sort == ():
        return []
    fields = sortable(uow.database.fields(plan))
    return [one.by for one in paging.orders(sort, fields, plan.sort_names, paging.ORDERED)]


def _equals(uow: UnitOfWork, plan: Plan, name: str, value: Any) -> ColumnElement[bool]:
    if isinstance(plan, DocumentPlan) and name in plan.fields:
        return document_query.equals(plan, uow.database.backend, name, value)
    if isinstance(plan, DocumentPlan) and name == "id":
        value = str(value)
    return cast("ColumnElement[bool]", _column(uow, plan, name) == value)


def _column(uow: UnitOfWork, plan: Plan, name: str) -> Any:
    if isinstance(plan, DocumentPlan):
        if name in ("id", "version", "created_at", "updated_at") and name not in plan.fields:
            return documents.c[name]
    elif name in plan.names:
        return getattr(plan.cls, name)
    raise asked.unknown(plan, name)


def _gone(uow: UnitOfWork, entity: Any) -> bool:
    """Whether it was deleted in this unit of work, which has not been written yet."""
    known = uow.tracked.of(entity)
    return known is not None and known.status == "deleted"
