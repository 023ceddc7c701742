"""Concurrency that cannot leak: tasks, locks, timeouts, batches, caches, resources, one lifecycle."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from uno.aio.batch import AsyncBatcher, BatcherFull, BatchMismatch
from uno.aio.cache import AsyncCache
from uno.aio.keys import cache_key
from uno.errors import Misconfigured

if TYPE_CHECKING:
    from uno.aio.shared_cache import SharedCache

__all__ = [
    "AsyncBatcher",
    "AsyncCache",
    "BatchMismatch",
    "BatcherFull",
    "SharedCache",
    "cache_key",
]


def __getattr__(name: str) -> Any:
    if name != "SharedCache":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("cashews") is None or find_spec("redis") is None:
        raise Misconfigured("A shared cache needs cashews: run `python -m pip install 'uno[cache]'`.")
    found = globals()[name] = import_module("uno.aio.shared_cache").SharedCache
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
