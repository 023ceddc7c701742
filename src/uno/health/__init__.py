"""Is it well? One registry of checks for liveness and readiness.

Liveness says "do not restart me" and should never depend on the database; readiness says "send me
requests".

check.py     Check, what its answer means, report(): all asked at the same time
thread.py    synchronous checks, each on a thread of its own
registry.py  HealthCheck: checks added by name
probes.py    checks of a web address, a port, a callable
"""

from uno.health.check import (
    Check,
    HealthCheckResult,
    HealthReport,
    HealthStatus,
    duplicate_checks,
    report,
    warn_of_restarts,
)
from uno.health.probes import create_callable_check, create_http_check, create_tcp_check
from uno.health.registry import HealthCheck

__all__ = [
    "Check",
    "HealthCheck",
    "HealthCheckResult",
    "HealthReport",
    "HealthStatus",
    "create_callable_check",
    "create_http_check",
    "create_tcp_check",
    "duplicate_checks",
    "report",
    "warn_of_restarts",
]
