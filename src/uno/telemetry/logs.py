"""Logs: structlog over the standard library, every line with its correlation id."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from uno import context
from uno.telemetry.redact import clean, flat, one_line

_OF_MANY_LINES = ("exception", "stack", "stack_info")


def _add_context(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    current = context.get()
    if current is not None:
        event.setdefault("correlation_id", current.correlation_id)
        if current.actor is not None:
            event.setdefault("actor", current.actor)
        if current.traceparent is not None:
            event.setdefault("trace_id", current.traceparent[3:-20])
            event.setdefault("span_id", current.traceparent[-19:-3])
    return event


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    cleaned: dict[str, Any] = clean(event)
    return cleaned


def _on_one_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For people: what JSON escapes by itself. Only a traceback has lines, and each shows that it is part of one."""
    return {
        one_line(name): _indented(value) if name in _OF_MANY_LINES else flat(value) for name, value in event.items()
    }


def _indented(text: Any) -> Any:
    lines = str(text).split("\n")
    return "\n".join(f"  | {one_line(line)}" for line in lines)


def configure_logging(*, level: str = "INFO", json: bool | None = None) -> None:
    """Write logs to standard error: JSON, or colours on a terminal (`json=None` decides by it)."""
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_context,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        # Not structlog's own way with exceptions: it shows local variables, secrets among them.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    last = [structlog.processors.format_exc_info, _redact, *([] if as_json else [_on_one_line]), renderer]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # It tells at every start-up which of its plugins it has.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> logging.Logger:
    """The logger called `name`; pass fields as `extra={...}`."""
    return logging.getLogger(name)
