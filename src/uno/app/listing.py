"""Lists as clients ask for them: only what a resource allows is looked for, and sorted by."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from uno.data.database import fields_of
from uno.data.fields import Field, Searchable
from uno.data.filter_sql import compile_filter
from uno.data.filters import Filter
from uno.data.paging import Order, Page, after, orders, position
from uno.data.rendered import Renderer, Rows
from uno.data.unit_of_work import ambient_unit
from uno.errors import FieldError, Invalid

if TYPE_CHECKING:
    from uno.app.resources import Resource

# Wrong parameters in the text of one error; all are in its list.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Allowed:
    """Those of `fields` that are called so, or are inside JSON that is."""

    fields: Searchable
    names: Collection[str]

    def find(self, name: str) -> Field | None:
        if name not in self.names and name.partition(".")[0] not in self.names:
            return None
        return self.fields.find(name)


def wrong_in(resource: "Resource", given: Filter, sort: str, backend: str = "postgresql") -> list[FieldError]:
    """Everything that is wrong with what is looked for and sorted by."""
    fields = fields_of(resource.plan, backend)
    checks: list[Callable[[], object]] = [
        lambda: compile_filter(given, Allowed(fields, resource.filterable), backend, resource.limits),
        lambda: orders(sort, Allowed(fields, resource.sortable), ()),
    ]
    found: list[FieldError] = []
    for check in checks:
        try:
            check()
        except Invalid as error:
            found += error.errors
    return found


async def listed(resource: "Resource", query: Any, renderer: Renderer | None = None) -> Page[Any] | Rows:
    """The page that `query` asks for. Raises `Invalid` that names what is wrong."""
    unit = ambient_unit()
    database = unit.database
    plan = database.plan(resource.cls)
    fields = database.fields(plan)
    given, allowed = query.filter, Allowed(fields, resource.filterable)

    def ordered() -> list[Order]:
        # The key is always part of the order, whoever may ask for it.
        orders(query.sort, Allowed(fields, resource.sortable), ())
        return orders(query.sort, fields, plan.sort_names)

    try:
        conditions = [compile_filter(given, allowed, database.backend, resource.limits)] if given.parts else []
        order = ordered() if renderer is None else renderer.order(query.sort, ordered)
    except Invalid as error:
        found = wrong_in(resource, given, query.sort, database.backend)
        if len(found) <= len(error.errors):
            raise
        raise Invalid("; ".join(f"{one.field}: {one.message}" for one in found[:_NAMED]), found) from None
    if query.offset and query.after is not None:
        raise Invalid.field("offset", "It says where to begin, and so does `after`; give one of them.", "conflict")
    plain = renderer is not None and not (query.fields or query.offset) and renderer.ready(unit, order)
    if renderer is not None and plain:
        behind = [] if query.after is None else [after(order, position(query.after, order))]
        rows = await renderer.page(unit, order, query.limit, [*conditions, *behind])
        return replace(rows, total=await resource.repository.count(*conditions)) if query.total else rows
    return await resource.repository.page(
        *conditions,
        sort=query.sort,
        limit=query.limit,
        after=query.after,
        offset=query.offset,
        total=query.total,
        include=() if query.as_json else query.include,
    )
