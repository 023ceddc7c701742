"""What an application shows of itself: gauges of its database, its tracer, and who needs an extra."""

import subprocess
import sys
from datetime import timedelta

import pytest

from uno import clock
from uno.app import App, Module
from uno.bus import command_handler, event_handler
from uno.data import UnitOfWork
from uno.messages import Command, DomainEvent
from uno.telemetry import Span, TraceContext, Tracer, get_tracer, set_tracer, span


class Sold(DomainEvent):
    item_id: str


class Sell(Command[None]):
    item_id: str


@command_handler(Sell)
async def sell(command: Sell, uow: UnitOfWork) -> None:
    uow.record(Sold(item_id=command.item_id))


@event_handler(Sold, durable=True, name="shop.pack")
async def pack(event: Sold) -> None:
    pass


class Later(clock.SystemClock):
    seconds = 0.0

    def now(self):  # type: ignore[no-untyped-def]
        return super().now() + timedelta(seconds=self.seconds)


def shop(**options: object) -> App:
    return App(Module("shop", handlers=[sell, pack]), database="sqlite://", **options)  # type: ignore[arg-type]


async def lag(app: App) -> float:
    figures = {one.gauge.name: one.values for one in await app.metrics.figures()}
    return figures["uno_queue_lag_seconds"][""]


async def test_the_lag_of_the_queue_is_that_of_its_oldest_delivery() -> None:
    async with shop() as app:
        assert await lag(app) == 0
        (await app.bus.dispatch(Sell(item_id="lamp"))).unwrap()
        with clock.use(Later()) as later:
            later.seconds = 30
            assert 29 <= await lag(app) <= 40
            await app.worker().drain()
            assert await lag(app) == 0


async def test_gauges_of_an_application_that_has_ended_say_nothing() -> None:
    threads = "uno_threads"  # of the process, not of the application
    async with shop() as app:
        names = {one.gauge.name for one in await app.metrics.figures()} - {threads}
    assert names == {"uno_pool_connections", "uno_pool_wait_seconds", "uno_queue_lag_seconds"}
    assert {one.gauge.name for one in await app.metrics.figures()} <= {threads}


async def test_the_tracer_of_a_running_application_is_that_of_the_process() -> None:
    before = get_tracer()
    async with shop() as app:
        assert get_tracer() is app.tracer
        with span("mine"):
            pass
        async with shop() as other:
            assert get_tracer() is other.tracer is not app.tracer
        assert get_tracer() is app.tracer
    assert get_tracer() is before
    assert [one.name for one in app.tracer.finished] == ["mine"]


async def test_an_application_takes_the_tracer_that_was_set_and_gives_it_everything() -> None:
    exported: list[Span] = []

    def export(trace: TraceContext) -> None:
        exported.extend(trace.spans)

    set_tracer(Tracer("shop", export))
    try:
        async with shop() as app:
            (await app.bus.dispatch(Sell(item_id="lamp"))).unwrap()
            await app.worker().drain()
    finally:
        set_tracer(None)
    names = [one.name for one in exported]
    for name in (f"{__name__}.Sell", f"handle {__name__}.Sell", f"send {__name__}.Sold", f"process {__name__}.Sold"):
        assert name in names
    assert "INSERT" in names
    assert len({one.trace_id for one in exported}) == 1


async def test_a_statement_that_fails_is_an_error_in_its_span() -> None:
    exported: list[Span] = []
    set_tracer(Tracer("shop", lambda trace: exported.extend(trace.spans)))
    try:
        async with shop() as app:
            assert app.database is not None
            with pytest.raises(Exception, match="no such table"), span("work"):
                async with app.database.lease() as lease:
                    await lease.fetch_text("SELECT 'hunter2' FROM nowhere", ())
    finally:
        set_tracer(None)
    [failed] = [one for one in exported if one.kind == "client"]
    assert (failed.name, failed.status) == ("SELECT", "error")
    assert "no such table" in failed.attributes["error"]


async def test_without_an_exporter_nobody_makes_more_spans_than_those_of_messages() -> None:
    async with shop() as app:
        (await app.bus.dispatch(Sell(item_id="lamp"))).unwrap()
        await app.worker().drain()
    assert [one.name for one in app.tracer.finished] == [f"{__name__}.Sell", f"{__name__}.Sold"]


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [
        ("opentelemetry", "OpenTelemetryExporter", "otel"),
        ("prometheus_client", "exposition", "metrics"),
        ("prometheus_client", "MessageCollector", "metrics"),
    ],
)
def test_a_missing_extra_is_one_sentence_that_says_what_to_install(library: str, name: str, extra: str) -> None:
    program = f"import sys; sys.modules[{library!r}] = None; from uno.telemetry import {name}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert last.endswith(f"needs the extra '{extra}': run `python -m pip install 'uno[{extra}]'`.")


def test_telemetry_itself_loads_no_exporter() -> None:
    program = (
        "import sys, uno.telemetry; print([m for m in sys.modules if m.startswith(('opentelemetry', 'prometheus'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
