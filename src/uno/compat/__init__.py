"""The names of the systems uno grew out of, and where they live now.

`resolve("uno.core.AggregateEntity")` gives `uno.domain.AggregateRoot` and warns. The table grows with uno;
`docs/seeds.md` is made from it.

database.py     BaseRepository
errors.py       the errors of pymodules.api, as errors of uno's tree
pymodules.py    PyModulesAPI
variables.py    PYMODULES_* variables
"""

from functools import partial
from importlib import import_module
from typing import Any

from uno.compat.variables import adopt_environment, environment, warn
from uno.errors import Misconfigured

__all__ = ["NAMES", "adopt_environment", "environment", "resolve"]

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
    "uno.core.async": "uno.aio",
    "uno.core.async.AsyncContextGroup": "uno.aio.AsyncContextGroup",
    "uno.core.async.AsyncEvent": "uno.aio.AsyncEvent",
    "uno.core.async.AsyncLock": "uno.aio.AsyncLock",
    "uno.core.async.AsyncSemaphore": "uno.aio.AsyncSemaphore",
    "uno.core.async.Limiter": "uno.aio.AsyncSemaphore",
    "uno.core.async.RateLimiter": "uno.resilience.RateLimiter",
    "uno.core.async.TaskGroup": "uno.aio.TaskGroup",
    "uno.core.async.TaskManager": "uno.aio.TaskManager",
    "uno.core.async.timeout": "uno.aio.timeout",
    "uno.core.async_integration": "uno.aio",
    "uno.core.async_integration.AsyncBatcher": "uno.aio.AsyncBatcher",
    "uno.core.async_integration.AsyncCache": "uno.aio.AsyncCache",
    "uno.core.async_integration.cancellable": "uno.aio.cancellable",
    "uno.core.async_integration.concurrent_limited": "uno.aio.concurrent_limited",
    "uno.core.async_integration.rate_limited": "uno.aio.rate_limited",
    "uno.core.async_integration.retry": "uno.aio.retry",
    "uno.core.async_integration.timeout_handler": "uno.aio.timeout_handler",
    "uno.core.async_manager.as_task": "uno.aio.as_task",
    "uno.core.async_manager.get_async_manager": "uno.aio.get_async_manager",
    "uno.core.async_manager.run_application": "uno.aio.run_application",
    "uno.core.command_handler": "uno.bus.command_handler",
    "uno.core.cqrs": "uno.bus",
    "uno.core.domain": "uno.domain",
    "uno.core.errors.UnoError": "uno.errors.UnoError",
    "uno.core.event_handler": "uno.bus.event_handler",
    "uno.core.events": "uno.messages",
    "uno.core.fastapi_integration.create_health_endpoint": "uno.api.create_health_endpoint",
    "uno.core.fastapi_integration.create_resource_monitoring_endpoints": (
        "uno.api.create_resource_monitoring_endpoints"
    ),
    "uno.core.fastapi_integration.setup_resource_management": "uno.api.setup_resource_management",
    "uno.core.generate_id": "uno.ids.new_id",
    "uno.core.query_handler": "uno.bus.query_handler",
    "uno.core.resource_management.get_resource_manager": "uno.aio.get_resource_manager",
    "uno.core.resource_management.managed_background_task": "uno.aio.managed_background_task",
    "uno.core.resource_management.managed_connection_pool": "uno.aio.managed_connection_pool",
    "uno.core.resource_monitor.get_resource_monitor": "uno.aio.get_resource_monitor",
    "uno.core.resources.CircuitBreaker": "uno.resilience.CircuitBreaker",
    "uno.core.resources.ConnectionPool": "uno.aio.ConnectionPool",
    "uno.core.resources.ResourceRegistry": "uno.aio.ResourceRegistry",
    "uno.core.resources.get_resource_registry": "uno.aio.get_resource_registry",
    "uno.core.result": "uno.result",
    "uno.core.result.Failure": "uno.result.Failure",
    "uno.core.result.Success": "uno.result.Success",
    "uno.core.uow": "uno.data.unit_of_work",
    "uno.core.uow.AbstractUnitOfWork": "uno.data.UnitOfWork",
    "uno.database.enhanced_session.SessionOperationGroup": "uno.data.SessionOperationGroup",
    "uno.database.enhanced_session.enhanced_async_session": "uno.data.session",
    "uno.database.pooled_session.pooled_async_session": "uno.data.session",
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
    "pymodules.AsyncEventHandler": "uno.modules.AsyncEventHandler",
    "pymodules.Event": "uno.modules.Event",
    "pymodules.EventHandler": "uno.modules.EventHandler",
    "pymodules.EventHandlingError": "uno.modules.EventHandlingError",
    "pymodules.EventInput": "uno.modules.EventInput",
    "pymodules.EventLike": "uno.modules.EventLike",
    "pymodules.EventOutput": "uno.modules.EventOutput",
    "pymodules.Metrics": "uno.modules.Metrics",
    "pymodules.Module": "uno.modules.Module",
    "pymodules.ModuleHost": "uno.modules.ModuleHost",
    "pymodules.ModuleHostConfig": "uno.modules.ModuleHostConfig",
    "pymodules.ModuleMetadata": "uno.modules.ModuleMetadata",
    "pymodules.ModuleRegistrationError": "uno.modules.ModuleRegistrationError",
    "pymodules.PyModulesError": "uno.errors.UnoError",
    "pymodules.api": "uno.api",
    "pymodules.api.APIError": "uno.compat.errors.APIError",
    "pymodules.api.AuthenticationError": "uno.compat.errors.AuthenticationError",
    "pymodules.api.AuthorizationError": "uno.compat.errors.AuthorizationError",
    "pymodules.api.DiscoveredEvent": "uno.api.DiscoveredEvent",
    "pymodules.api.ErrorCode": "uno.compat.errors.ErrorCode",
    "pymodules.api.EventDiscovery": "uno.api.EventDiscovery",
    "pymodules.api.HTTPMethod": "uno.api.HTTPMethod",
    "pymodules.api.ModuleRouter": "uno.api.ModuleRouter",
    "pymodules.api.NotFoundError": "uno.compat.errors.NotFoundError",
    "pymodules.api.RESTConvention": "uno.api.RESTConvention",
    "pymodules.api.RouteConvention": "uno.api.RouteConvention",
    "pymodules.api.RouteInfo": "uno.api.RouteInfo",
    "pymodules.api.ValidationError": "uno.compat.errors.ValidationError",
    "pymodules.api.api_endpoint": "uno.api.api_endpoint",
    "pymodules.api.auth.AuthMiddleware": "uno.api.AuthMiddleware",
    "pymodules.api.auth.AuthProvider": "uno.api.AuthProvider",
    "pymodules.api.auth.JWTAuthProvider": "uno.api.JWTAuthProvider",
    "pymodules.api.auth.JWTSettings": "uno.security.JWTSettings",
    "pymodules.api.auth.TokenClaims": "uno.api.TokenClaims",
    "pymodules.api.auth.get_current_user": "uno.api.get_current_user",
    "pymodules.api.auth.require_auth": "uno.api.require_auth",
    "pymodules.api.auth.require_permissions": "uno.api.require_permissions",
    "pymodules.api.exclude_from_api": "uno.api.exclude_from_api",
    "pymodules.api.get_api_metadata": "uno.api.get_api_metadata",
    "pymodules.api.is_excluded_from_api": "uno.api.is_excluded_from_api",
    "pymodules.api.register_error_handlers": "uno.api.register_error_handlers",
    "pymodules.configure_logging": "uno.telemetry.configure_logging",
    "pymodules.db.Base": "uno.data.Model",
    "pymodules.db.BaseRepository": "uno.compat.database.BaseRepository",
    "pymodules.db.DatabaseSettings": "uno.data.DatabaseSettings",
    "pymodules.db.SoftDeleteMixin": "uno.data.SoftDeleteMixin",
    "pymodules.db.TimestampMixin": "uno.data.TimestampMixin",
    "pymodules.db.UUIDMixin": "uno.data.UUIDMixin",
    "pymodules.exceptions": "uno.modules.errors",
    "pymodules.exceptions.EventHandlingError": "uno.modules.EventHandlingError",
    "pymodules.exceptions.ModuleRegistrationError": "uno.modules.ModuleRegistrationError",
    "pymodules.exceptions.PyModulesError": "uno.errors.UnoError",
    "pymodules.fastapi": "uno.compat.pymodules",
    "pymodules.fastapi.PyModulesAPI": "uno.compat.pymodules.PyModulesAPI",
    "pymodules.fastapi.event_endpoint": "uno.compat.pymodules.event_endpoint",
    "pymodules.get_logger": "uno.telemetry.get_logger",
    "pymodules.health": "uno.health",
    "pymodules.health.HealthCheck": "uno.health.HealthCheck",
    "pymodules.health.HealthCheckResult": "uno.health.HealthCheckResult",
    "pymodules.health.HealthReport": "uno.health.HealthReport",
    "pymodules.health.HealthStatus": "uno.health.HealthStatus",
    "pymodules.health.create_callable_check": "uno.health.create_callable_check",
    "pymodules.health.create_http_check": "uno.health.create_http_check",
    "pymodules.health.create_tcp_check": "uno.health.create_tcp_check",
    "pymodules.module": "uno.modules.module",
    "pymodules.resilience": "uno.resilience",
    "pymodules.resilience.CircuitBreaker": "uno.resilience.CircuitBreaker",
    "pymodules.resilience.CircuitBreakerOpen": "uno.resilience.CircuitBreakerOpen",
    "pymodules.resilience.CircuitState": "uno.resilience.CircuitState",
    "pymodules.resilience.DeadLetterEntry": "uno.resilience.DeadLetterEntry",
    "pymodules.resilience.DeadLetterQueue": "uno.resilience.DeadLetterQueue",
    "pymodules.resilience.Fallback": "uno.resilience.Fallback",
    "pymodules.resilience.RateLimitExceeded": "uno.resilience.RateLimitExceeded",
    "pymodules.resilience.RateLimiter": "uno.resilience.RateLimiter",
    "pymodules.resilience.RetryPolicy": "uno.resilience.RetryPolicy",
    "pymodules.tracing": "uno.telemetry",
    "pymodules.tracing.OpenTelemetryExporter": "uno.telemetry.OpenTelemetryExporter",
    "pymodules.tracing.Span": "uno.telemetry.Span",
    "pymodules.tracing.TraceContext": "uno.telemetry.TraceContext",
    "pymodules.tracing.Tracer": "uno.telemetry.Tracer",
    "pymodules.tracing.extract_trace_context": "uno.telemetry.extract_trace_context",
    "pymodules.tracing.generate_id": "uno.telemetry.generate_id",
    "pymodules.tracing.get_correlation_id": "uno.telemetry.get_correlation_id",
    "pymodules.tracing.get_current_trace": "uno.telemetry.get_current_trace",
    "pymodules.tracing.get_tracer": "uno.telemetry.get_tracer",
    "pymodules.tracing.inject_trace_context": "uno.telemetry.inject_trace_context",
    "pymodules.tracing.set_tracer": "uno.telemetry.set_tracer",
}


def resolve(old_name: str) -> Any:
    """What an old name means today, with a `DeprecationWarning` that says where it is.

    For a name of PyModules its variables are adopted first. Raises `Misconfigured` for a name that is
    not in the table.
    """
    new_name = NAMES.get(old_name)
    if new_name is None:
        raise Misconfigured(f"uno.compat knows no {old_name!r}; docs/seeds.md lists the names it knows.")
    if old_name.startswith("pymodules."):
        adopt_environment(partial(warn, stacklevel=4))
    warn(f"{old_name} is {new_name} now.")
    home, _, name = new_name.rpartition(".")
    parent = import_module(home)
    return getattr(parent, name) if hasattr(parent, name) else import_module(new_name)
