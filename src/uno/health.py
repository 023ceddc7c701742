"""Is it well? One registry of checks for liveness and readiness.

A `Check` is a name and an async function that raises, or returns a `HealthStatus`. Liveness says
"do not restart me" and never depends on the database; readiness says "send me requests".
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from uno import clock


class HealthStatus(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


_BY_BADNESS = list(HealthStatus)


@dataclass(frozen=True, slots=True)
class Check:
    """One question, answered within `timeout` seconds or unhealthy."""

    name: str
    ask: Callable[[], Awaitable[HealthStatus | None]]
    timeout: float = 2.0
    liveness: bool = False


@dataclass(frozen=True, slots=True)
class HealthCheckResult:
    name: str
    status: HealthStatus
    message: str = ""
    duration_ms: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "status": self.status.value,
            "message": self.message,
            "duration_ms": self.duration_ms,
        }


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All results; the worst one decides."""

    checks: tuple[HealthCheckResult, ...] = ()
    timestamp: datetime = field(default_factory=clock.now)

    @property
    def status(self) -> HealthStatus:
        return max((c.status for c in self.checks), key=_BY_BADNESS.index, default=HealthStatus.HEALTHY)

    def to_dict(self) -> dict[str, Any]:
        return {
            "status": self.status.value,
            "timestamp": self.timestamp.isoformat(),
            "checks": [c.to_dict() for c in self.checks],
        }


async def _outcome(check: Check) -> tuple[HealthStatus, str]:
    try:
        async with asyncio.timeout(check.timeout):
            return await check.ask() or HealthStatus.HEALTHY, ""
    except TimeoutError:
        return HealthStatus.UNHEALTHY, f"no answer within {check.timeout:g} s"
    except Exception as error:  # a failing check is the answer, and the report shows it
        return HealthStatus.UNHEALTHY, str(error) or type(error).__name__


async def _run(check: Check) -> HealthCheckResult:
    started = clock.monotonic()
    status, message = await _outcome(check)
    return HealthCheckResult(check.name, status, message, round((clock.monotonic() - started) * 1000, 3))


async def report(checks: Iterable[Check]) -> HealthReport:
    """Ask all checks at the same time."""
    return HealthReport(tuple(await asyncio.gather(*(_run(check) for check in checks))))
