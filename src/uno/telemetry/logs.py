"""Logs: structlog over the standard library, every line with its correlation id."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from uno import context
from uno.redact import clean, flat, one_line

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


def configure_logging(
    level: int | str = "INFO", *, json: bool | None = None, handler: logging.Handler | None = None
) -> logging.Logger:
    """Write logs to standard error, or to `handler`; gives the logger "uno".

    `level` is a name or one of `logging`'s numbers. The lines are JSON, or colours on a terminal (`json=None`
    decides by it); a handler that has a formatter of its own keeps it, without uno's redaction.
    """
    shared = _shared()
    handler = handler or logging.StreamHandler(sys.stderr)
    if handler.formatter is None:
        handler.setFormatter(_formatter(shared, json=json, is_terminal=_is_terminal(handler)))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level if isinstance(level, int) else level.upper())
    # At every start-up alembic tells which of its plugins it has, at every stop SQLAlchemy that its pool ends.
    for talker in ("alembic", "uno.data.pool"):
        logging.getLogger(talker).setLevel(logging.WARNING)
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
    return logging.getLogger("uno")


def _shared() -> list[Any]:
    """For every line, whoever wrote it."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_context,
    ]


def _is_terminal(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    return stream is not None and stream.isatty()


def _formatter(shared: list[Any], *, json: bool | None, is_terminal: bool) -> logging.Formatter:
    as_json = not is_terminal if json is None else json
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        # Not structlog's own way with exceptions: it shows local variables, secrets among them.
        else structlog.dev.ConsoleRenderer(colors=is_terminal, exception_formatter=structlog.dev.plain_traceback)
    )
    last = [structlog.processors.format_exc_info, _redact, *([] if as_json else [_on_one_line]), renderer]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )


def get_logger(name: str) -> logging.Logger:
    """The logger called `name`; pass fields as `extra={...}`."""
    return logging.getLogger(name)
