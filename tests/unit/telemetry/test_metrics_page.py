"""Gauges are asked when somebody looks, and the page is what Prometheus reads."""

import asyncio
import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from uno.bus import Bus, command_handler, per_message
from uno.errors import Conflict
from uno.messages import Command
from uno.telemetry import MessageCollector, Metrics, Tracer, emit, exposition, observed, signal_counts
from uno.telemetry.metrics import BUCKETS


class Sell(Command[None]):
    how: str = "well"


@command_handler(Sell)
async def sell(message: Sell) -> None:
    if message.how == "refused":
        raise Conflict("sold out")
    if message.how == "bug":
        raise ZeroDivisionError


async def sold(*how: str) -> Metrics:
    metrics = Metrics()
    bus = Bus([sell], middleware=[per_message(observed(metrics, Tracer()))])
    for one in how:
        try:
            await bus.dispatch(Sell(how=one))
        except ZeroDivisionError:
            assert one == "bug"
    return metrics


Samples = Mapping[tuple[str, tuple[str, ...]], float]


async def page(metrics: Metrics) -> Samples:
    """What a scraper reads: by name and values of labels."""
    families = text_string_to_metric_families((await exposition(metrics)).decode())
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


async def test_the_page_has_rate_errors_and_duration_of_each_message_type() -> None:
    metrics = await sold("well", "well", "refused", "bug")
    samples = await page(metrics)
    [name] = metrics.messages
    assert samples["uno_message_seconds_count", (name,)] == 4
    assert samples["uno_message_failures_total", (name,)] == 1
    assert samples["uno_message_errors_total", (name,)] == 1
    assert samples["uno_message_seconds_sum", (name,)] == pytest.approx(metrics.messages[name].seconds)
    buckets = [value for (sample, _), value in samples.items() if sample == "uno_message_seconds_bucket"]
    assert (len(buckets), buckets[-1], buckets) == (len(BUCKETS) + 1, 4, sorted(buckets))


async def test_the_page_counts_signals() -> None:
    before = (await page(Metrics())).get(("uno_signals_total", ("gauge.failed",)), 0)
    emit("gauge.failed", gauge="x", error="")
    assert (await page(Metrics()))["uno_signals_total", ("gauge.failed",)] == before + 1


async def test_gauges_are_asked_at_each_look_whether_they_are_async_or_not() -> None:
    metrics, lags = Metrics(), iter([1.5, 2.5])

    async def lag() -> float:
        return next(lags)

    metrics.gauge("shop_lag_seconds", "How late.", lag)
    metrics.gauge("shop_pool", "Connections.", lambda: {"idle": 3, "in use": 1}, label="state")
    metrics.gauge("shop_nothing", "Nothing to tell.", lambda: None)
    for expected in (1.5, 2.5):
        samples = await page(metrics)
        assert samples["shop_lag_seconds", ()] == expected
        assert (samples["shop_pool", ("idle",)], samples["shop_pool", ("in use",)]) == (3, 1)
    assert not any(name == "shop_nothing" for name, _ in samples)


async def test_a_gauge_that_fails_is_left_out_and_told_and_the_others_stay(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> float:
        raise ConnectionError("no database")

    metrics = Metrics()
    metrics.gauge("shop_broken", "Broken.", broken)
    metrics.gauge("shop_works", "Works.", lambda: 1)
    with caplog.at_level(logging.WARNING, logger="uno.gauge"):
        samples = await page(metrics)
    assert {name for name, _ in samples if name.startswith("shop")} == {"shop_works"}
    assert [(vars(r)["gauge"], vars(r)["error"]) for r in caplog.records] == [("shop_broken", "no database")]


async def cancelled() -> float:
    other = asyncio.get_running_loop().create_future()
    other.cancel()
    await other
    return 1


def exits() -> float:
    raise SystemExit(2)


@pytest.mark.parametrize(
    "ask",
    [cancelled, exits, lambda: "many", lambda: "12", lambda: {"a": object()}, lambda: 10**400, lambda: {"a": "b"}],
)
async def test_whatever_a_gauge_says_the_others_stay(ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    metrics, before = Metrics(), signal_counts().get("gauge.failed", 0)
    metrics.gauge("shop_odd", "Odd.", ask, label="key")
    metrics.gauge("shop_works", "Works.", lambda: 1)
    with caplog.at_level(logging.WARNING, logger="uno.gauge"):
        for _ in range(3):
            samples = await page(metrics)
            assert {name for name, _ in samples if name.startswith("shop")} == {"shop_works"}
    assert [vars(r)["gauge"] for r in caplog.records] == ["shop_odd"]
    assert signal_counts()["gauge.failed"] == before + 3


async def test_a_mapping_without_a_label_fails_as_its_keys_would_be_lost(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    metrics.gauge("shop_shelves", "Shelves.", lambda: {"full": 1})
    metrics.gauge("shop_works", "Works.", lambda: 1)
    with caplog.at_level(logging.WARNING, logger="uno.gauge"):
        assert [figure.gauge.name for figure in await metrics.figures()] == ["shop_works"]
    [told] = [vars(record) for record in caplog.records]
    assert (told["gauge"], "label=" in told["error"]) == ("shop_shelves", True)


async def test_keys_of_any_kind_become_labels() -> None:
    metrics = Metrics()
    mixed: Any = {1: 1.0, "a": 2, None: Decimal(3)}
    metrics.gauge("shop_mixed", "Mixed.", lambda: mixed, label="key")
    samples = await page(metrics)
    assert [samples["shop_mixed", (key,)] for key in ("1", "a", "None")] == [1, 2, 3]


async def test_a_page_that_is_cancelled_is_cancelled() -> None:
    metrics = Metrics()
    metrics.gauge("shop_slow", "Slow.", lambda: asyncio.sleep(600, 1.0))
    task = asyncio.create_task(page(metrics))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_gauges_are_asked_at_the_same_time() -> None:
    metrics, met = Metrics(), asyncio.Barrier(3)

    async def meet() -> float:
        await met.wait()
        return 1

    for n in range(3):
        metrics.gauge(f"shop_{n}", "One of three.", meet)
    assert len(await metrics.figures()) == 3


async def test_names_that_could_break_the_page_do_not() -> None:
    metrics = Metrics()
    metrics.message('a"b\nuno_forged 1').record(0.1)
    samples = await page(metrics)
    assert samples["uno_message_seconds_count", ('a"b\nuno_forged 1',)] == 1
    assert not any(name == "uno_forged" for name, _ in samples)


async def test_a_registry_of_the_users_own_can_ask_uno() -> None:
    metrics = await sold("well")
    [name] = metrics.messages
    registry = CollectorRegistry()
    registry.register(MessageCollector(metrics))
    assert registry.get_sample_value("uno_message_seconds_count", {"message": name}) == 1
    metrics.message(name).record(0.1)
    assert registry.get_sample_value("uno_message_seconds_count", {"message": name}) == 2
