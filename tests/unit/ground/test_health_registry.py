"""Checks added by name: who is asked for what, synchronous ones too, and nothing that blocks."""

import asyncio
import logging
import threading
from typing import Any

import pytest

from uno.errors import Misconfigured
from uno.health import Check, HealthCheck, HealthCheckResult, HealthReport, HealthStatus

HEALTHY, DEGRADED, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY


class Host:
    """What `HealthCheck` asks of a `ModuleHost`."""

    def __init__(self, *modules: object, metrics: Any = None) -> None:
        self.modules = list(modules)
        self.events_in_progress: list[object] = []
        self.metrics = metrics


class Figures:
    def to_dict(self) -> dict[str, int]:
        return {"events_dispatched": 3}


def names(report: HealthReport) -> list[str]:
    return [one.name for one in report.checks]


def test_each_question_asks_its_own_checks() -> None:
    health = HealthCheck(version="1.2.0")
    health.add_check("loop", lambda: True, liveness=True, readiness=False)
    health.add_check("cache", lambda: True)
    health.add_check("both", lambda: True, liveness=True)
    assert names(health.check()) == ["loop", "cache", "both"]
    assert names(health.liveness()) == ["loop", "both"]
    assert names(health.readiness()) == ["cache", "both"]
    assert health.check().version == "1.2.0"


def test_a_check_of_the_same_name_gives_way_wherever_it_came_from() -> None:
    health = HealthCheck(checks=lambda: [Check("database", lambda: False), Check("cache", lambda: True)])
    health.add_check("database", lambda: True)
    report = health.check()
    assert (sorted(names(report)), report.status) == (["cache", "database"], HEALTHY)


def test_without_checks_all_is_well() -> None:
    health = HealthCheck()
    assert [r.status for r in (health.check(), health.liveness(), health.readiness())] == 3 * [HEALTHY]


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (None, HEALTHY, ""),
        (True, HEALTHY, ""),
        (False, UNHEALTHY, "it said no"),
        (HealthStatus.DEGRADED, DEGRADED, ""),
        (HealthCheckResult("x", DEGRADED, "slow"), DEGRADED, "slow"),
        ("fine", UNHEALTHY, "The check gave a str; return None, a bool, a HealthStatus or a HealthCheckResult."),
    ],
)
def test_what_an_answer_means_whether_the_function_is_async_or_not(
    answer: Any, status: HealthStatus, message: str
) -> None:
    async def ask() -> Any:
        return answer

    class Asker:
        async def __call__(self) -> Any:
            return answer

    health = HealthCheck()
    for name, function in {"sync": lambda: answer, "async": ask, "lambda": lambda: ask(), "object": Asker()}.items():
        health.add_check(name, function)
    report = health.check()
    assert [(one.status, one.message) for one in report.checks] == 4 * [(status, message)]
    assert report.status is status


def test_a_check_that_raises_is_unhealthy_under_its_own_name() -> None:
    def broken() -> None:
        raise ConnectionError("no route to host")

    def leaving() -> None:
        raise SystemExit(3)

    health = HealthCheck()
    health.add_check("db", broken)
    health.add_check("exit", leaving)
    health.add_check("ok", lambda: None)
    report = health.check()
    assert [(one.name, one.status, one.message) for one in report.checks] == [
        ("db", UNHEALTHY, "no route to host"),
        ("exit", UNHEALTHY, "SystemExit(3)"),
        ("ok", HEALTHY, ""),
    ]
    assert report.status is UNHEALTHY


def test_a_removed_check_is_not_asked_any_more() -> None:
    health = HealthCheck()
    health.add_check("cache", lambda: False)
    assert (health.remove_check("cache"), health.remove_check("cache")) == (True, False)
    assert health.check().checks == ()


async def test_synchronous_checks_run_at_the_same_time_and_beside_the_loop() -> None:
    met, health = threading.Barrier(2), HealthCheck()
    health.add_check("a", lambda: met.wait(10) is None)
    health.add_check("b", lambda: met.wait(10) is None)
    await health.check_async()
    assert not met.broken


async def test_a_check_that_hangs_is_unhealthy_in_time_and_takes_one_thread_however_often_it_is_asked() -> None:
    released, health, calls = threading.Event(), HealthCheck(), []

    def hang() -> None:
        calls.append(threading.current_thread())
        released.wait(30)

    health.add_check("db", hang, timeout=0.02)
    health.add_check("other", lambda: True)
    for _ in range(5):
        report = await health.check_async()
        assert [(one.status, one.message) for one in report.checks] == [
            (UNHEALTHY, "no answer within 0.02 s"),
            (HEALTHY, ""),
        ]
    assert len(calls) == 1
    released.set()
    await asyncio.to_thread(calls[0].join, 10)
    assert (await health.check_async()).status is HEALTHY


@pytest.mark.parametrize("question", ["check", "liveness", "readiness"])
async def test_a_synchronous_question_inside_a_loop_is_an_error_that_names_the_other(question: str) -> None:
    health = HealthCheck()
    with pytest.raises(Misconfigured, match=rf"`await health\.{question}_async\(\)`"):
        getattr(health, question)()
    assert (await getattr(health, f"{question}_async")()).status is HEALTHY


def test_a_host_without_modules_is_degraded_and_one_with_some_says_how_many() -> None:
    empty = HealthCheck(host=Host())
    for report in (empty.check(), empty.liveness(), empty.readiness()):
        assert (names(report), report.status) == (["host"], DEGRADED)
    [told] = HealthCheck(host=Host("a", "b", metrics=Figures())).check().checks
    assert told.status is HEALTHY
    assert told.details == {"modules_registered": 2, "events_in_progress": 0, "metrics": {"events_dispatched": 3}}


def test_a_report_and_a_result_are_plain_json() -> None:
    health = HealthCheck(version="2.0", checks=[Check("a", asked_well)])
    told = health.check().to_dict()
    assert (told["status"], told["version"]) == ("healthy", "2.0")
    assert told["uptime_seconds"] >= 0
    assert set(told["checks"][0]) == {"name", "status", "message", "duration_ms", "details"}
    assert HealthReport(HealthStatus.DEGRADED).to_dict()["status"] == "degraded"


async def asked_well() -> None:
    pass


def test_a_database_that_decides_liveness_is_allowed_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    health = HealthCheck()
    with caplog.at_level(logging.WARNING, logger="uno.health"):
        health.add_check("database", lambda: True, liveness=True)
        health.add_check("orders-db", lambda: True, liveness=True)
        health.add_check("dbus", lambda: True, liveness=True)
        health.add_check("redis", lambda: True)
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == ["database", "orders-db"]
    assert health.liveness().status is HEALTHY
