"""What a registry knows of a resource: how it is started, closed and looked at."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from uno.aio.verbs import Verb, closer, require_resource, require_verb, starter
from uno.errors import Misconfigured
from uno.health import Check
from uno.redact import said
from uno.resilience.arguments import require_numbers
from uno.resilience.breaker import CircuitBreaker

Figures = Mapping[str, Any]


@dataclass(slots=True)
class Entry:
    """A resource, and how it is started, closed and looked at; `needs` are the names of those before it."""

    name: str
    resource: Any
    needs: tuple[str, ...]
    start: Verb | None
    close: Verb | None
    close_timeout: float | None
    metrics: Callable[[], Figures] | None
    # Whether there is something to close; what nobody has to start is there from the beginning.
    started: bool

    # Whether it outlives a stop: what was only asked for by name, and has nothing to close, as a breaker.
    is_kept: bool = False
    # Held by whoever starts it.
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    # Why it did not start, for those who wait for that.
    failure: Exception | None = None
    # How it is, asked of itself.
    check: Check | None = None

    def anew(self) -> "Entry":
        """The same before its start; what goes on in this one does not touch it."""
        return replace(self, started=self.start is None, starting=asyncio.Lock(), failure=None)


def entry_of(
    name: Any,
    resource: Any,
    *,
    depends_on: str | Iterable[str] = (),
    start: Verb | None = None,
    close: Verb | None = None,
    close_timeout: float | None = None,
    metrics: Callable[[], Figures] | None = None,
    check: Verb | None = None,
    owned: bool = True,
) -> Entry:
    """What `register` takes, looked at before anything happens. Raises `Misconfigured`."""
    if not isinstance(name, str) or not name:
        raise Misconfigured(f"A resource has a name, which comes first: register('cache', cache), not {name!r}.")
    owner = f"the resource {name!r}"
    for what, verb in ("start", start), ("close", close), ("check", check):
        require_verb(owner, what, verb)
    if close_timeout is not None:
        require_numbers(owner, close_timeout=close_timeout)
    require_resource(name, resource, is_said=bool(start or close or not owned))
    begin, end = (starter(name, resource, start), closer(resource, close)) if owned else (None, None)
    entry = Entry(name, resource, _names(owner, depends_on), begin, end, close_timeout, metrics, not begin)
    entry.check = None if check is None else Check(name, check)
    return entry


def _names(owner: str, depends_on: Any) -> tuple[str, ...]:
    if isinstance(depends_on, str):
        return (depends_on,)
    names = tuple(depends_on) if isinstance(depends_on, Iterable) else (depends_on,)
    if not all(isinstance(name, str) for name in names):
        raise Misconfigured(f"depends_on of {owner} is the names of other resources, not {depends_on!r}.")
    return names


def figures_of(entry: Entry) -> dict[str, Any]:
    """What can be said of a resource in figures, with its type."""
    resource = entry.resource
    ask = entry.metrics or getattr(resource, "get_metrics", None)
    figures = {"type": type(resource).__name__}
    if ask is not None:
        return figures | dict(cast(Figures, ask()))
    if isinstance(resource, CircuitBreaker):
        return figures | {"state": resource.state.value, "failure_threshold": resource.failure_threshold}
    return figures


def figures_or_error(entry: Entry) -> dict[str, Any]:
    """The same, with an `error` where asking failed."""
    try:
        return figures_of(entry)
    except Exception as error:  # whoever looks sees it, and the others all the same
        return {"type": type(entry.resource).__name__, "error": said(error, repr)}


def begun(entries: Iterable[Entry], resource: object) -> bool:
    """Whether one of them has started it, or does now."""
    return any(one.started or one.starting.locked() for one in entries if one.resource is resource)
