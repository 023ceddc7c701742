"""`emit`: something noteworthy happened."""

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from uno.redact import clean, flat
from uno.telemetry.catalogue import SIGNALS

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# A log record has attributes of these names, and refuses fields that would hide them.
_TAKEN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "signal"}
_counts: Counter[str] = Counter()
_lock = threading.Lock()


class Told(str):
    """The sentence with its fields, for formatters that show only the message; `sentence` is for those that do not."""

    __slots__ = ("sentence",)
    sentence: str

    @classmethod
    def of(cls, sentence: str, fields: Mapping[str, Any]) -> "Told":
        shown = ", ".join(f"{name}={flat(value)}" for name, value in clean(fields).items())
        made = cls(f"{sentence}: {shown}" if shown else sentence)
        made.sentence = sentence
        return made


def emit(name: str, /, **fields: Any) -> None:
    """Tell that `name` happened: a log line and a count. Raises `KeyError` for a name the catalogue does not have.

    The fields are attributes of the record, and stand in its message without secrets; `configure_logging` shows them
    once. One called like an attribute of log records gets the signal's first word before its name.
    """
    signal = SIGNALS[name]
    count(name)
    subject = name.partition(".")[0]
    extra = {f"{subject}_{key}" if key in _TAKEN else key: value for key, value in fields.items()}
    logger, level = logging.getLogger(f"uno.{subject}"), _LEVELS[signal.level]
    if logger.isEnabledFor(level):
        logger.log(level, Told.of(signal.text, fields), extra={"signal": name, **extra})


def count(name: str) -> None:
    """The count alone, for what was told and goes on."""
    with _lock:
        _counts[name] += 1


def signal_counts() -> dict[str, int]:
    """How often each signal was emitted in this process."""
    with _lock:
        return dict(_counts)
