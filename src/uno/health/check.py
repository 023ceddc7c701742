"""Checks and their report.

A `Check` is a name and a function that raises, or returns how it is: None or True is healthy,
False is unhealthy, a `HealthStatus` or a whole `HealthCheckResult` is what it says.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from uno import clock
from uno.errors import Misconfigured, Problem
from uno.health.thread import asking
from uno.redact import clean, said

log = logging.getLogger("uno.health")
# Of a message, in characters: what is shown to everybody is no place for a whole traceback.
LONGEST = 300
# Seconds that a check whose time is over has for putting away what it used.
_GRACE = 0.1
_OUTSIDE = re.compile(
    r"database|postgres|mysql|sqlite|redis|mongo|kafka|rabbit|(?:^|[^a-z])(?:db|sql)(?:[^a-z]|$)", re.I
)


class HealthStatus(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


_BY_BADNESS = list(HealthStatus)


@dataclass(frozen=True, slots=True)
class HealthCheckResult:
    """What one check said; `duration_ms` in milliseconds."""

    name: str
    status: HealthStatus
    message: str = ""
    duration_ms: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": clean(self.name),
            "status": self.status.value,
            "message": clean(self.message),
            "duration_ms": self.duration_ms,
            "details": clean(self.details),
        }


@dataclass(frozen=True, slots=True)
class Check:
    """One question, answered within `timeout` seconds or unhealthy; what is not async is asked on a thread."""

    name: str
    ask: Callable[[], Any]
    timeout: float = 2.0
    liveness: bool = False
    readiness: bool = True

    def __post_init__(self) -> None:
        name: Any = self.name
        if not isinstance(name, str) or not callable(self.ask):
            raise Misconfigured(f"A check is a name and a function: Check('cache', ask), not {_said(self)}.")
        object.__setattr__(self, "ask", asking(self.ask))


def _said(check: Check) -> str:
    return f"Check({check.name!r}, {check.ask!r})"


def worst(results: Iterable[HealthCheckResult]) -> HealthStatus:
    """The worst status wins; where nothing was asked all is well."""
    return max((one.status for one in results), key=_BY_BADNESS.index, default=HealthStatus.HEALTHY)


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All results, and the status they amount to; `uptime_seconds` since the registry was made."""

    status: HealthStatus = HealthStatus.HEALTHY
    checks: Sequence[HealthCheckResult] = ()
    timestamp: datetime = field(default_factory=clock.now)
    version: str = ""
    uptime_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "status": self.status.value,
            "timestamp": self.timestamp.isoformat(),
            "version": self.version,
            "uptime_seconds": self.uptime_seconds,
            "checks": [one.to_dict() for one in self.checks],
        }


def _result(name: str, answer: Any) -> HealthCheckResult:
    if isinstance(answer, HealthCheckResult):
        return replace(answer, status=HealthStatus(answer.status))
    if isinstance(answer, HealthStatus):
        return HealthCheckResult(name, answer)
    if answer is None or answer is True:
        return HealthCheckResult(name, HealthStatus.HEALTHY)
    if answer is False:
        return HealthCheckResult(name, HealthStatus.UNHEALTHY, "it said no")
    raise Misconfigured(
        f"The check gave a {type(answer).__name__}; return None, a bool, a HealthStatus or a HealthCheckResult."
    )


async def _answer(check: Check) -> HealthCheckResult:
    try:
        return _result(check.name, await check.ask())
    # A failing check is the answer, and the report shows it. One that asks the process to exit fails too:
    # out of a task that would go through the whole event loop.
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return _unhealthy(check, said(error, str if isinstance(error, Exception) else repr) or type(error).__name__)


def _unhealthy(check: Check, message: str) -> HealthCheckResult:
    return HealthCheckResult(check.name, HealthStatus.UNHEALTHY, message)


async def _ask(check: Check) -> HealthCheckResult:
    """In a task of its own: what is cancelled inside is not the report, and what will not end is left behind."""
    task = asyncio.create_task(_answer(check), name=f"uno.health {check.name}")
    try:
        done, _ = await asyncio.wait([task], timeout=check.timeout)
    except asyncio.CancelledError:
        await _end(task)
        raise
    if not done:
        await _end(task)
        return _unhealthy(check, f"no answer within {check.timeout:g} s")
    return _unhealthy(check, "it was cancelled") if task.cancelled() else task.result()


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=_GRACE)


async def _timed(check: Check) -> HealthCheckResult:
    started = clock.monotonic()
    result = await _ask(check)
    # It may be the text of a driver's error, which names its address with the password.
    message = said(result.message, str)[:LONGEST]
    return replace(result, message=message, duration_ms=round((clock.monotonic() - started) * 1000, 3))


async def report(checks: Iterable[Check], *, version: str = "", uptime_seconds: float = 0.0) -> HealthReport:
    """Ask all checks at the same time."""
    found = tuple(await asyncio.gather(*(_timed(check) for check in checks)))
    return HealthReport(worst(found), found, version=version, uptime_seconds=uptime_seconds)


def duplicate_checks(checks: Iterable[Check]) -> list[Problem]:
    """The names that more than one check has: nobody could tell which of them is meant."""
    text = "{} health checks are called {}; give each its own name."
    return [
        Problem("duplicate check", name, text.format(count, name))
        for name, count in Counter(check.name for check in checks).items()
        if count > 1
    ]


def warn_of_restarts(checks: Iterable[Check]) -> None:
    """Log each liveness check that seems to ask something outside: a restart does not repair that."""
    for check in checks:
        if check.liveness and (getattr(check.ask, "outside", False) or _OUTSIDE.search(check.name)):
            log.warning(
                "the check %r decides liveness but depends on something outside: when that is away, "
                "healthy processes are restarted; liveness=False is the cure",
                check.name,
            )
