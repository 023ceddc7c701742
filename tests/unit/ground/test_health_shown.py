"""What a report shows to everybody: no passwords, and no more than a few lines."""

import json
import threading
from typing import Any

import pytest

from uno.errors import Misconfigured
from uno.health import Check, HealthCheckResult, HealthStatus, report

URL = "postgres://ada:s3cret@db/shop"


async def refused() -> None:
    raise ConnectionError(f"cannot reach {URL} with password=s3cret")


def told() -> HealthCheckResult:
    return HealthCheckResult("db", HealthStatus.DEGRADED, f"slow: {URL}", details={"url": URL, "token": "s3cret"})


@pytest.mark.parametrize("ask", [refused, told])
async def test_a_report_has_no_passwords(ask: Any) -> None:
    found = await report([Check("db", ask)])
    shown = json.dumps(found.to_dict())
    assert "s3cret" not in shown
    assert "postgres://ada:***@db/shop" in shown


async def test_a_message_has_an_end() -> None:
    async def broken() -> None:
        raise ValueError(f"{URL} " + "x" * 10_000)

    [found] = (await report([Check("db", broken)])).checks
    assert len(found.message) == 300
    assert "s3cret" not in found.message


async def test_a_check_that_is_not_async_is_asked_on_a_thread() -> None:
    asked: list[threading.Thread] = []
    check = Check("disk", lambda: asked.append(threading.current_thread()))
    assert (await report([check])).status is HealthStatus.HEALTHY
    assert asked[0] is not threading.main_thread()
    assert (await report([Check("full", lambda: False)])).status is HealthStatus.UNHEALTHY


def test_a_check_without_a_function_is_a_mistake() -> None:
    ask: Any = True
    with pytest.raises(Misconfigured, match="a name and a function"):
        Check("db", ask)
