"""Health: every check is asked, the worst answer decides, and nothing hangs."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import pytest

from uno import clock
from uno.health import Check, HealthCheckResult, HealthReport, HealthStatus, report


async def well() -> None:
    return None


async def slow() -> HealthStatus:
    return HealthStatus.DEGRADED


async def broken() -> None:
    raise ConnectionError("no route to host")


async def wordless() -> None:
    raise LookupError


async def hanging() -> None:
    await asyncio.Event().wait()


async def test_all_well_is_healthy() -> None:
    found = await report([Check("a", well), Check("b", well)])
    assert found.status is HealthStatus.HEALTHY
    assert [c.name for c in found.checks] == ["a", "b"]


async def test_no_checks_is_healthy() -> None:
    assert (await report([])).status is HealthStatus.HEALTHY


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((well, slow), HealthStatus.DEGRADED),
        ((slow, broken), HealthStatus.UNHEALTHY),
        ((broken, slow, well), HealthStatus.UNHEALTHY),
    ],
)
async def test_the_worst_answer_decides(asked: tuple[object, ...], expected: HealthStatus) -> None:
    assert (await report(Check(str(n), ask) for n, ask in enumerate(asked))).status is expected  # type: ignore[arg-type]


async def test_a_check_that_fails_says_why() -> None:
    found = await report([Check("db", broken), Check("x", wordless)])
    assert [c.message for c in found.checks] == ["no route to host", "LookupError"]


async def test_a_check_that_hangs_is_unhealthy_after_its_time() -> None:
    found = await report([Check("db", hanging, timeout=0.02), Check("other", well)])
    db, other = found.checks
    assert (db.status, db.message) == (HealthStatus.UNHEALTHY, "no answer within 0.02 s")
    assert db.duration_ms >= 15
    assert other.status is HealthStatus.HEALTHY


async def test_checks_are_asked_at_the_same_time() -> None:
    met = asyncio.Barrier(2)

    async def meet() -> None:
        await met.wait()

    assert (await report([Check("a", meet), Check("b", meet)])).status is HealthStatus.HEALTHY


async def test_a_cancelled_report_is_cancelled() -> None:
    task = asyncio.create_task(report([Check("db", hanging, timeout=60)]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def exits() -> None:
    raise SystemExit(2)


async def interrupts() -> None:
    raise KeyboardInterrupt


async def awaits_what_was_cancelled() -> None:
    other = asyncio.create_task(hanging())
    other.cancel()
    await other


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


async def mute() -> None:
    raise MuteError


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (exits, "SystemExit(2)"),
        (interrupts, "KeyboardInterrupt()"),
        (awaits_what_was_cancelled, "it was cancelled"),
        (mute, "<MuteError>"),
    ],
)
async def test_however_a_check_fails_the_others_are_reported(ask: Callable[[], Awaitable[None]], message: str) -> None:
    first, other = (await report([Check("x", ask), Check("other", well)])).checks
    assert (first.name, first.status, first.message) == ("x", HealthStatus.UNHEALTHY, message)
    assert other.status is HealthStatus.HEALTHY


async def test_a_check_that_will_not_be_cancelled_does_not_hold_the_report() -> None:
    over = asyncio.Event()

    async def stubborn() -> None:
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await over.wait()

    async with clock.timeout(20):
        [found] = (await report([Check("x", stubborn, timeout=0.02)])).checks
    assert found.message == "no answer within 0.02 s"
    over.set()


async def test_whatever_a_check_tells_has_a_json_form() -> None:
    async def ask() -> HealthCheckResult:
        details = {"o": object(), "nan": math.nan, 1: {2}, "half": "\ud800"}
        return HealthCheckResult("x", HealthStatus.HEALTHY, "\ud800", details=details)  # type: ignore[arg-type]

    told = (await report([Check("x", ask)])).to_dict()
    json.dumps(told, allow_nan=False, ensure_ascii=False).encode()
    assert told["checks"][0]["details"]["nan"] == "nan"


async def test_a_status_that_is_none_is_unhealthy() -> None:
    async def ask() -> HealthCheckResult:
        return HealthCheckResult("x", "fine")  # type: ignore[arg-type]

    [found] = (await report([Check("x", ask)])).checks
    assert found.status is HealthStatus.UNHEALTHY


async def test_a_report_is_plain_json() -> None:
    found = await report([Check("db", slow)])
    told = json.loads(json.dumps(found.to_dict()))
    assert told["status"] == "degraded"
    assert told["checks"][0] | {"duration_ms": 0} == {
        "name": "db",
        "status": "degraded",
        "message": "",
        "duration_ms": 0,
        "details": {},
    }
    assert found.timestamp.utcoffset() == timedelta(0)
    assert HealthReport().to_dict()["checks"] == []
