"""The one `Module`."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from uno.errors import Misconfigured
from uno.health import Check
from uno.messages import Message
from uno.modules.event import Event, is_event
from uno.modules.exposure import is_exposed
from uno.modules.handles import Handled, handled_by
from uno.modules.route import Bundle, Route, as_route
from uno.redact import one_line

if TYPE_CHECKING:
    from uno.modules.host import ModuleHost

M = TypeVar("M", bound="type[Module]")
_PARTS = ("handlers", "providers", "models", "routes", "checks")


@dataclass(frozen=True, slots=True)
class ModuleMetadata:
    """What `@module` says of a class. `inline`: its synchronous handlers never block."""

    name: str = ""
    description: str = ""
    version: str = "1.0.0"
    inline: bool = False


class Module:
    """What one part of an application brings along.

    Give the parts as arguments, or as class attributes of a subclass. `models` are mapped classes
    and aggregates stored as documents; only messages and resources in `routes` can be reached over HTTP.

    Methods marked `@handles(SomeEvent)` handle events. A module that overrides `handle` gets the
    events listed in `events`, or those for which its `can_handle` says yes.
    """

    name: str = ""
    metadata: ClassVar[ModuleMetadata] = ModuleMetadata()
    handlers: Sequence[Any] = ()
    providers: Sequence[Any] = ()
    models: Sequence[type] = ()
    routes: Sequence[Bundle | Route | type[Message] | type[Event[Any, Any]]] = ()
    checks: Sequence[Check] = ()
    events: Sequence[type[Event[Any, Any]]] = ()

    _host: "ModuleHost | None"

    # Here and not in __init__, which a subclass may leave out.
    def __new__(cls, *_args: Any, **_options: Any) -> Self:
        made = super().__new__(cls)
        made.name = cls.name or cls.metadata.name or cls.__name__.lower()
        made._host = None
        return made

    def __init__(
        self,
        name: str | None = None,
        *,
        handlers: Sequence[Any] | None = None,
        providers: Sequence[Any] | None = None,
        models: Sequence[type] | None = None,
        routes: Sequence[Bundle | Route | type[Message] | type[Event[Any, Any]]] | None = None,
        checks: Sequence[Check] | None = None,
    ) -> None:
        self.name = name or self.name
        given = (handlers, providers, models, routes, checks)
        for part, value in zip(_PARTS, given, strict=True):
            if value is not None:
                setattr(self, part, value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        marked = handled_by(cls)
        own = _listed(cls)
        inherited = () if own else getattr(super(cls, cls), "events", ())
        cls.events = tuple(dict.fromkeys((*inherited, *own, *(one.event for one in marked))))
        cls._marked = marked

    _marked: ClassVar[tuple[Handled, ...]] = ()

    @property
    def host(self) -> "ModuleHost | None":
        """The host this module is registered with."""
        return self._host

    def endpoints(self) -> list[Route]:
        """The routes, each as a `Route`, and the declared events that are marked `@api_endpoint`."""
        said = [
            as_route(one) for route in self.routes for one in (route.routes if isinstance(route, Bundle) else [route])
        ]
        listed = {route.message for route in said}
        marked = [Route(event) for event in self.events if is_exposed(event) and event not in listed]
        return [*said, *marked]

    def all_handlers(self) -> list[Any]:
        """`handlers`, and those that come with resources."""
        return [*self.handlers, *(one for bundle in self._bundles() for one in bundle.handlers)]

    def all_models(self) -> list[type]:
        """`models`, and those of resources, each once."""
        return list(dict.fromkeys([*self.models, *(one for bundle in self._bundles() for one in bundle.models)]))

    def _bundles(self) -> list[Bundle]:
        return [one for one in self.routes if isinstance(one, Bundle)]

    def can_handle(self, event: Event[Any, Any]) -> bool:
        """The guard of a module that declares events; override it to handle events that nobody declares."""
        return isinstance(event, tuple(self.events))

    def handle(self, event: Event[Any, Any]) -> Coroutine[Any, Any, None] | None:
        """Set `event.output` and `event.handled`; override it as a function or a coroutine function."""
        raise NotImplementedError(f"{type(self).__name__} overrides no handle().")

    def on_load(self) -> Awaitable[None] | None:
        """Runs when the application starts, in the order of the modules; may be a coroutine function."""
        return None

    def on_unload(self) -> Awaitable[None] | None:
        """Runs when the application stops, in reverse order; may be a coroutine function."""
        return None

    def __repr__(self) -> str:
        return f"<Module {self.name}>"


def _listed(cls: type) -> Sequence[type[Event[Any, Any]]]:
    """The `events` that a class itself names."""
    said: Any = cls.__dict__.get("events", ())
    if is_event(said) or isinstance(said, str | bytes) or not isinstance(said, Iterable):
        shown = said.__qualname__ if isinstance(said, type) else repr(said)
        raise Misconfigured(f"The events of {cls.__qualname__} are a list: write events = [{shown}].")
    own = tuple(said)
    wrong = [one for one in own if not is_event(one)]
    if wrong:
        what = f"are classes of events, as in [GreetEvent], not {wrong[0]!r}"
        raise Misconfigured(f"The events of {cls.__qualname__} {what}.")
    return own


def label(module: Module) -> str:
    """How a module is called in logs and errors, on one line."""
    return one_line(module.metadata.name or module.name)


def overrides(module: Module, method: str) -> bool:
    """Whether the class of a module has its own `method`."""
    return getattr(type(module), method) is not getattr(Module, method)


def module(name: str = "", description: str = "", version: str = "1.0.0", *, inline: bool = False) -> Callable[[M], M]:
    """Say what a module class is; without a name it has that of the class.

    `inline=True`: its synchronous handlers never block, so `handle_async` runs them on the event
    loop instead of in a thread.
    """

    if not isinstance(name, str):
        raise Misconfigured('@module is called: write @module() or @module(name="...") above the class.')

    def mark(cls: M) -> M:
        cls.metadata = ModuleMetadata(name or cls.__name__, description, version, inline)
        return cls

    return mark
