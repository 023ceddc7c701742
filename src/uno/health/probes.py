"""Checks of what is outside: a web address, a port; and of anything that can be called."""

import http.client
import inspect
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from time import perf_counter
from typing import Any
from urllib.parse import SplitResult, urlsplit

from uno.errors import Invalid
from uno.health.check import HealthCheckResult, HealthStatus


class Probe:
    """A synchronous check that asks `look()` for a message and details; what it raises is unhealthy.

    `outside` says that it depends on something other than this process.
    """

    outside = True

    def __init__(self, name: str, timeout: float, look: Callable[[], tuple[str, dict[str, Any]]]) -> None:
        self.name = name
        # One second more for the thread around it: its own message says more than "no answer".
        self.timeout = timeout + 1.0
        self._look = look

    def __call__(self) -> HealthCheckResult:
        started = perf_counter()
        try:
            message, details = self._look()
            status = HealthStatus.HEALTHY
        except (OSError, http.client.HTTPException) as error:
            message, details, status = str(error) or type(error).__name__, {}, HealthStatus.UNHEALTHY
        return HealthCheckResult(self.name, status, message, round((perf_counter() - started) * 1000, 3), details)


def create_http_check(name: str, url: str, timeout: float = 5.0) -> Probe:
    """Healthy while a GET of `url` is answered with a status below 400, each step within `timeout` seconds."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(f"The check {name!r} needs an address that begins with http:// or https:// and names a host.")

    def look() -> tuple[str, dict[str, Any]]:
        status = _status(parts, timeout)
        if status >= 400:
            raise ConnectionError(f"{parts.hostname} answers {status}")
        return f"{parts.hostname} answers {status}", {"status_code": status}

    return Probe(name, timeout, look)


def _status(parts: SplitResult, timeout: float) -> int:
    host = parts.hostname or ""
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=timeout)
    )
    with closing(connection):
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        return connection.getresponse().status


def create_tcp_check(name: str, host: str, port: int, timeout: float = 5.0) -> Probe:
    """Healthy while `host` accepts a connection on `port` within `timeout` seconds."""

    def look() -> tuple[str, dict[str, Any]]:
        with socket.create_connection((host, port), timeout):
            return f"{host}:{port} accepts connections", {}

    return Probe(name, timeout, look)


def create_callable_check(
    name: str, func: Callable[[], Any], healthy_message: str = "", unhealthy_message: str = ""
) -> Callable[[], Any]:
    """Healthy while `func()`, async or not, is true; what it raises is unhealthy, and its message says what."""

    def told(well: object) -> HealthCheckResult:
        if well:
            return HealthCheckResult(name, HealthStatus.HEALTHY, healthy_message)
        return HealthCheckResult(name, HealthStatus.UNHEALTHY, unhealthy_message)

    def check() -> HealthCheckResult:
        try:
            return told(func())
        except Exception as error:  # the report shows it
            return HealthCheckResult(name, HealthStatus.UNHEALTHY, str(error) or type(error).__name__)

    async def check_async() -> HealthCheckResult:
        # What it raises is unhealthy too: the report sees to that.
        return told(await func())

    return check_async if inspect.iscoroutinefunction(func) else check
