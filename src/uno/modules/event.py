"""Typed events: a request with an input and, once it is handled, an output."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast, runtime_checkable

from uno.di.dependencies import base_arguments
from uno.errors import Misconfigured

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass
class EventInput:
    """What an event brings; subclass it as a dataclass. A pydantic model may take its place."""


@dataclass
class EventOutput:
    """What an event gives back; subclass it as a dataclass. A pydantic model may take its place."""


@dataclass(init=False)
class Event(Generic[In, Out]):
    """A request that one module answers: `output` and `handled` are set by its handler.

    `name` is the class attribute of a subclass, or given. `output` is None until then. `meta` is
    free for correlation ids and the like.
    """

    name: str = ""
    input: In = cast(In, None)  # noqa: RUF009 - None stands for "nothing given"
    output: Out = cast(Out, None)  # noqa: RUF009
    handled: bool = False
    meta: dict[str, Any] = field(default_factory=dict)

    __uno_name__: ClassVar[str]

    def __init__(
        self,
        name: str = "",
        input: In | None = None,
        output: Out | None = None,
        handled: bool = False,
        meta: dict[str, Any] | None = None,
    ) -> None:
        # By hand: a generated __init__ would hide the name of the class behind its own default.
        if name.__class__ is not str:
            _check_name(self, name)
        self.name = name or self.__class__.name
        self.input = input  # type: ignore[assignment]
        self.output = output  # type: ignore[assignment]
        self.handled = handled
        self.meta = {} if meta is None else meta

    def __post_init__(self) -> None:
        """For a subclass that is a dataclass of its own."""
        _check_name(self, self.name)
        self.name = self.name or type(self).name

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Not inherited: two classes stored under one name could not be told apart.
        cls.__uno_name__ = cls.__dict__.get("name") or f"{cls.__module__}.{cls.__qualname__}"


def _check_name(event: Event[Any, Any], name: object) -> None:
    """What comes first is the name, and whoever makes an event thinks of its input."""
    if not isinstance(name, str):
        kind, made = type(event).__qualname__, type(name).__qualname__
        raise Misconfigured(f"The name of {kind} is a text, not {made}: write {kind}(input=...).")


Event.__uno_name__ = f"{Event.__module__}.{Event.__qualname__}"


@dataclass
class ExternalEventInput(EventInput):
    """A named payload from elsewhere, as `host.publish` took it."""

    data: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    source_stream: str = ""
    message_id: str = ""


class ExternalEvent(Event[ExternalEventInput, Any]):
    """What `host.publish` and message brokers bring; its `name` is the one it was published under."""


def is_event(message: Any) -> bool:
    """Whether a class is one of events, not of commands, queries or domain events."""
    return isinstance(message, type) and issubclass(message, Event)


def input_type(event: type[Event[Any, Any]]) -> Any:
    """The `In` of `class E(Event[In, Out])`, `None` where it says nothing."""
    return _argument(event, 0)


def output_type(event: type[Event[Any, Any]]) -> Any:
    """The `Out` of `class E(Event[In, Out])`, `None` where it says nothing."""
    return _argument(event, 1)


def _argument(event: type[Event[Any, Any]], at: int) -> Any:
    found = base_arguments(event, Event) or ()
    said = found[at] if len(found) > at else None
    return None if isinstance(said, TypeVar) or said is type(None) else said


@runtime_checkable
class EventLike(Protocol):
    """What a handler may rely on in any event."""

    name: str
    input: Any
    output: Any
    handled: bool
    meta: dict[str, Any]


@runtime_checkable
class EventHandler(Protocol):
    """Something that can say which events it handles, and handle them."""

    def can_handle(self, event: Any) -> bool: ...

    def handle(self, event: Any) -> Any: ...


@runtime_checkable
class AsyncEventHandler(Protocol):
    """The same where handling is awaited."""

    def can_handle(self, event: Any) -> bool: ...

    async def handle(self, event: Any) -> None: ...
