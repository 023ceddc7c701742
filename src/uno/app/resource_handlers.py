"""What the messages of a resource do: what a handler written by hand would, with a repository."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from uno import context
from uno.app.inclusions import joined
from uno.app.listing import listed
from uno.app.tags import tag_of
from uno.audit import AuditLog, AuditTrail
from uno.bus import command_handler, query_handler
from uno.data.aggregates import contended
from uno.data.filters import Filter, Limits
from uno.data.making import maker
from uno.data.paging import Page
from uno.data.parts import Patch
from uno.data.plan import MappedPlan
from uno.data.recent import Recent
from uno.data.record_ids import record_id
from uno.data.related import Extending, Related
from uno.data.rendered import Renderer, Row
from uno.data.reread import made_whole
from uno.data.traits import TENANT
from uno.data.unit_of_work import UnitOfWork, ambient_unit
from uno.errors import NotFound, PreconditionFailed, id_text
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
    plan, names = resource.plan, resource.names
    found: Recent[tuple[str, tuple[Related, ...]], Renderer] = Recent(MOST_RENDERERS)

    def renderer(unit: UnitOfWork, related: tuple[Related, ...] = ()) -> Renderer | None:
        if not isinstance(plan, MappedPlan) or not resource.in_sql:
            return None
        asked = unit.database.backend, related
        made = found.get(asked)
        if made is None:
            own = Extending(plan, names, asked[0], related) if related else Renderer(plan, names, asked[0])
            made = found.keep(asked, own)
        return made if made.possible else None

    return renderer


def _history(resource: "Resource") -> Any:
    plan, shown = resource.plan, frozenset(resource.names)

    async def handle(query: Any) -> Any:
        unit = ambient_unit()
        record = record_id(plan, plan.key(query.id))
        trail = AuditTrail(unit.database)
        # The trail has no policies: of an id that another tenant has, or had, it would tell.
        secured = await unit.database.secures(plan.table)
        tenant = context.current().tenant if secured else None
        # Before the repository is asked, which may hold a connection from then on.
        page = await trail.page(
            component=plan.component, record_id=record, tenant=tenant, limit=query.limit, after=query.after
        )
        told = page.items and resource.usual(*_ONE) and not (secured and tenant is None)
        if not (told and await _is_gone(trail, page.items[-1], tenant)):
            await resource.repository.get(query.id, include_deleted=True)
        shown_of = [replace(one, before=_part(one.before, shown), after=_part(one.after, shown)) for one in page.items]
        return replace(page, items=shown_of)

    return handle


async def _is_gone(trail: AuditTrail, entry: AuditLog, tenant: str | None) -> bool:
    """Whether what this entry is about was deleted for good; otherwise it may be there, and hidden."""
    newest = await trail.query(
        component=entry.component, record_id=entry.record_id, tenant=tenant, kind="change", limit=1, newest_first=True
    )
    return newest[0].operation == "delete"


def _part(image: Mapping[str, Any] | None, shown: frozenset[str]) -> dict[str, Any] | None:
    return None if image is None else {name: value for name, value in image.items() if name in shown}


# ── writing ──


def _create(resource: "Resource") -> Any:
    make, direct = _maker(resource), resource.in_one_statement
    tenants = _tenants(resource)

    async def handle(command: Any) -> Any:
        unit = ambient_unit()
        if direct is not None and command.as_json and not contended.get() and await direct.ready(unit):
            return direct.create(unit, _given(command.values, tenants))
        entity = await resource.repository.add(make(command.values))
        await _settled(resource, entity)
        return entity

    return handle


def _replace(resource: "Resource") -> Any:
    change = _changer(resource)

    async def handle(command: Any) -> Any:
        values = resource.schemas.complete(command.values)
        row = await change(command, values)
        if row is not None:
            return row
        entity = await _expected(resource, command)
        _set(entity, values)
        await _settled(resource, entity)
        return entity

    return handle


def _merge(resource: "Resource") -> Any:
    change, parts = _changer(resource), resource.schemas.parts

    async def handle(command: Any) -> Any:
        given = {name: getattr(command.values, name) for name in command.values.model_fields_set}
        patches = {name: value for name in parts if type(value := given.get(name)) is Patch}
        row = None if patches else await change(command, given)
        if row is not None:
            return row
        entity = await _expected(resource, command)
        whole = {name: parts[name].merged(getattr(entity, name), patch) for name, patch in patches.items()}
        _set(entity, given | whole)
        await _settled(resource, entity)
        return entity

    return handle


def _changer(resource: "Resource") -> Callable[[Any, Mapping[str, Any]], Awaitable[Row | None]]:
    """What changes something in one statement; it gives back None where it has to be read before."""
    direct = resource.in_one_statement

    async def change(command: Any, values: Mapping[str, Any]) -> Row | None:
        if direct is None or not command.as_json or contended.get():
            return None
        tags, unit = command.expected, ambient_unit()
        versions = [] if tags is None or "*" in tags else [tag.strip('"') for tag in tags]
        if not direct.fits(values, versions) or not await direct.ready(unit):
            return None
        return direct.change(unit, command.id, values, versions)

    return change


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
    """Those with these ids, many to a query where the id is one value, looked up as usual. Raises `NotFound`."""
    plan = resource.plan
    name = plan.key_names[0] if isinstance(plan, MappedPlan) and len(plan.key_names) == 1 else ""
    field = ambient_unit().database.fields(plan).find(name) if name else None
    if field is None or "in" not in field.operators or not resource.usual(*_ONE):
        return [await resource.repository.get(id) for id in ids]
    wanted = {record_id(plan, plan.key(id)): id for id in ids}
    values, found, most = list(wanted.values()), dict[str, Any](), Limits().values
    for start in range(0, len(values), most):
        rows = await resource.repository.find(Filter(**{f"{name}__in": values[start : start + most]}))
        found |= {record_id(plan, plan.key_of(one)): one for one in rows}
    lost = next((id for text, id in wanted.items() if text not in found), None)
    if lost is not None:
        raise NotFound(resource.cls.__name__, lost)
    return [found[text] for text in wanted]


async def _expected(resource: "Resource", command: Any, *, include_deleted: bool = False) -> Any:
    """What the command is about, if it is still as the command says.

    A change between this and the commit is a conflict of versions there. Where there is none, and where somebody
    else was quicker before, the row is locked.
    """
    tags = command.expected
    lock = contended.get() or (tags is not None and _version_of(resource) is None)
    if lock and not resource.usual(*_ONE):
        await resource.repository.get(command.id, include_deleted=include_deleted)
    read = resource.repository.get_for_update if lock else resource.repository.get
    entity = await read(command.id, include_deleted=include_deleted)
    if tags is not None and "*" not in tags and tag_of(resource, entity) not in tags:
        name = resource.cls.__name__
        raise PreconditionFailed(f"{name} {id_text(command.id)!r} is not as it was when it was read; read it again.")
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


async def _settled(resource: "Resource", entity: Any) -> None:
    await made_whole(resource.plan, entity, resource.names)


# ── new objects ──


def _maker(resource: "Resource") -> Callable[[BaseModel], Any]:
    """From what a client gave to a new object."""
    make, tenants = maker(resource.plan), _tenants(resource)

    def of(given: BaseModel) -> Any:
        return make(_given(given, tenants))

    return of


def _tenants(resource: "Resource") -> list[str]:
    """The attributes that say whose it is."""
    return [one.name for one in resource.schemas.traits if one.name in TENANT and one.default is None]


def _given(values: BaseModel, tenants: Collection[str]) -> dict[str, Any]:
    """What the client gave, and whose it is."""
    found = {name: getattr(values, name) for name in values.model_fields_set}
    tenant = context.current().tenant if tenants else None
    return found if tenant is None else found | dict.fromkeys(tenants, tenant)


# Renderers that are kept: there is one for each set of what is included.
MOST_RENDERERS = 50
# What says whether there is one with an id.
_ONE = ("get", "get_by_id")
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
