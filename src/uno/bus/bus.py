"""The dispatcher.

`dispatch` gives a command or query to its one handler and returns a `Result`; `publish` tells an
event to its subscribers. Everything is looked up by type in tables made at start-up.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from uno import context
from uno.aio.relay import each_in_turn
from uno.bus.entities import Entities
from uno.bus.handler import compile_handler, name_of, problems
from uno.bus.pipeline import REFUSALS, Call, Middleware, as_result, compose, refused
from uno.bus.problems import duplicates, nowhere_to_wait, unmarked
from uno.bus.promise import result_of
from uno.bus.registry import Handles, handles_of
from uno.bus.table import Table
from uno.bus.unit import OpenUnit, ambient
from uno.di import ServiceProvider
from uno.errors import Misconfigured, Problem
from uno.messages import Command, DomainEvent, Envelope, Query, message_name
from uno.result import Failure, Result, Success
from uno.telemetry.logs import get_logger

R = TypeVar("R")
log = get_logger("uno.bus")


class Request(Protocol[R]):
    """What has a place for its answer: an event of a module."""

    input: Any
    output: R
    handled: bool


class CommandBus(Protocol):
    """What a handler asks for to dispatch commands."""

    async def dispatch(self, message: Command[R] | Request[R], /) -> Result[R]: ...


class QueryBus(Protocol):
    """What a handler asks for to dispatch queries."""

    async def dispatch(self, message: Query[R], /) -> Result[R]: ...


class EventBus(Protocol):
    """What a handler asks for to publish events."""

    async def publish(self, event: DomainEvent, /) -> None: ...


class Bus:
    """Hands messages to their handlers, each through its pipeline.

    `middleware` is for all messages, outermost first. `open_unit` opens a unit of work: with one,
    events are published when it commits, without one at once. `otherwise` may know a handler of a
    message type that is marked nowhere. `entities` loads what handlers ask for by name.
    """

    def __init__(
        self,
        handlers: Iterable[object] = (),
        *,
        middleware: Sequence[Middleware] = (),
        provider: ServiceProvider | None = None,
        open_unit: OpenUnit | None = None,
        otherwise: Callable[[type], Call | None] | None = None,
        entities: Entities | None = None,
    ) -> None:
        self._provider = provider or ServiceProvider(())
        self._middleware = tuple(middleware)
        self._open_unit = open_unit
        self._otherwise = otherwise
        self._entities = entities
        self._table = Table()
        self._calls: dict[type, Call] = {}
        self._durable_names: dict[type, tuple[str, ...]] = {}
        self._starting: asyncio.Task[None] | None = None
        self._started = False
        self._sound = False
        self.marks, self._unmarked = _marks(handlers)

    async def dispatch(self, message: Command[R] | Query[R] | Request[R]) -> Result[R]:
        """The `Result` of the one handler.

        An error of uno's tree becomes a `Failure`, and so does the gravest of a group of such errors. A bug (any
        other exception, and `Misconfigured`) is raised.
        """
        call = self._calls.get(message.__class__)
        if call is None:
            call = await self._late(message)
        try:
            found = await call(message)
        except REFUSALS as error:
            return refused(error)
        # as_result() by hand: this line runs for every message.
        return found if found.__class__ is Success or found.__class__ is Failure else Success(found)

    @property
    def started(self) -> bool:
        return self._started

    async def publish(self, event: DomainEvent) -> None:
        """Tell all subscribers of `event`: after the commit inside a unit of work, else now."""
        unit = ambient()
        if unit is not None:
            unit.record(event)
        elif self._open_unit is not None:
            async with self._open_unit() as opened:
                opened.record(event)
        else:
            await self.notify([event])

    async def notify(self, events: Iterable[DomainEvent]) -> None:
        """Run the in-process subscribers of `events`; one that fails is logged and stops nobody."""
        await self._ready()
        told = self._table.told
        calls = [partial(_isolated, mark.name, call, event) for event in events for mark, call in told(type(event))]
        await each_in_turn(calls, "subscribers")

    async def deliver(self, envelope: Envelope) -> Result[None]:
        """Run one durable subscriber; `KeyError` where no code of that name waits for such an event."""
        await self._ready()
        call = self._table.durable_call(envelope)
        with context.use(envelope.context):
            try:
                return as_result(await call(envelope.event))  # type: ignore[no-any-return]
            except REFUSALS as error:
                return refused(error)

    def durable_subscribers(self, event: type[DomainEvent]) -> tuple[str, ...]:
        """The stored names of the durable subscribers of an event type."""
        names = self._durable_names.get(event)
        if names is None:
            names = tuple({m.name: m for m in self._events(durable=True) if issubclass(event, m.message)})
            self._durable_names[event] = names
        return names

    def durable_names(self) -> tuple[str, ...]:
        """The stored names of all durable subscribers."""
        return tuple({mark.name: mark for mark in self._events(durable=True)})

    def durable_events(self) -> dict[str, type[DomainEvent]]:
        """Every event type a durable subscriber may be given, by its stored name."""
        roots = [mark.message for mark in self._events(durable=True)]
        return {message_name(event): event for root in roots for event in _family(root)}

    async def start(self) -> None:
        """Check all handlers and compose all pipelines; raises `Misconfigured` with all problems."""
        # An application has asked already.
        found = [] if self._sound else self.problems()
        if found:
            raise Misconfigured.of(found)
        table, itself = Table(), self._itself()
        for mark in self.marks:
            handler = await compile_handler(mark, self._provider, itself, self._entities)
            if mark.around is not None:
                handler = mark.around(handler)
            around = (*self._middleware, *mark.middleware)
            table.add(mark, compose(handler, mark.message, around, promised=_promised(mark)))
        self._table, self._calls, self._started = table, table.calls, True

    def problems(self) -> list[Problem]:
        """Everything wrong with the handlers and their dependencies."""
        itself = self._itself()
        found = [unmarked(handler) for handler in self._unmarked]
        found += [p for mark in self.marks for p in problems(mark, self._provider, itself, self._entities)]
        found += duplicates(self.marks)
        if self._open_unit is None:
            found += [nowhere_to_wait(mark) for mark in self._events(durable=True)]
        self._sound = not found
        return found

    def _events(self, *, durable: bool) -> list[Handles]:
        return [mark for mark in self.marks if mark.kind == "event" and mark.durable is durable]

    def _itself(self) -> dict[type, object]:
        """What a handler gets that asks for a bus; a provider that has its own goes first."""
        return {t: self for t in (Bus, CommandBus, QueryBus, EventBus) if not self._provider.provides(t)}

    async def _ready(self) -> None:
        """Start, if that has not been done: once, however many ask at the same time."""
        if self._started:
            return
        if self._starting is None or self._starting.done():
            self._starting = asyncio.ensure_future(self.start())
        # Shielded: who gives up waiting must not take the others' start along.
        await asyncio.shield(self._starting)

    async def _late(self, message: Any) -> Call:
        """The pipeline of a message that is not in the table: not started yet, or no handler."""
        await self._ready()
        if isinstance(message, type):
            name = name_of(message)
            raise Misconfigured(f"{name} is a class; dispatch a message of it: {name}(...).")
        call = self.call_for(type(message))
        if call is None:
            raise Misconfigured(f"Nothing handles {name_of(type(message))}; give the bus its handler.")
        return call

    def call_for(self, message: type) -> Call | None:
        """The pipeline of a message type once the bus has started; None where nothing handles it."""
        call = self._calls.get(message)
        handler = None if call or self._otherwise is None else self._otherwise(message)
        if handler is not None:
            call = self._calls[message] = compose(handler, message, self._middleware)
        return call


def _family(root: Any) -> Iterable[type[DomainEvent]]:
    """A class and all that derive from it."""
    yield root
    for child in root.__subclasses__():
        yield from _family(child)


async def _isolated(name: str, call: Call, event: DomainEvent) -> None:
    fields = {"subscriber": name, "event_name": message_name(type(event))}
    try:
        result = await call(event)
    except Exception:  # one subscriber's bug must not reach the others or the publisher; logs show it
        log.exception("subscriber failed", extra=fields)
        return
    if result.__class__ is Failure:
        log.error("subscriber failed: %s", result.error, extra=fields)


def _promised(mark: Handles) -> Any:
    return result_of(mark.message) if mark.kind in ("command", "query") else mark.promised


def _marks(handlers: Iterable[object]) -> tuple[tuple[Handles, ...], tuple[object, ...]]:
    """The marks of all handlers, each once, and what has none."""
    marks: dict[Handles, None] = {}
    unmarked: list[object] = []
    for handler in handlers:
        found = handles_of(handler)
        marks |= dict.fromkeys(found)
        if not found:
            unmarked.append(handler)
    return tuple(marks), tuple(unmarked)
