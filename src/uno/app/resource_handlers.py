"""What the messages of a resource do: what a handler written by hand would, with a repository."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from uno import context
from uno.app.inclusions import joined
from uno.app.listing import listed
from uno.app.tags import tag_of
from uno.audit import AuditTrail
from uno.bus import command_handler, query_handler
from uno.data.filters import Filter
from uno.data.making import maker
from uno.data.paging import Page
from uno.data.plan import MappedPlan
from uno.data.related import Extending, Related
from uno.data.rendered import Renderer
from uno.data.reread import made_whole
from uno.data.tracked import record_id
from uno.data.traits import TENANT
from uno.data.unit_of_work import UnitOfWork, ambient_unit
from uno.errors import NotFound, PreconditionFailed
from uno.messages import Query

if TYPE_CHECKING:
    from uno.app.resources import Resource


def handler_of(operation: str, message: type[Any], resource: "Resource") -> Any:
    """The handler of one operation, marked for its message."""
    made = _HANDLERS[operation](resource)
    made.__qualname__ = f"resource({resource.cls.__name__}).{operation}"
    kind: Any = query_handler if issubclass(message, Query) else command_handler
    return kind(message)(made)


# ── reading ──


def _list(resource: "Resource") -> Any:
    renderer = _renderer(resource)

    async def handle(query: Any) -> Any:
        if not query.as_json:
            return await listed(resource, query)
        related = resource.related(query.include)
        page = await listed(resource, query, renderer(ambient_unit(), related))
        if related and isinstance(page, Page):
            return replace(page, items=await joined(related, ambient_unit(), page.items))
        return page

    return handle


def _get(resource: "Resource") -> Any:
    renderer = _renderer(resource)

    async def handle(query: Any) -> Any:
        unit = ambient_unit()
        if not query.as_json:
            return await resource.repository.get(query.id, include=query.include)
        related = resource.related(query.include)
        made = None if query.fields else renderer(unit, related)
        if made is None or not made.ready(unit):
            entity = await resource.repository.get(query.id)
            return (await joined(related, unit, [entity]))[0] if related else entity
        row = await made.one(unit, query.id)
        if row is None:
            raise NotFound(resource.cls.__name__, query.id)
        return row

    return handle


def _renderer(resource: "Resource") -> Callable[..., Renderer | None]:
    """What makes JSON in the database of a unit of work; nothing where Python has a part in it."""
    found: dict[tuple[str, tuple[Related, ...]], Renderer | None] = {}

    def renderer(unit: UnitOfWork, related: tuple[Related, ...] = ()) -> Renderer | None:
        asked = unit.database.backend, related
        if asked not in found:
            made = _made(resource, *asked)
            found[asked] = made if made is not None and made.possible else None
        return found[asked]

    return renderer


def _made(resource: "Resource", backend: str, related: tuple[Related, ...]) -> Renderer | None:
    plan = resource.plan
    if resource.serialise is not None or not isinstance(plan, MappedPlan):
        return None
    names = resource.names
    return Extending(plan, names, backend, related) if related else Renderer(plan, names, backend)


def _history(resource: "Resource") -> Any:
    plan, shown = resource.plan, frozenset(resource.names)

    async def handle(query: Any) -> Any:
        unit = ambient_unit()
        record = record_id(plan.key(query.id), plan)
        trail = AuditTrail(unit.database)
        page = await trail.page(component=plan.label, record_id=record, limit=query.limit, after=query.after)
        if not page.items and await resource.repository.get_by_id(query.id, include_deleted=True) is None:
            raise NotFound(resource.cls.__name__, query.id)
        shown_of = [replace(one, before=_part(one.before, shown), after=_part(one.after, shown)) for one in page.items]
        return replace(page, items=shown_of)

    return handle


def _part(image: Mapping[str, Any] | None, shown: frozenset[str]) -> dict[str, Any] | None:
    return None if image is None else {name: value for name, value in image.items() if name in shown}


# ── writing ──


def _create(resource: "Resource") -> Any:
    make = _maker(resource)

    async def handle(command: Any) -> Any:
        entity = await resource.repository.add(make(command.values))
        await _settled(resource, entity)
        return entity

    return handle


def _replace(resource: "Resource") -> Any:
    async def handle(command: Any) -> Any:
        entity = await _expected(resource, command)
        _set(entity, resource.schemas.complete(command.values))
        await _settled(resource, entity)
        return entity

    return handle


def _merge(resource: "Resource") -> Any:
    async def handle(command: Any) -> Any:
        entity = await _expected(resource, command)
        given = {name: getattr(command.values, name) for name in command.values.model_fields_set}
        _set(entity, {name: merged(getattr(entity, name), value) for name, value in given.items()})
        await _settled(resource, entity)
        return entity

    return handle


def _delete(resource: "Resource") -> Any:
    async def handle(command: Any) -> Any:
        await _gone(resource, await _expected(resource, command))

    return handle


def _restore(resource: "Resource") -> Any:
    async def handle(command: Any) -> Any:
        entity = await _expected(resource, command, include_deleted=True)
        await resource.repository.restore(entity)
        await _settled(resource, entity)
        return entity

    return handle


def _bulk_create(resource: "Resource") -> Any:
    make = _maker(resource)

    async def handle(command: Any) -> Any:
        made = [make(values) for values in command.items]
        await resource.repository.insert_many(made)
        for entity in made:
            await _settled(resource, entity)
        return made

    return handle


def _bulk_delete(resource: "Resource") -> Any:
    async def handle(command: Any) -> Any:
        for entity in await _all(resource, list(dict.fromkeys(command.ids))):
            await _gone(resource, entity)

    return handle


async def _all(resource: "Resource", ids: list[Any]) -> list[Any]:
    """Those with these ids, in one query where the id is one value. Raises `NotFound`."""
    names = resource.plan.key_names if isinstance(resource.plan, MappedPlan) else ()
    if len(names) != 1:
        return [await resource.repository.get(id) for id in ids]
    found = {getattr(one, names[0]): one for one in await resource.repository.find(Filter(**{f"{names[0]}__in": ids}))}
    lost = next((id for id in ids if id not in found), None)
    if lost is not None:
        raise NotFound(resource.cls.__name__, lost)
    return [found[id] for id in ids]


async def _expected(resource: "Resource", command: Any, *, include_deleted: bool = False) -> Any:
    """What the command is about, if it is still as the command says.

    A change between this and the commit is a conflict of versions there. Where there is none, the row is locked.
    """
    tags = command.expected
    lock = tags is not None and _version_of(resource) is None
    read = resource.repository.get_for_update if lock else resource.repository.get
    entity = await read(command.id, include_deleted=include_deleted)
    if tags is not None and "*" not in tags and tag_of(resource, entity) not in tags:
        name = resource.cls.__name__
        raise PreconditionFailed(f"{name} {str(command.id)!r} is not as it was when it was read; read it again.")
    return entity


def _version_of(resource: "Resource") -> str | None:
    return resource.plan.version_name


async def _gone(resource: "Resource", entity: Any) -> None:
    if resource.plan.deleted_name is None:
        await resource.repository.delete(entity)
    else:
        await resource.repository.soft_delete(entity)


def _set(entity: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(entity, name, value)


def merged(stored: Any, patch: Any) -> Any:
    """`stored` with a merge patch applied (RFC 7396); neither is changed."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(stored) if isinstance(stored, dict) else {}
    for name, value in patch.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = merged(kept.get(name), value)
    return kept


async def _settled(resource: "Resource", entity: Any) -> None:
    await made_whole(resource.plan, entity, resource.names)


# ── new objects ──


def _maker(resource: "Resource") -> Callable[[BaseModel], Any]:
    """From what a client gave to a new object."""
    traits, make = {one.name: one for one in resource.schemas.traits}, maker(resource.plan)
    tenants = [name for name in TENANT if name in traits and traits[name].default is None]

    def of(given: BaseModel) -> Any:
        values = {name: getattr(given, name) for name in given.model_fields_set}
        values |= {name: context.current().tenant for name in tenants if context.current().tenant is not None}
        return make(values)

    return of


_HANDLERS: Mapping[str, Callable[["Resource"], Any]] = {
    "list": _list,
    "create": _create,
    "get": _get,
    "replace": _replace,
    "merge": _merge,
    "delete": _delete,
    "restore": _restore,
    "history": _history,
    "bulk_create": _bulk_create,
    "bulk_delete": _bulk_delete,
}
