"""Which modules an event goes to, and how each is called."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from types import CoroutineType
from typing import Any, NoReturn, TypeAlias

from uno.bus.pipeline import REFUSALS, Call, refused
from uno.errors import Misconfigured, UnoError
from uno.modules.errors import EventUnhandled, wrong_input
from uno.modules.event import Event
from uno.modules.handles import Handled
from uno.modules.module import Module, overrides
from uno.modules.threads import Threads
from uno.result import Failure, Success
from uno.sync import is_async

AnyEvent: TypeAlias = Event[Any, Any]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A module that may handle an event type: by the method `handled`, or else by its own `handle`."""

    module: Module
    handled: Handled | None = None

    @property
    def accepts(self) -> Callable[[AnyEvent], bool] | None:
        """The guard, None where there is none."""
        return self.module.can_handle if overrides(self.module, "can_handle") else None

    @property
    def target(self) -> Any:
        """The function or coroutine function that is called."""
        return self.module.handle if self.handled is None else getattr(self.module, self.handled.method)

    @property
    def inline(self) -> bool:
        """Whether it never blocks."""
        return self.module.metadata.inline or (self.handled is not None and self.handled.inline)

    @property
    def needs_loop(self) -> bool:
        """Whether it is a coroutine function, or a function around one, which may give back its coroutine."""
        return is_async(self.target) or is_async(inspect.unwrap(self.target))

    def link(self, call: Call) -> "Link":
        return Link(self.module, self.accepts, call, sure=self.handled is not None)

    def call(self, threads: Threads | None) -> Call:
        """Its pipeline's end: it takes the event. Without `threads` what is synchronous runs where it is called."""
        target = self.target
        give = _told if self.handled is None else _asked
        if is_async(target):
            return give(target)
        if threads is None or self.inline:
            at_once = _told_at_once if self.handled is None else _asked_at_once
            return at_once(target, looped=threads is not None)
        return give(partial(threads.run, target))


@dataclass(frozen=True, slots=True)
class Link:
    """A candidate, ready to be called. `sure`: when it returns, it has handled the event."""

    module: Module
    accepts: Callable[[AnyEvent], bool] | None
    call: Call
    sure: bool


def _settled(event: AnyEvent, found: Any) -> Any:
    """Note what a handler returned."""
    if found.__class__ is Failure:
        return found
    event.output = found.value if found.__class__ is Success else found
    event.handled = True
    return event.output


def _explain(error: Exception, event: AnyEvent) -> None:
    """Note on a bug that the event had another input than its class says: only a handler that needs it minds."""
    found = wrong_input(event)
    if found is not None:
        # By its dictionary, as in `blame`; an error that is a constant comes more than once.
        notes = vars(error).setdefault("__notes__", [])
        notes += [found] if found not in notes else []


def _asked(method: Callable[..., Awaitable[Any]]) -> Call:
    async def ask(event: AnyEvent) -> Any:
        try:
            return _settled(event, await method(event.input))
        except REFUSALS as error:
            return refused(error)
        except (AttributeError, TypeError) as error:
            _explain(error, event)
            raise

    return ask


def _asked_at_once(method: Callable[..., Any], *, looped: bool) -> Call:
    async def ask(event: AnyEvent) -> Any:
        try:
            found = method(event.input)
            kind = found.__class__
            if kind is CoroutineType:
                found = await found if looped else _unawaited(found, method)
                kind = found.__class__
        except REFUSALS as error:
            return refused(error)
        except (AttributeError, TypeError) as error:
            _explain(error, event)
            raise
        # _settled() by hand: this runs for every event.
        if kind is Failure:
            return found
        event.output = found = found.value if kind is Success else found
        event.handled = True
        return found

    return ask


def _told(handle: Callable[..., Awaitable[Any]]) -> Call:
    async def tell(event: AnyEvent) -> Any:
        try:
            found = await handle(event)
        except REFUSALS as error:
            return refused(error)
        return found if found.__class__ is Failure else event.output

    return tell


def _told_at_once(handle: Callable[..., Any], *, looped: bool) -> Call:
    async def tell(event: AnyEvent) -> Any:
        try:
            found = handle(event)
            # Most give back nothing.
            if found is None:
                return event.output
            if found.__class__ is CoroutineType:
                found = await found if looped else _unawaited(found, handle)
        except REFUSALS as error:
            return refused(error)
        return found if found.__class__ is Failure else event.output

    return tell


def _unawaited(coroutine: Coroutine[Any, Any, Any], method: Any) -> NoReturn:
    coroutine.close()
    what = "is a function that gives back a coroutine, and no event loop runs here to await it"
    raise Misconfigured(f"{method.__qualname__} {what}: write `async def`, or use `await host.handle_async(event)`.")


# How what an `App` compiled, with injected parameters, is called.
asked, told = _asked, _told


def chain(links: Sequence[Link]) -> Call:
    """One callable: the modules in their order, until one has handled the event."""
    if len(links) == 1 and links[0].accepts is None and links[0].sure:
        return links[0].call

    async def call(event: AnyEvent) -> Any:
        for link in links:
            try:
                if link.accepts is not None and not link.accepts(event):
                    continue
                found = await link.call(event)
            except UnoError as error:
                found = refused(error)
            except Exception as error:  # raised again, for who watches the event: with the name of whose it is
                blame(error, link.module)
                raise
            if found.__class__ is Failure:
                blame(found.error, link.module)
                return found
            if event.handled:
                return found
        return Failure(unhandled(event))

    return call


def unhandled(event: AnyEvent) -> EventUnhandled:
    return EventUnhandled(f"No module handled {event.name or type(event).__qualname__!r}.")


_BLAMED = "__uno_module__"


def blame(error: BaseException, module: Module) -> None:
    """Note on an error whose it is; several modules may have been asked."""
    # By its dictionary: an error may be frozen.
    vars(error)[_BLAMED] = module


def blamed(error: BaseException, only: Module | None) -> Module | None:
    """Whose error it is."""
    return only or getattr(error, _BLAMED, None)


class Directory:
    """The modules of a host, what they declare and the pipelines to them; other modules make another directory."""

    def __init__(self, modules: Sequence[Module] = ()) -> None:
        self.modules = tuple(modules)
        self.declared: dict[type[AnyEvent], Candidate] = {}
        self.asked: list[Candidate] = []
        # Made for the first event of a type, with and without an event loop.
        self.awaits: dict[type, Call] = {}
        self.runs: dict[type, Callable[[Any], Any]] = {}
        for module in self.modules:
            self._add(module)

    def _add(self, module: Module) -> None:
        for event, candidate in declared(module):
            self.declared.setdefault(event, candidate)
        if not module.events and overrides(module, "handle"):
            self.asked.append(Candidate(module))

    def candidates(self, event: type) -> list[Candidate]:
        """Who declares it or one of its bases, then those who have to be asked."""
        owner = next((self.declared[cls] for cls in event.__mro__ if cls in self.declared), None)
        return self.asked if owner is None else [owner, *self.asked]


def declared(module: Module) -> list[tuple[type[AnyEvent], Candidate]]:
    """The events a module declares, with what handles them."""
    marked = {one.event: one for one in module._marked}
    return [(event, Candidate(module, marked.get(event))) for event in module.events]
