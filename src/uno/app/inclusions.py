"""What a resource shows of the objects that its own refer to: no more than the resources of those do."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uno.data.plan import MappedPlan, mapped_plan
from uno.data.related import Related
from uno.data.schemas import Schemas, schemas_of
from uno.errors import Misconfigured

if TYPE_CHECKING:
    from uno.app.resources import Resource


@dataclass(frozen=True, slots=True)
class Joined:
    """An object, and the JSON values that are shown beside what is shown of it."""

    entity: Any
    beside: dict[str, Any]


def resources_of(resource: "Resource", name: str) -> list["Resource"]:
    """The resources of the class that a relationship leads to, or else those of its bases and its heirs."""
    target = target_of(resource, name).cls
    found = [one for one in resource.known or (resource,) if issubclass(one.cls, target) or issubclass(target, one.cls)]
    return [one for one in found if one.cls is target] or found


def asked_beside(resource: "Resource") -> list[tuple[str, str]]:
    """What clients may ask of related objects, with the option that allows it: `customer` and `customer.name`."""
    filtered = [one for one in resource.filters or () if "." in one and one.partition(".")[0] not in resource.names]
    return [*(("includable", one) for one in resource.includable), *(("filterable", one) for one in filtered)]


def doors(resource: "Resource", asked: str) -> list[type[Any]]:
    """The messages of other resources that show the same: who asks for it has to be let in by them as well.

    Those that read one, or several where that is what is asked; where a resource has neither, all that it has.
    """
    name, _, field = asked.partition(".")
    plan: Any = resource.plan
    several = field or plan.mapper.relationships[name].uselist
    found: list[type[Any]] = []
    for one in resources_of(resource, name):
        reading = [one.messages[kind] for kind in ("list", "get") if kind in one.operations]
        found += (reading[:1] if several else reading[-1:]) or one.messages.values()
    return found


def target_of(resource: "Resource", name: str) -> MappedPlan:
    """The plan of what a relationship leads to. Raises `Misconfigured` where it is none."""
    plan = resource.plan
    known: Any = plan.mapper.relationships if isinstance(plan, MappedPlan) else {}
    found = mapped_plan(known[name].mapper.class_) if name in known else None
    if found is None:
        has = f"it has {', '.join(sorted(known.keys()))}" if known else "it has none"
        raise Misconfigured(f"includable={name!r} is no relationship of {resource.cls.__name__}; {has}.")
    return found


def shown_schemas(resource: "Resource", name: str) -> Schemas:
    """The schemas of what is shown of a related object."""
    target = target_of(resource, name)
    hidden = {one for other in resources_of(resource, name) for one in other.hidden}
    return schemas_of(target.cls, hidden=sorted(hidden.intersection(target.names)))


def inclusion(resource: "Resource", name: str) -> Related:
    plan = resource.plan
    assert isinstance(plan, MappedPlan)
    shown = tuple(one.name for one in shown_schemas(resource, name).visible)
    return Related(plan, name, target_of(resource, name), shown, resource.limits.included)


def check_beside(resource: "Resource") -> None:
    """Raises `Misconfigured` for what cannot be asked of related objects."""
    cls = resource.cls.__name__
    if resource.includable and resource.serialise is not None:
        raise Misconfigured(f"What serialise= makes of {cls} has no place for includable=; leave one of them out.")
    for option, asked in asked_beside(resource):
        other = next((one for one in resources_of(resource, asked.partition(".")[0]) if not one.in_sql), None)
        if other is not None:
            own = "serialise=" if other.serialise is not None else f"{type(other.repository).__name__}, a repository"
            raise Misconfigured(
                f"{option}={asked!r} of {cls}: the resource of {other.cls.__name__} has {own} of its own, which nobody "
                "asks here; leave it out, or hide attributes by hidden= and rows by policies of the database."
            )


async def joined(related: tuple[Related, ...], uow: Any, entities: list[Any]) -> list[Any]:
    """Each with what it refers to."""
    found = {one.name: await one.beside(uow, entities) for one in related}
    plan = related[0].plan
    keys = [plan.key_of(one) for one in entities]
    return [
        Joined(entity, {name: values[key] for name, values in found.items()})
        for entity, key in zip(entities, keys, strict=True)
    ]
