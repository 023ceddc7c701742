"""Who is asking, on whose behalf, and since when: one context variable.

A `Context` is immutable. It is made where a request enters, travels through the queue as JSON,
and is on every log line, audit row and delivery row.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context as Variables, ContextVar, copy_context
from typing import Any, TypeVar

from uno import ids
from uno.errors import attribute

_FIELDS = (
    "correlation_id",
    "message_id",
    "causation_id",
    "actor",
    "actor_source",
    "tenant",
    "traceparent",
    "deadline",
)
# What survives the queue.
_STORED = tuple(name for name in _FIELDS if name != "deadline")
# Where in an error its context stands, and how many causes of one are looked at.
_NOTED, _CAUSES = "__uno_context__", 16
_EXTERNAL_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
T = TypeVar("T")
# What belongs to one message and its task, and the value that it has elsewhere.
_left_behind: list[tuple[ContextVar[Any], Any]] = []


class Context:
    """What surrounds one message; treat it as immutable.

    `correlation_id` is the same for everything one request caused, `message_id` is this message's
    own and `causation_id` that of the message which caused it. `actor_source` is "principal",
    "header" or "system". `traceparent` is W3C's; `deadline` is on `clock.monotonic()`, in seconds.
    """

    __slots__ = _FIELDS

    # A hand-written __init__: a frozen dataclass costs four times as much, on every message.
    def __init__(
        self,
        correlation_id: str | None = None,
        message_id: str | None = None,
        causation_id: str | None = None,
        actor: str | None = None,
        actor_source: str = "system",
        tenant: str | None = None,
        traceparent: str | None = None,
        deadline: float | None = None,
    ) -> None:
        self.correlation_id = correlation_id or ids.trace_id()
        self.message_id = message_id or self.correlation_id
        self.causation_id = causation_id
        self.actor = actor
        self.actor_source = actor_source
        self.tenant = tenant
        self.traceparent = traceparent
        self.deadline = deadline

    def replace(self, **changes: Any) -> "Context":
        """The same context with some fields changed."""
        return Context(**{name: getattr(self, name) for name in _FIELDS} | changes)

    def caused(self, message_id: str | None = None) -> "Context":
        """The context of a message that this one causes."""
        return Context(
            self.correlation_id,
            message_id or ids.trace_id(),
            self.message_id,
            self.actor,
            self.actor_source,
            self.tenant,
            self.traceparent,
            self.deadline,
        )

    def to_json(self) -> dict[str, str]:
        """What survives the queue: everything but the deadline."""
        return {name: value for name in _STORED if (value := getattr(self, name)) is not None}

    @classmethod
    def from_json(cls, stored: Mapping[str, str]) -> "Context":
        """The context that `to_json` stored; unknown fields are ignored."""
        return cls(**{name: stored[name] for name in _STORED if name in stored})  # type: ignore[arg-type]

    def __repr__(self) -> str:
        pairs = ((name, getattr(self, name)) for name in _FIELDS)
        return f"Context({', '.join(f'{name}={value!r}' for name, value in pairs if value is not None)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Context):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    def __hash__(self) -> int:
        return hash((self.correlation_id, self.message_id))


_current: ContextVar[Context | None] = ContextVar("uno.context", default=None)

get = _current.get
enter = _current.set
leave = _current.reset


def current() -> Context:
    """The current context; outside a message, a new one that nobody else sees."""
    return _current.get() or Context()


@contextmanager
def use(context: Context) -> Iterator[Context]:
    """Make `context` the current one inside the block."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


def note(error: object, context: Context) -> None:
    """Remember where `error` was raised, for the line in the log: it is written further out."""
    try:
        vars(error)[_NOTED] = context  # by its dictionary: an error may be frozen
    except Exception:  # a Failure may hold anything; the line in the log does without
        return


def noted(error: BaseException) -> Context | None:
    """Where `error` was raised, or what it came of; never a context of another correlation id than the current one."""
    current = _current.get()
    cause: BaseException | None = error
    for _ in range(_CAUSES):
        if cause is None:
            break
        found: Context | None = attribute(cause, _NOTED)
        # An error may be a constant, and have been raised before.
        if found is not None and (current is None or found.correlation_id == current.correlation_id):
            return found
        cause = cause.__cause__
    return None


def left_behind(variable: ContextVar[T], otherwise: T) -> ContextVar[T]:
    """`variable`, which work that outlives the message does not have: it is `otherwise` there."""
    _left_behind.append((variable, otherwise))
    return variable


def detached() -> Variables:
    """The variables for work in the name of who asks, that others may wait for, too: a copy without what belongs to
    this message alone.

    The actor, the principal, the tenant and variables of one's own stay; the deadline, the unit of work and the
    idempotency key do not. `apart` is for work that goes on by itself, `nobodys` for what is done for many at once.
    """
    found = copy_context()
    found.run(_leave_behind)
    return found


def apart() -> Variables:
    """The variables for work that goes on by itself: of those around it only the context, without its deadline."""
    made, around = Variables(), _current.get()
    if around is not None:
        made.run(_current.set, around.replace(deadline=None))
    return made


def nobodys() -> Variables:
    """The variables for work that is done for many at once, in nobody's name: none of them is set.

    Neither those of who set it up nor those of one of the many: what differs between them goes with what each asks for.
    """
    return Variables()


def _leave_behind() -> None:
    for variable, otherwise in _left_behind:
        variable.set(otherwise)
    current = _current.get()
    if current is not None and current.deadline is not None:
        _current.set(current.replace(deadline=None))


def external_id(value: str | None) -> str | None:
    """`value` if it may serve as a correlation id from outside, else None."""
    return value if value is not None and _EXTERNAL_ID.fullmatch(value) else None
