"""What is told about SQL statements: to the watch of a transaction that one runs, and in spans.

A span is inside that of the message that runs the statement, and there is one only where spans are exported. It shows
the text, never the parameters.
"""

from collections.abc import Awaitable
from time import perf_counter
from typing import Any, TypeVar

from sqlalchemy import Engine, event

from uno import context
from uno.telemetry import trace
from uno.telemetry.catalogue import STATEMENT
from uno.telemetry.spans import Span
from uno.telemetry.trace import Tracer
from uno.telemetry.traces import failed

T = TypeVar("T")
# Characters of a statement.
LONGEST = 2_000


def statement_span(tracer: Tracer, sql: str, system: str) -> Span | None:
    """None outside a trace: what a worker asks while nothing is to be done is nobody's."""
    current = context.get()
    if current is None or current.traceparent is None:
        return None
    verb = sql.split(None, 1)[0].upper() if sql.strip() else ""
    span = tracer.start(STATEMENT.name(verb=verb), current, perf_counter())
    span.kind = STATEMENT.kind
    span.attributes.update({"db.system.name": system, "db.query.text": sql[:LONGEST]})
    return span


async def watched(tracer: Tracer, sql: str, system: str, work: Awaitable[T]) -> T:
    """What `work`, which runs the statement, gives."""
    span = statement_span(tracer, sql, system)
    if span is None:
        return await work
    try:
        return await work
    except BaseException as error:
        failed(span, error)
        raise
    finally:
        tracer.finish(span, perf_counter())


def watch(engine: Engine) -> None:
    """The same for everything that goes through SQLAlchemy, sessions too."""
    system = engine.dialect.name

    @event.listens_for(engine, "before_cursor_execute")
    def before(connection: Any, _cursor: Any, sql: str, _parameters: Any, execution: Any, _many: bool) -> None:
        held = connection.get_execution_options().get("uno_watch")
        if held is not None:
            held.begins()
        if trace.detail is not None and execution is not None:
            execution.uno_span = statement_span(trace.detail, sql, system)

    @event.listens_for(engine, "after_cursor_execute")
    def after(connection: Any, _cursor: Any, _sql: str, _parameters: Any, execution: Any, _many: bool) -> None:
        held = connection.get_execution_options().get("uno_watch")
        if held is not None:
            held.ends()
        if trace.detail is not None:
            _finish(execution)

    @event.listens_for(engine, "handle_error")
    def wrong(exception: Any) -> None:
        held = exception.connection and exception.connection.get_execution_options().get("uno_watch")
        if held is not None:
            held.ends()
        if trace.detail is not None:
            _finish(exception.execution_context, exception.original_exception)


def _finish(execution: Any, error: BaseException | None = None) -> None:
    span: Span | None = getattr(execution, "uno_span", None)
    if span is None or trace.detail is None:
        return
    execution.uno_span = None
    if error is not None:
        failed(span, error)
    trace.detail.finish(span, perf_counter())
