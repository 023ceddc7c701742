"""Keys for caches: the same for the same thing, another for anybody who may see something else."""

import json
from collections.abc import Iterable
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from uno import context
from uno.errors import Misconfigured

_WRITTEN = (UUID, Decimal, datetime, date, time)


def cache_key(*parts: Any, permissions: Iterable[str] = ()) -> str:
    """The key of what `parts` name, for the tenant of the context and somebody with these `permissions`.

    Parts are text, numbers, booleans, None, UUIDs, decimals, dates, times, members of enumerations, and lists and
    tuples of those; `uno.security.response_key` adds the permissions of the principal. Raises `Misconfigured` for
    anything else, which may look the same where it is not.
    """
    if isinstance(permissions, str):
        raise Misconfigured(f"The permissions of a key are a list; write permissions=[{permissions!r}].")
    current = context.get()
    whole = [None if current is None else current.tenant, sorted(set(permissions)), *map(_part, parts)]
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False)


def _part(part: Any) -> Any:
    if part is None or (isinstance(part, bool | str) and not isinstance(part, Enum)):
        return part
    if isinstance(part, Enum):
        return {f"{type(part).__module__}.{type(part).__qualname__}": _member(part)}
    if isinstance(part, str | int | float):
        return part
    if isinstance(part, _WRITTEN):
        return {type(part).__name__: str(part)}
    if isinstance(part, list | tuple):
        return [_part(one) for one in part]
    raise Misconfigured(f"{type(part).__name__} objects cannot be parts of a key; use their ids, or their values.")


def _member(part: Enum) -> list[Any]:
    """Its name and value: flags may have no name, and two classes of one name other values."""
    try:
        return [part.name, _part(part.value)]
    except Misconfigured:  # the name is enough for who chose such a value
        return [part.name]
