"""Logs: structlog over the standard library, every line with its correlation id."""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog

from uno import context
from uno.errors import Misconfigured
from uno.redact import clean, flat, one_line
from uno.telemetry.signals import Told
from uno.telemetry.spans import is_trace_id

_OF_MANY_LINES = ("exception", "stack", "stack_info")
# What every line says of itself, and nobody else: fields of these names are written as `extra_…`.
_OWN = frozenset({"event", "level", "logger", "timestamp", "exception", "stack"})
_MARKS = frozenset({"_record", "_from_structlog", "_logger", "_name"})
_OF_RECORDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def _set_aside(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Those of structlog's fields whose names are taken."""
    for name in _OWN & event.keys() - {"event"}:
        event[f"extra_{name}"] = event.pop(name)
    return event


def _add_fields(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What a record got as `extra`."""
    record = event.get("_record")
    if record is not None and isinstance(record.msg, Told):
        event["event"] = record.msg.sentence
    for name, value in vars(record).items() if record is not None else ():
        if name not in _OF_RECORDS:
            event[f"extra_{name}" if name in _OWN or name in _MARKS else name] = value
    return event


def _add_context(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    current = context.get()
    if current is None:
        return event
    _set(event, "correlation_id", current.correlation_id)
    if current.actor is not None:
        _set(event, "actor", current.actor)
    if current.traceparent is not None:
        _set(event, "trace_id", current.traceparent[3:-20])
        _set(event, "span_id", current.traceparent[-19:-3])
    elif is_trace_id(current.correlation_id):
        _set(event, "trace_id", current.correlation_id)
    return event


def _set(event: MutableMapping[str, Any], name: str, value: str) -> None:
    """uno's own word goes first; another of the same name is kept beside it."""
    said = event.get(name, value)
    if not isinstance(said, str) or said != value:
        event[f"extra_{name}"] = said
    event[name] = value


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
    Raises `Misconfigured` for a level that is none.
    """
    lowest = _level(level)
    shared = _shared()
    handler = handler or logging.StreamHandler(sys.stderr)
    if handler.formatter is None:
        handler.setFormatter(_formatter(shared, json=json, is_terminal=_is_terminal(handler)))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(lowest)
    # At every start-up alembic tells which of its plugins it has, at every stop SQLAlchemy that its pool ends.
    for talker in ("alembic", "uno.data.pool", "uno.data.sqlite_direct"):
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


def _level(given: Any) -> int:
    if isinstance(given, int):
        return given
    # Those that the program has added with `logging.addLevelName`, too.
    found = logging.getLevelNamesMapping().get(given.upper()) if isinstance(given, str) else None
    if found is None:
        raise Misconfigured(
            f"There is no log level {given!r}: it is one of DEBUG, INFO, WARNING, ERROR and CRITICAL, or a number."
        )
    return found


def _shared() -> list[Any]:
    """For every line, whoever wrote it."""
    return [
        structlog.contextvars.merge_contextvars,
        _set_aside,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_fields,
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
    logger = logging.getLogger(name)
    logger.addFilter(_writable)  # a second time it is not added
    return logger


def _writable(record: logging.LogRecord) -> bool:
    """Whoever logs an error must not fail for it: one whose traceback cannot be written is only named."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        try:
            traceback.TracebackException.from_exception(error, limit=0)
        except Exception:  # the record itself says that something is missing
            kind = type(error).__qualname__
            record.msg, record.args = f"{record.getMessage()} (a {kind}, which cannot be written down)", ()
            record.exc_info = None
    return True
