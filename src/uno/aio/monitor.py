"""How the resources of a process are: one look at all of them, the worst decides."""

import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from uno import clock
from uno.aio.pool import ConnectionPool
from uno.aio.resources import Figures, ResourceRegistry, get_resource_registry
from uno.errors import Misconfigured
from uno.health import Check, HealthCheckResult, HealthStatus
from uno.redact import said
from uno.resilience.breaker import CircuitBreaker, CircuitState
from uno.resilience.bulkhead import Bulkhead
from uno.resilience.limit import RateLimiter

# Of a pool: failures in a row after which something is wrong with it, and after which it is of no use; how full it is
# at most.
_ERRORS, _MANY_ERRORS, _FULL = 3, 10, 0.9


class ResourceHealth(StrEnum):
    """UNKNOWN is what nobody can tell of; it does not make the whole worse."""

    HEALTHY = "healthy"
    UNKNOWN = "unknown"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


_BY_BADNESS = [ResourceHealth.HEALTHY, ResourceHealth.DEGRADED, ResourceHealth.UNHEALTHY]
Ask = Callable[[], Any]


class ResourceMonitor:
    """Looks at the resources of a registry, by default that of the event loop in which it is asked."""

    def __init__(self, registry: ResourceRegistry | None = None) -> None:
        self._registry = registry
        self._asked: dict[str, Ask] = {}

    @property
    def registry(self) -> ResourceRegistry:
        return get_resource_registry() if self._registry is None else self._registry

    def register_health_check(self, name: str, func: Ask) -> None:
        """Ask `func()`, async or not, how the resource `name` is: a bool or a `ResourceHealth`, or its value; what it
        raises is unhealthy."""
        if not callable(func):
            raise Misconfigured(f"The health check of {name!r} is a function without arguments, not {func!r}.")
        self._asked[name] = func

    async def health_of(self, name: str) -> ResourceHealth:
        """How this one is. Raises `Misconfigured` where there is none of this name."""
        ask = self._asked.get(name)
        if ask is None:
            return health_of(self.registry.get(name), self.registry.get_metrics()[name])
        try:
            answer = ask()
            return _answer(await answer if inspect.isawaitable(answer) else answer)
        except Misconfigured:
            raise
        except Exception:  # that is the answer; whoever asks sees it
            return ResourceHealth.UNHEALTHY

    async def get_health_summary(self) -> dict[str, Any]:
        """All of them: `timestamp`, `overall_health`, how many there are of each health, and each in `resources`."""
        kinds = {name: type(one).__name__ for name, one in self.registry.get_all_resources().items()}
        names = {**kinds, **{name: "check" for name in self._asked if name not in kinds}}
        found = {name: await self.health_of(name) for name in names}
        now = clock.now().isoformat()
        return {
            "timestamp": now,
            "overall_health": overall(found.values()).value,
            "resource_count": len(found),
            **{f"{health.value}_count": list(found.values()).count(health) for health in ResourceHealth},
            "resources": {
                name: {"health": health.value, "type": names[name], "last_updated": now}
                for name, health in found.items()
            },
        }

    def check(self, name: str = "resources") -> Check:
        """All of them as one check for `HealthCheck`: unhealthy ones degrade it, since others may do without them."""
        return Check(name, self._report)

    async def _report(self) -> HealthCheckResult:
        summary = await self.get_health_summary()
        bad = [
            f"{n} is {r['health']}" for n, r in summary["resources"].items() if r["health"] in ("degraded", "unhealthy")
        ]
        status = HealthStatus.DEGRADED if bad else HealthStatus.HEALTHY
        return HealthCheckResult("resources", status, "; ".join(bad))


def overall(found: Any) -> ResourceHealth:
    """The worst of them."""
    known = [health for health in found if health is not ResourceHealth.UNKNOWN]
    return max(known, key=_BY_BADNESS.index, default=ResourceHealth.HEALTHY)


def health_of(resource: Any, figures: Figures) -> ResourceHealth:
    """How a resource is, as far as its kind says it; its own `health()` decides where it has one."""
    if isinstance(resource, CircuitBreaker):
        return _BREAKERS[resource.state]
    if isinstance(resource, ConnectionPool):
        return _pool(resource.is_closed, figures)
    if isinstance(resource, RateLimiter | Bulkhead):
        return ResourceHealth.HEALTHY
    if "limit" in figures and "in_use" in figures:
        return _filled(figures["in_use"], figures["limit"])
    if "is_running" in figures:
        return ResourceHealth.HEALTHY if figures["is_running"] else ResourceHealth.UNHEALTHY
    return ResourceHealth.UNKNOWN


_BREAKERS = {
    CircuitState.CLOSED: ResourceHealth.HEALTHY,
    CircuitState.HALF_OPEN: ResourceHealth.DEGRADED,
    CircuitState.OPEN: ResourceHealth.UNHEALTHY,
}


def _pool(is_closed: bool, figures: Figures) -> ResourceHealth:
    errors = figures["failures_in_a_row"]
    if is_closed or errors > _MANY_ERRORS:
        return ResourceHealth.UNHEALTHY
    if errors > _ERRORS:
        return ResourceHealth.DEGRADED
    return _filled(figures["in_use_connections"], figures["max_size"])


def _filled(used: float, limit: float) -> ResourceHealth:
    return ResourceHealth.DEGRADED if used >= _FULL * limit else ResourceHealth.HEALTHY


def _answer(given: Any) -> ResourceHealth:
    if isinstance(given, bool) or given is None:
        return ResourceHealth.UNHEALTHY if given is False else ResourceHealth.HEALTHY
    try:
        return ResourceHealth(given)
    except ValueError:
        raise Misconfigured(f"A health check gives a bool or a ResourceHealth, not {said(given, repr)}.") from None


_monitor = ResourceMonitor()


def get_resource_monitor() -> ResourceMonitor:
    """The monitor of the registry of whichever event loop asks."""
    return _monitor
