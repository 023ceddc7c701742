"""`HealthCheck`: checks by name, asked for liveness, for readiness or all of them."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from uno import clock
from uno.errors import Misconfigured
from uno.health.check import Check, HealthCheckResult, HealthReport, HealthStatus, report, warn_of_restarts

# Seconds for a check that does not say how long it takes.
TIMEOUT = 5.0


class HealthCheck:
    """A registry of checks. With a `host` (a `ModuleHost`) there is the check "host", degraded without modules.

    `checks` are there from the start; a function that gives checks is asked each time which they are.
    """

    def __init__(
        self, host: Any = None, version: str = "", checks: Iterable[Check] | Callable[[], Iterable[Check]] = ()
    ) -> None:
        self.version = version
        self._began = clock.monotonic()
        self._checks: dict[str, Check] = {}
        self._others = checks if callable(checks) else tuple
        if host is not None:
            self._add(Check("host", _of_host(host), TIMEOUT, liveness=True))
        for check in () if callable(checks) else checks:
            self._add(check)

    def add_check(
        self,
        name: str,
        func: Callable[[], Any],
        liveness: bool = False,
        readiness: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Ask `func()`, async or not, within `timeout` seconds (default: its own, or 5).

        It raises, or gives None, a bool, a `HealthStatus` or a `HealthCheckResult`. A function that is not
        async runs on a thread. Another check of the same name gives way.
        """
        own: float = getattr(func, "timeout", TIMEOUT)
        self._add(Check(name, func, timeout or own, liveness, readiness))

    def _add(self, check: Check) -> None:
        self._checks[check.name] = check
        warn_of_restarts([check])

    def remove_check(self, name: str) -> bool:
        """Ask it no more; whether there was one."""
        return self._checks.pop(name, None) is not None

    @property
    def checks(self) -> tuple[Check, ...]:
        others = (check for check in self._others() if check.name not in self._checks)
        return (*others, *self._checks.values())

    async def check_async(self) -> HealthReport:
        """Ask all."""
        return await self._report(self.checks)

    async def liveness_async(self) -> HealthReport:
        """Ask those that decide whether the process has to be restarted; healthy where there are none."""
        return await self._report(c for c in self.checks if c.liveness)

    async def readiness_async(self) -> HealthReport:
        """Ask those that decide whether it gets requests."""
        return await self._report(c for c in self.checks if c.readiness)

    def check(self) -> HealthReport:
        """`check_async` outside an event loop; inside one it raises `Misconfigured`."""
        return _outside_a_loop(self.check_async)

    def liveness(self) -> HealthReport:
        """`liveness_async` outside an event loop."""
        return _outside_a_loop(self.liveness_async)

    def readiness(self) -> HealthReport:
        """`readiness_async` outside an event loop."""
        return _outside_a_loop(self.readiness_async)

    async def _report(self, checks: Iterable[Check]) -> HealthReport:
        uptime = round(clock.monotonic() - self._began, 3)
        return await report(checks, version=self.version, uptime_seconds=uptime)


def _outside_a_loop(ask: Callable[[], Coroutine[Any, Any, HealthReport]]) -> HealthReport:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(ask())
    name = getattr(ask, "__name__", "check_async")
    raise Misconfigured(f"Checks wait for answers, which would stop the running event loop: `await health.{name}()`.")


def _of_host(host: Any) -> Callable[[], Coroutine[Any, Any, HealthCheckResult]]:
    async def ask() -> HealthCheckResult:
        count = len(host.modules)
        details = {"modules_registered": count, "events_in_progress": len(host.events_in_progress)}
        if host.metrics is not None:
            details["metrics"] = host.metrics.to_dict()
        if not count:
            return HealthCheckResult("host", HealthStatus.DEGRADED, "no modules are registered", details=details)
        return HealthCheckResult("host", HealthStatus.HEALTHY, details=details)

    return ask
