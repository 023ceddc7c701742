"""What handlers and providers ask for: whether that needs a database, and which tables."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from uno.audit import AuditTrail
from uno.bus import handles_of
from uno.bus.handler import name_of, parameters
from uno.data import Database, Repository, UnitOfWork
from uno.data.aggregates import storable
from uno.data.plan import MappedPlan
from uno.di import dependencies_of
from uno.di.dependencies import base_arguments
from uno.errors import Misconfigured, Problem
from uno.queue import DeadLetters


def needs_a_database(handlers: Sequence[Any], providers: Sequence[Any], models: Sequence[type]) -> bool:
    """Whether anything in the application is about a database."""
    if models or any(mark.durable for handler in handlers for mark in handles_of(handler)):
        return True
    about = {Database, UnitOfWork, AuditTrail, DeadLetters, Repository}
    if any(storable(kind) for handler in handlers for kind in asked_beside(handler)):
        return True
    return any(_origin(wanted) in about for _, wanted in _wanted(handlers, providers))


def _wanted(handlers: Sequence[Any], providers: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Who asks for what."""
    targets = [*handlers, *(h.handle for h in handlers if hasattr(h, "handle")), *providers]
    for target in filter(callable, targets):
        try:
            yield from ((target, one.type) for one in dependencies_of(target).values())
        except Misconfigured:  # the bus and the provider report it, with its place
            continue


def asked_beside(handler: Any) -> list[Any]:
    """What a handler asks for beside its message."""
    try:
        return [one.type for one in parameters(handler)[1].values()]
    except (Misconfigured, IndexError, TypeError, ValueError):  # it is no handler, which the bus reports
        return []


def unlisted(
    handlers: Sequence[Any], providers: Sequence[Any], models: Sequence[type], database: Database
) -> list[Problem]:
    """Tables that are asked for, and that nobody would create or check."""
    known = {plan.table.metadata for model in models if (plan := _mapped(database, model))}
    found: dict[Problem, None] = {}
    for target, wanted in _wanted(handlers, providers):
        entity = _entity_of(wanted)
        plan = None if entity is None else _mapped(database, entity)
        if entity is not None and plan is None and storable(entity) and (wrong := _unstorable(database, entity)):
            found[Problem("wrong model", entity.__qualname__, wrong)] = None
        if plan is not None and plan.table.metadata not in known:
            text = f"It asks for {plan.label}, whose table no module lists; add it to the models of one."
            found[Problem("unlisted model", name_of(target), text)] = None
    return list(found)


def _mapped(database: Database, entity: type) -> MappedPlan | None:
    try:
        plan = database.plan(entity)
    except Misconfigured:  # reported where it is listed, or as what cannot be provided
        return None
    return plan if isinstance(plan, MappedPlan) else None


def _unstorable(database: Database, entity: type) -> str | None:
    try:
        database.plan(entity)
    except Misconfigured as error:
        return str(error)
    return None


def _entity_of(wanted: Any) -> Any:
    """The `Order` of `Repository[Order]`, of a class derived from it, and where it is asked for itself."""
    if _origin(wanted) is not Repository:
        return wanted if storable(wanted) else None
    found = get_args(wanted) or base_arguments(wanted, Repository) or (None,)
    return found[0] if isinstance(found[0], type) else None


def _origin(wanted: Any) -> Any:
    origin = getattr(wanted, "__origin__", wanted)
    return Repository if isinstance(origin, type) and issubclass(origin, Repository) else origin
