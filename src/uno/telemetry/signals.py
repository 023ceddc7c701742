"""`emit`: something noteworthy happened."""

import logging
from typing import Any

from uno.telemetry.catalogue import SIGNALS

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def emit(name: str, /, **fields: Any) -> None:
    """Tell that `name` happened. Raises `KeyError` for a name the catalogue does not have."""
    signal = SIGNALS[name]
    log = logging.getLogger(f"uno.{name.partition('.')[0]}")
    log.log(_LEVELS[signal.level], signal.text, extra={"signal": name, **fields})
