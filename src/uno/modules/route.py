"""Which messages can be reached over HTTP, and how; everything not said is derived from the name."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from uno.errors import Misconfigured
from uno.messages import Message
from uno.modules.event import Event

# "open", "authenticated", or the name of a policy.
Access: TypeAlias = Literal["open", "authenticated"] | str


@dataclass(frozen=True, slots=True)
class Route:
    """Opens `message` to HTTP. `path` has its `{fields}`; `status` is the one of success."""

    message: type[Message] | type[Event[Any, Any]]
    method: str | None = None
    path: str | None = None
    status: int | None = None
    access: Access | None = None
    tags: Sequence[str] = ()
    summary: str | None = None
    # One of them is enough.
    permissions: Sequence[str] = ()

    def __post_init__(self) -> None:
        for what in ("tags", "permissions"):
            object.__setattr__(self, what, names(f"{what} of a Route", getattr(self, what)))


class Bundle:
    """Routes that bring along who handles their messages, and what is stored for it."""

    @property
    def routes(self) -> Sequence[Route]:
        raise NotImplementedError

    @property
    def handlers(self) -> Sequence[Any]:
        raise NotImplementedError

    @property
    def models(self) -> Sequence[type]:
        raise NotImplementedError


def names(what: str, given: Any) -> tuple[str, ...]:
    """Several texts. One by itself would be taken for its letters, each of them a permission that is enough."""
    if not isinstance(given, Collection) or isinstance(given, str | bytes):
        raise Misconfigured(f"{what} is a list: [{given!r}].")
    wrong = [one for one in given if not isinstance(one, str) or not one]
    if wrong:
        raise Misconfigured(f"{what} has {wrong[0]!r}; name each by a text.")
    return tuple(given)


def as_route(declared: Any) -> Route:
    """A `Route` from a `Route` or a message class."""
    return declared if isinstance(declared, Route) else Route(declared)
