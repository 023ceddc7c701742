"""Logs: structlog over the standard library, every line with its correlation id."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from uno import context

_SECRET = re.compile(r"passw|secret|token|api_?key|authorization|cookie|credential|private", re.IGNORECASE)
# Greedy: a password may itself contain @ or / where its author forgot to encode it.
_URL_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^\s\"'<>]+(@)")
_ASSIGNED = re.compile(r"((?:passw(?:or)?d|pwd|secret|token|api_?key)=)[^\s&;,\"']+", re.IGNORECASE)


def _add_context(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    current = context.get()
    if current is not None:
        event.setdefault("correlation_id", current.correlation_id)
        if current.actor is not None:
            event.setdefault("actor", current.actor)
    return event


def redact(text: str) -> str:
    """`text` without the passwords of URLs and of `password=…`."""
    return _ASSIGNED.sub(r"\1***", _URL_PASSWORD.sub(r"\1***\2", text))


def _clean(value: Any) -> Any:
    """`value` without secrets, however deep; what has no JSON form as its redacted `repr`."""
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(k): "***" if _SECRET.search(str(k)) else _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return redact(repr(value))


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    cleaned: dict[str, Any] = _clean(event)
    return cleaned


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
    last = [structlog.processors.format_exc_info, _redact, renderer]
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
