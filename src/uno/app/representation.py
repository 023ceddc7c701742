"""What is shown of an object: JSON values by name, in the forms of `uno.data.wire`."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import BaseModel

from uno.audit import AuditLog
from uno.data import wire
from uno.data.plan import MappedPlan
from uno.data.traits import Plan

if TYPE_CHECKING:
    from uno.app.resources import Resource

_ENTRY = tuple(one.name for one in fields(AuditLog))
Show = Callable[[Any], dict[str, Any]]
Encoders: TypeAlias = Sequence[tuple[str, Callable[[Any], Any]]]


def shown(resource: "Resource", entity: Any) -> dict[str, Any]:
    """Everything that can be seen of it."""
    return shower(resource)(entity)


def shower(resource: "Resource", names: Sequence[str] = ()) -> Show:
    """What shows these fields of an object, or all that can be seen."""
    pairs = resource.encoders
    if names:
        wanted = set(names)
        pairs = [pair for pair in pairs if pair[0] in wanted]
    return lambda entity: {name: encode(getattr(entity, name)) for name, encode in pairs}


def encoders(plan: Plan, names: Sequence[str]) -> Encoders:
    """What makes JSON values of these attributes."""
    known = {one.name: wire.encoder(one.column) for one in plan.attributes} if isinstance(plan, MappedPlan) else {}
    return [(name, known.get(name, wire.encode)) for name in names]


def entry_shown(entry: AuditLog) -> dict[str, Any]:
    """An entry of the audit trail."""
    return {name: wire.encode(getattr(entry, name)) for name in _ENTRY}


def maker(resource: "Resource", names: Sequence[str] = ()) -> Callable[[Any], Any]:
    """What makes JSON values of an object: the resource's own `serialise`, or what can be seen."""
    own: Any = resource.serialise
    if own is None:
        return shower(resource, names)
    if isinstance(own, type) and issubclass(own, BaseModel):
        return lambda entity: own.model_validate(entity, from_attributes=True).model_dump(mode="json", by_alias=True)
    return lambda entity: _plain(own(entity))


def _plain(made: Any) -> Any:
    return made.model_dump(mode="json", by_alias=True) if isinstance(made, BaseModel) else wire.encode(made)
