"""The files of this room that need an extra."""

from importlib import import_module
from typing import Any

from uno.errors import Misconfigured

# By file: the extra, and what it is for.
_FILES = {
    "otel": ("otel", "Sending telemetry to OpenTelemetry"),
    "prometheus": ("metrics", "The metrics page"),
}


def needing(file: str) -> Any:
    """That file; `Misconfigured` says how to install what it needs."""
    extra, purpose = _FILES[file]
    try:
        return import_module(f"uno.telemetry.{file}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("uno"):
            raise
        raise Misconfigured(
            f"{purpose} needs the extra {extra!r}: run `python -m pip install 'uno[{extra}]'`."
        ) from error
