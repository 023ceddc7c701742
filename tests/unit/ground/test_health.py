"""Health: every check is asked, the worst answer decides, and nothing hangs."""

import asyncio
import json
from datetime import timedelta

import pytest

from uno.health import Check, HealthReport, HealthStatus, report


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
