"""The names of the systems uno grew out of, and where they live now.

`resolve("uno.core.AggregateEntity")` gives `uno.domain.AggregateRoot`. The table grows with uno;
`docs/seeds.md` is made from it.
"""

from importlib import import_module
from typing import Any

from uno.errors import Misconfigured

NAMES: dict[str, str] = {
    "uno.core.AggregateEntity": "uno.domain.AggregateRoot",
    "uno.core.AbstractUnitOfWork": "uno.data.UnitOfWork",
    "uno.core.BaseCommand": "uno.messages.Command",
    "uno.core.BaseDomainEvent": "uno.messages.DomainEvent",
    "uno.core.BaseEntity": "uno.domain.Entity",
    "uno.core.BaseQuery": "uno.messages.Query",
    "uno.core.BaseValueObject": "uno.domain.ValueObject",
    "uno.core.CommandBus": "uno.bus.CommandBus",
    "uno.core.Failure": "uno.result.Failure",
    "uno.core.QueryBus": "uno.bus.QueryBus",
    "uno.core.Repository": "uno.data.Repository",
    "uno.core.Success": "uno.result.Success",
    "uno.core.command_handler": "uno.bus.command_handler",
    "uno.core.cqrs": "uno.bus",
    "uno.core.domain": "uno.domain",
    "uno.core.errors.UnoError": "uno.errors.UnoError",
    "uno.core.event_handler": "uno.bus.event_handler",
    "uno.core.events": "uno.messages",
    "uno.core.generate_id": "uno.ids.new_id",
    "uno.core.query_handler": "uno.bus.query_handler",
    "uno.core.result": "uno.result",
    "uno.core.result.Failure": "uno.result.Failure",
    "uno.core.result.Success": "uno.result.Success",
    "uno.core.uow": "uno.data.unit_of_work",
    "uno.core.uow.AbstractUnitOfWork": "uno.data.UnitOfWork",
    "uno.dependencies": "uno.di",
    "uno.dependencies.discovery": "uno.di.discovery",
    "uno.dependencies.discovery.discover_services": "uno.di.discover",
    "uno.dependencies.fastapi_integration.DIAPIRouter": "uno.api.DIAPIRouter",
    "uno.dependencies.get_service_provider": "uno.di.get_service_provider",
    "uno.dependencies.inject_params": "uno.api.inject_params",
    "uno.dependencies.scoped": "uno.di.scoped",
    "uno.dependencies.singleton": "uno.di.singleton",
    "uno.dependencies.transient": "uno.di.transient",
    "uno.model.UnoModel": "uno.data.Model",
    "pymodules.Module": "uno.modules.Module",
    "pymodules.db.TimestampMixin": "uno.data.TimestampMixin",
    "pymodules.db.UUIDMixin": "uno.data.UUIDMixin",
    "pymodules.db.DatabaseSettings": "uno.data.DatabaseSettings",
    "pymodules.health.HealthStatus": "uno.health.HealthStatus",
    "pymodules.health.HealthReport": "uno.health.HealthReport",
    "pymodules.health.HealthCheckResult": "uno.health.HealthCheckResult",
}


def resolve(old_name: str) -> Any:
    """What an old name means today. Raises `Misconfigured` for a name that is not in the table."""
    new_name = NAMES.get(old_name)
    if new_name is None:
        raise Misconfigured(f"uno.compat knows no {old_name!r}; docs/seeds.md lists the names it knows.")
    home, _, name = new_name.rpartition(".")
    parent = import_module(home)
    return getattr(parent, name) if hasattr(parent, name) else import_module(new_name)
