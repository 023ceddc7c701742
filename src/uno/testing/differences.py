"""How what happened differs from what a test expected, in lines for people."""

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from uno.messages import DomainEvent

# Different for every event, and nothing a handler decides.
_OWN = {"event_id", "occurred_at"}


def assert_events(
    message: Any, expected: Sequence[DomainEvent | type[DomainEvent]], events: Sequence[DomainEvent]
) -> None:
    """Raises `AssertionError` with every difference."""
    pairs = zip_longest(expected, events)
    lines = [line for at, (wanted, found) in enumerate(pairs, 1) for line in _difference(at, wanted, found)]
    if lines:
        raise AssertionError("\n".join([f"After {message!r} other things happened:", *lines]))


def _difference(at: int, wanted: Any, found: DomainEvent | None) -> Iterator[str]:
    if wanted is None:
        yield f"  {at}. {_shown(found)}: not expected"
    elif found is None:
        yield f"  {at}. {_shown(wanted)}: did not happen"
    elif isinstance(wanted, type):
        if not isinstance(found, wanted):
            yield f"  {at}. {_shown(wanted)}: expected, but it is {_shown(found)}"
    elif type(wanted) is not type(found):
        yield f"  {at}. {_shown(wanted)}: expected, but it is {_shown(found)}"
    else:
        names = [name for name in _fields(wanted) if getattr(wanted, name) != getattr(found, name)]
        for name in names:
            what = f"{getattr(wanted, name)!r} expected, but it is {getattr(found, name)!r}"
            yield f"  {at}. {type(wanted).__qualname__}.{name}: {what}"


def _fields(event: DomainEvent) -> list[str]:
    return [name for name in type(event).model_fields if name not in _OWN]


def _shown(event: Any) -> str:
    if isinstance(event, type):
        return event.__qualname__
    fields = ", ".join(f"{name}={getattr(event, name)!r}" for name in _fields(event))
    return f"{type(event).__qualname__}({fields})"


def assert_error(message: Any, expected: type[Exception], match: str | None, error: Exception | None) -> None:
    """Raises `AssertionError` where `error` is none of these."""
    if error is None:
        raise AssertionError(f"{message!r} went well; {expected.__qualname__} was expected.")
    if not isinstance(error, expected):
        raise AssertionError(f"{message!r} failed with {error!r}; {expected.__qualname__} was expected.") from error
    if match is not None and re.search(match, str(error)) is None:
        raise AssertionError(f"{str(error)!r} does not match {match!r}.") from error
