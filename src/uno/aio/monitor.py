"""How the resources of a process are: one look at all of them, the worst decides."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from uno import clock
from uno.aio.pool import ConnectionPool
from uno.aio.resource_entry import Figures
from uno.aio.resources import ResourceRegistry, get_resource_registry
from uno.errors import Misconfigured
from uno.health import Check, HealthCheckResult, HealthStatus, report
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
# The details of an answer that says nothing.
_UNKNOWN = {"health": "unknown"}
# Seconds for all together: each has a limit of its own.
_ALL = 60.0


@dataclass(frozen=True, slots=True)
class Looked:
    """How a resource is, and why; `asked` where it was asked, and not concluded from its figures."""

    health: ResourceHealth
    message: str = ""
    asked: bool = False

    @property
    def is_bad(self) -> bool:
        return self.health in (ResourceHealth.DEGRADED, ResourceHealth.UNHEALTHY)


class ResourceMonitor:
    """Looks at the resources of a registry, by default that of the event loop in which it is asked."""

    def __init__(self, registry: ResourceRegistry | None = None) -> None:
        self._registry = registry
        self._asked: dict[str, Check] = {}

    @property
    def registry(self) -> ResourceRegistry:
        return get_resource_registry() if self._registry is None else self._registry

    def register_health_check(self, name: str, func: Callable[[], Any], timeout: float = 2.0) -> None:
        """Ask `func()`, async or not, how the resource `name` is, within `timeout` seconds: a bool, a `ResourceHealth`
        or its value, or a `HealthCheckResult`. What it raises is unhealthy. What is not async is asked on a thread."""
        if not callable(func):
            raise Misconfigured(f"The health check of {name!r} is a function without arguments, not {func!r}.")
        self._asked[name] = Check(name, func, timeout)

    def remove_health_check(self, name: str) -> bool:
        """Ask it no more; whether it was."""
        return self._asked.pop(name, None) is not None

    def names(self) -> dict[str, str]:
        """Whatever is looked at, with its type."""
        kinds = {name: type(one).__name__ for name, one in self.registry.get_all_resources().items()}
        return {**kinds, **{name: "check" for name in self._asked if name not in kinds}}

    async def look(self, names: Iterable[str] | None = None) -> dict[str, Looked]:
        """How these are, or all; asked at the same time. Raises `Misconfigured` where there is none of a name."""
        wanted = list(self.names() if names is None else names)
        known = {name: self._known(name) for name in wanted}
        checks = {name: check for name in wanted if (check := self._check_of(name)) is not None}
        answers = (await report(Check(name, partial(_answer, one), one.timeout) for name, one in checks.items())).checks
        told = {name: _looked(answer) for name, answer in zip(checks, answers, strict=True)}
        return {name: _worse(told.get(name), known[name]) for name in wanted}

    def _known(self, name: str) -> Looked:
        """What the figures say, where nobody was named to ask."""
        if name in self._asked:
            return Looked(ResourceHealth.UNKNOWN)
        resource = self.registry.get(name)
        try:
            return Looked(health_of(resource, self.registry.figures(name)))
        except Exception as error:  # that is the answer; the others are looked at all the same
            return Looked(ResourceHealth.UNHEALTHY, f"its figures cannot be had: {said(error, repr)}")

    def _check_of(self, name: str) -> Check | None:
        return self._asked.get(name) or self.registry.check_of(name)

    async def health_of(self, name: str) -> ResourceHealth:
        """How this one is. Raises `Misconfigured` where there is none of this name."""
        return (await self.look([name]))[name].health

    async def get_health_summary(self) -> dict[str, Any]:
        """All of them: `timestamp`, `overall_health`, how many there are of each health, and each in `resources`."""
        kinds, found = self.names(), await self.look()
        now, healths = clock.now().isoformat(), [one.health for one in found.values()]
        return {
            "timestamp": now,
            "overall_health": overall(healths).value,
            "resource_count": len(found),
            **{f"{health.value}_count": healths.count(health) for health in ResourceHealth},
            "resources": {
                name: {
                    "health": one.health.value,
                    "type": kinds.get(name, "check"),
                    "last_updated": now,
                    "message": one.message,
                }
                for name, one in found.items()
            },
        }

    def check(self, name: str = "resources") -> Check:
        """All of them as one check for `HealthCheck`. One that was asked and is unhealthy decides; one that only its
        figures speak against, as an open breaker or a full pool, degrades it: others may do without."""
        return Check(name, self._report, _ALL)

    async def _report(self) -> HealthCheckResult:
        bad = {name: one for name, one in (await self.look()).items() if one.is_bad}
        texts = [f"{n} is {one.health.value}" + (f": {one.message}" if one.message else "") for n, one in bad.items()]
        status = HealthStatus.DEGRADED if bad else HealthStatus.HEALTHY
        if any(one.asked and one.health is ResourceHealth.UNHEALTHY for one in bad.values()):
            status = HealthStatus.UNHEALTHY
        return HealthCheckResult("resources", status, "; ".join(texts))


def overall(found: Any) -> ResourceHealth:
    """The worst of them."""
    known = [health for health in found if health is not ResourceHealth.UNKNOWN]
    return max(known, key=_BY_BADNESS.index, default=ResourceHealth.HEALTHY)


def health_of(resource: Any, figures: Figures) -> ResourceHealth:
    """How a resource is, as far as its kind says it."""
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
    # One place is full whenever it is used.
    return ResourceHealth.DEGRADED if limit > 1 and used >= _FULL * limit else ResourceHealth.HEALTHY


async def _answer(check: Check) -> HealthCheckResult:
    given = await check.ask()
    if isinstance(given, HealthCheckResult):
        return given
    if given is None or isinstance(given, bool):
        bad = given is False
        status = HealthStatus.UNHEALTHY if bad else HealthStatus.HEALTHY
        return HealthCheckResult(check.name, status, "it said no" if bad else "")
    if given == ResourceHealth.UNKNOWN:
        return HealthCheckResult(check.name, HealthStatus.HEALTHY, details=_UNKNOWN)
    try:
        return HealthCheckResult(check.name, HealthStatus(given))
    except ValueError:
        raise Misconfigured(f"A health check gives a bool or a ResourceHealth, not {said(given, repr)}.") from None


def _looked(answer: HealthCheckResult) -> Looked:
    health = ResourceHealth.UNKNOWN if answer.details is _UNKNOWN else ResourceHealth(answer.status)
    return Looked(health, answer.message, asked=True)


def _worse(told: Looked | None, known: Looked) -> Looked:
    """What it says of itself, unless its figures are worse."""
    if told is None or overall([told.health, known.health]) is not told.health:
        return known
    return told


_monitor = ResourceMonitor()


def get_resource_monitor() -> ResourceMonitor:
    """The monitor of the registry of whichever event loop asks."""
    return _monitor
