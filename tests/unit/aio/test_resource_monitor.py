"""How the resources are: the worst decides, and what nobody can tell of does not."""

import asyncio
from typing import Any

import pytest

from uno.aio import ConnectionPool, ResourceHealth, ResourceMonitor, ResourceRegistry
from uno.errors import Misconfigured, Unavailable
from uno.health import HealthCheck, HealthCheckResult, HealthStatus


async def refused() -> None:
    raise OSError("nobody there")


def fail_with_a_secret() -> None:
    raise OSError("postgresql://shop:hunter2@db/shop")


async def fill(pool: ConnectionPool[Any], times: int) -> None:
    for _ in range(times):
        with pytest.raises(Unavailable):
            await pool.acquire()


async def test_a_summary_has_all_of_them_and_the_worst_decides() -> None:
    registry = ResourceRegistry()
    monitor = ResourceMonitor(registry)
    assert (await monitor.get_health_summary())["overall_health"] == "healthy"
    registry.breaker("payments", failure_threshold=1)
    registry.limiter("api")
    await registry.register("thing", object())
    summary = await monitor.get_health_summary()
    assert {name: one["health"] for name, one in summary["resources"].items()} == {
        "payments": "healthy",
        "api": "healthy",
        "thing": "unknown",
    }
    assert (summary["overall_health"], summary["resource_count"], summary["unknown_count"]) == ("healthy", 3, 1)
    registry.breaker("payments").record_failure()
    summary = await monitor.get_health_summary()
    assert (summary["overall_health"], summary["unhealthy_count"]) == ("unhealthy", 1)
    assert summary["resources"]["payments"]["type"] == "CircuitBreaker"
    assert set(summary) == {
        "timestamp", "overall_health", "resource_count", "healthy_count", "unknown_count", "degraded_count",
        "unhealthy_count", "resources",
    }  # fmt: skip


@pytest.mark.parametrize(("failures", "health"), [(3, "healthy"), (4, "degraded"), (10, "degraded"), (11, "unhealthy")])
async def test_a_pool_that_cannot_connect_gets_worse_and_recovers(failures: int, health: str) -> None:
    registry = ResourceRegistry()
    broken = True

    async def connect() -> object:
        return await refused() if broken else object()

    pool = registry.pool("broker", connect, retry_backoff=0.0)
    await fill(pool, failures)
    monitor = ResourceMonitor(registry)
    assert (await monitor.health_of("broker")) == health
    broken = False
    async with pool.connection():
        assert (await monitor.health_of("broker")) == "healthy"


async def test_a_pool_that_is_full_is_degraded_and_a_closed_one_unhealthy() -> None:
    registry = ResourceRegistry()
    pool = registry.pool("broker", object, max_size=2)
    monitor = ResourceMonitor(registry)
    async with pool.connection(), pool.connection():
        assert await monitor.health_of("broker") is ResourceHealth.DEGRADED
    await pool.close()
    assert await monitor.health_of("broker") is ResourceHealth.UNHEALTHY


async def test_figures_of_others_are_understood() -> None:
    registry = ResourceRegistry()
    await registry.register("database", object(), metrics=lambda: {"limit": 10, "in_use": 9})
    await registry.register("task", object(), metrics=lambda: {"is_running": False})
    monitor = ResourceMonitor(registry)
    assert await monitor.health_of("database") is ResourceHealth.DEGRADED
    assert await monitor.health_of("task") is ResourceHealth.UNHEALTHY
    await registry.register("in memory", object(), metrics=lambda: {"limit": 1, "in_use": 1})
    assert await monitor.health_of("in memory") is ResourceHealth.HEALTHY


@pytest.mark.parametrize(
    ("answer", "health"), [(True, "healthy"), (None, "healthy"), (False, "unhealthy"), ("degraded", "degraded")]
)
async def test_one_can_be_asked_by_a_function(answer: Any, health: str) -> None:
    monitor = ResourceMonitor(ResourceRegistry())
    monitor.register_health_check("disk", lambda: answer)
    assert await monitor.health_of("disk") == health
    assert (await monitor.get_health_summary())["resources"]["disk"]["type"] == "check"


async def test_an_empty_registry_of_ones_own_is_the_one_that_is_looked_at() -> None:
    monitor = ResourceMonitor(own := ResourceRegistry())
    assert monitor.registry is own


async def test_a_question_that_fails_or_hangs_or_is_answered_wrongly_is_unhealthy_and_says_why() -> None:
    monitor = ResourceMonitor(ResourceRegistry())
    monitor.register_health_check("disk", refused)
    monitor.register_health_check("wrong", lambda: "fine")
    monitor.register_health_check("hanging", asyncio.Event().wait, timeout=0.01)
    monitor.register_health_check("no", lambda: False)
    monitor.register_health_check("secret", fail_with_a_secret)
    monitor.register_health_check("full", lambda: HealthCheckResult("full", HealthStatus.DEGRADED, "97 %"))
    monitor.register_health_check("nobody knows", lambda: ResourceHealth.UNKNOWN)
    summary = await monitor.get_health_summary()
    found = {name: (one["health"], one["message"]) for name, one in summary["resources"].items()}
    assert found == {
        "disk": ("unhealthy", "nobody there"),
        "wrong": ("unhealthy", "A health check gives a bool or a ResourceHealth, not 'fine'."),
        "hanging": ("unhealthy", "no answer within 0.01 s"),
        "no": ("unhealthy", "it said no"),
        "secret": ("unhealthy", found["secret"][1]),
        "full": ("degraded", "97 %"),
        "nobody knows": ("unknown", ""),
    }
    assert "hunter2" not in found["secret"][1]
    with pytest.raises(Misconfigured, match="The health check of 'disk' is a function"):
        monitor.register_health_check("disk", True)  # type: ignore[arg-type]


async def test_those_that_are_asked_are_asked_at_the_same_time() -> None:
    met = asyncio.Barrier(2)

    async def meet() -> None:
        await met.wait()

    registry = ResourceRegistry()
    await registry.register("broker", object(), check=meet)
    monitor = ResourceMonitor(registry)
    monitor.register_health_check("disk", meet)
    assert (await monitor.get_health_summary())["healthy_count"] == 2
    assert monitor.remove_health_check("disk")
    assert not monitor.remove_health_check("disk")
    assert list(monitor.names()) == ["broker"]


async def test_a_resource_is_as_bad_as_its_answer_or_its_figures() -> None:
    registry, answer = ResourceRegistry(), ResourceHealth.HEALTHY
    figures = {"limit": 10, "in_use": 9}
    await registry.register("database", object(), metrics=lambda: figures, check=lambda: answer)
    monitor = ResourceMonitor(registry)
    assert await monitor.health_of("database") is ResourceHealth.DEGRADED
    figures["in_use"] = 1
    assert await monitor.health_of("database") is ResourceHealth.HEALTHY
    answer = ResourceHealth.UNHEALTHY
    assert await monitor.health_of("database") is ResourceHealth.UNHEALTHY
    report = await HealthCheck(checks=[monitor.check()]).check_async()
    assert (report.status, report.checks[0].message) == (HealthStatus.UNHEALTHY, "database is unhealthy")


async def test_in_a_report_of_health_it_is_one_check_that_degrades() -> None:
    registry = ResourceRegistry()
    registry.breaker("payments", failure_threshold=1).record_failure()
    report = await HealthCheck(checks=[ResourceMonitor(registry).check()]).readiness_async()
    assert report.status is HealthStatus.DEGRADED
    assert report.checks[0].message == "payments is unhealthy"


async def test_one_whose_figures_cannot_be_had_is_unhealthy_and_hides_none_of_the_others() -> None:
    asked: list[str] = []

    def fail() -> dict[str, object]:
        asked.append("mailer")
        raise RuntimeError("no connection")

    registry = ResourceRegistry()
    await registry.register("mailer", object(), metrics=fail)
    registry.breaker("payments")
    monitor = ResourceMonitor(registry)
    # Only the one that is asked for.
    assert await monitor.health_of("payments") == "healthy"
    assert asked == []
    summary = await monitor.get_health_summary()
    assert {name: one["health"] for name, one in summary["resources"].items()} == {
        "mailer": "unhealthy",
        "payments": "healthy",
    }
    assert summary["resources"]["mailer"]["message"] == "its figures cannot be had: RuntimeError('no connection')"
    health = HealthCheck(checks=lambda: [monitor.check()])
    assert (await health.check_async()).status is HealthStatus.DEGRADED
    assert registry.get_metrics()["mailer"] == {"type": "object", "error": "RuntimeError('no connection')"}
    assert registry.get_metrics()["payments"]["state"] == "closed"
