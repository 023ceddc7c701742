"""Handlers as pure decisions: given these aggregates, when this message comes, then that happens.

No database, no event loop: a handler that asks for aggregates is a function of them and of its message.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from uno.bus import EventBus, handles_of
from uno.bus.entities import Named, named, unnamed
from uno.bus.handler import name_of, parameters
from uno.di import Dependency, dependencies_of
from uno.di.dependencies import name_of as hint_name
from uno.domain import AggregateRoot
from uno.domain.aggregate import Numbered, numbered, numbered_events
from uno.errors import Misconfigured, NotFound, UnoError
from uno.messages import DomainEvent
from uno.result import Failure, Success
from uno.sync import drive
from uno.testing.differences import assert_error, assert_events


def given(*aggregates: Any, **by_parameter: Any) -> "Given":
    """The aggregates there are, with what happened before forgotten; by parameter where a handler asks for several."""
    return Given(aggregates, by_parameter)


class Given:
    """Aggregates that a message can name."""

    def __init__(self, aggregates: Sequence[Any], by_parameter: dict[str, Any]) -> None:
        self._aggregates = [*aggregates, *by_parameter.values()]
        self._by_parameter = by_parameter

    def when(self, message: Any, *, handler: Any = None, **stand_ins: Any) -> "Decision":
        """What the handler of `message` decides; `stand_ins` are what else it asks for, by parameter.

        Without `handler` it is looked for in the package of the message. Raises `Misconfigured`
        where the handler cannot be called like that.
        """
        call, events = self._call(message, handler, stand_ins)
        return self._decided(message, events, lambda: _driven(call))

    async def when_async(self, message: Any, *, handler: Any = None, **stand_ins: Any) -> "Decision":
        """The same for a handler that waits for something."""
        call, events = self._call(message, handler, stand_ins)
        try:
            value = call()
            value = await value if inspect.isawaitable(value) else value
        except Exception as error:  # the decision keeps it, and raises it where nobody expects it
            raised = error
            return self._decided(message, events, lambda: _raise(raised))
        return self._decided(message, events, lambda: value)

    def _decided(self, message: Any, events: "_Events", decide: Callable[[], Any]) -> "Decision":
        try:
            found = decide()
        except Misconfigured:
            raise
        except Exception as error:  # the decision keeps it, and raises it where nobody expects it
            return Decision(message, self._aggregates, (), error=error, raised=True)
        if isinstance(found, Failure):
            return Decision(message, self._aggregates, (), error=found.error)
        value = found.value if isinstance(found, Success) else found
        happened = events.of([*self._aggregates, value])
        return Decision(message, self._aggregates or [value], happened, value=value)

    def _call(self, message: Any, handler: Any, stand_ins: dict[str, Any]) -> tuple[Callable[[], Any], "_Events"]:
        for aggregate in self._aggregates:
            if isinstance(aggregate, AggregateRoot):
                aggregate.collect_events()
        events = _Events()
        found = _Handler(handler or _handler_of(message), message)
        found.check(stand_ins)
        method, waiting = found.method(stand_ins, events)

        def call() -> Any:
            aggregates = {one.name: self._find(one, message) for one in found.aggregates(stand_ins)}
            return method(message, **waiting, **aggregates)

        return call, events

    def _find(self, wanted: Named, message: Any) -> Any:
        """As a repository would: by the id that the message gives."""
        id = wanted.id_in(message)
        known = [self._by_parameter[wanted.name]] if wanted.name in self._by_parameter else self._aggregates
        found = next((one for one in known if isinstance(one, wanted.entity) and _id_of(one) == str(id)), None)
        if found is None and id is not None and not wanted.optional:
            raise NotFound(wanted.entity.__name__, id)
        if found is not None:
            wanted.check_version(message, getattr(found, "version", None), id)
        return found


class _Events:
    """What is published, or registered by aggregates, in one order."""

    def __init__(self) -> None:
        self._published: list[Numbered] = []

    async def publish(self, event: DomainEvent, /) -> None:
        self._published.append(numbered(event))

    def of(self, aggregates: Sequence[Any]) -> tuple[DomainEvent, ...]:
        roots = [one for one in aggregates if isinstance(one, AggregateRoot)]
        found = [*self._published, *(pair for root in roots for pair in numbered_events(root))]
        return tuple(event for _, event in sorted(found, key=lambda pair: pair[0]))


class _Handler:
    """One handler, with what it asks for."""

    def __init__(self, handler: Any, message: Any) -> None:
        self._message = type(message)
        self._target = handler if inspect.isroutine(handler) or inspect.isclass(handler) else _method_of(handler)
        self.name = name_of(self._target)
        self._made = dependencies_of(self._target) if inspect.isclass(self._target) else {}
        self._beside = parameters(self._target)[1]

    def check(self, stand_ins: dict[str, Any]) -> None:
        """Raises `Misconfigured` with everything that is missing or too much."""
        stored = self._stored(stand_ins)
        asked = {**self._made, **self._beside}
        needed = {n: need for n, need in asked.items() if need.required and need.type is not EventBus}
        wrong = [problem.message for problem in unnamed(stored, self._message, self.name)]
        wrong += [_missing(n, need) for n, need in needed.items() if n not in {*stored, *stand_ins}]
        wrong += [f"It asks for no `{name}`; leave it out." for name in stand_ins if name not in asked]
        if wrong:
            raise Misconfigured("\n".join([f"{self.name} cannot be called.", *wrong]))

    def aggregates(self, stand_ins: dict[str, Any]) -> list[Named]:
        return named(self._stored(stand_ins), self._message, getattr(self._target, "handle", self._target))

    def method(self, stand_ins: dict[str, Any], events: _Events) -> tuple[Callable[..., Any], dict[str, Any]]:
        """What is called, and what beside the message and the aggregates."""
        beside = _chosen(self._beside, stand_ins, events)
        if not inspect.isclass(self._target):
            return self._target, beside
        made: Any = self._target(**_chosen(self._made, stand_ins, events))
        return made.handle, beside

    def _stored(self, stand_ins: dict[str, Any]) -> dict[str, Dependency]:
        return {n: need for n, need in self._beside.items() if n not in stand_ins and _is_stored(need.type)}


def _method_of(handler: Any) -> Any:
    method = getattr(handler, "handle", handler)
    if not callable(method):
        raise Misconfigured(f"{handler!r} is no handler; pass a function, or a class with a method handle.")
    return method


def _chosen(asked: dict[str, Dependency], stand_ins: dict[str, Any], events: _Events) -> dict[str, Any]:
    told = {name: events for name, need in asked.items() if need.type is EventBus}
    return {**told, **{name: value for name, value in stand_ins.items() if name in asked}}


def _missing(name: str, need: Dependency) -> str:
    return f"It asks for `{name}: {hint_name(need.type)}`; pass something in its place: when(…, {name}=…)."


def _is_stored(kind: Any) -> bool:
    return inspect.isclass(kind) and (issubclass(kind, AggregateRoot) or hasattr(kind, "__mapper__"))


def _id_of(aggregate: Any) -> str:
    mapper = getattr(type(aggregate), "__mapper__", None)
    key = [getattr(aggregate, "id", None)] if mapper is None else mapper.primary_key_from_instance(aggregate)
    if None in key:
        raise Misconfigured(f"A given {type(aggregate).__qualname__} has no id yet; make it with one.")
    return str(key[0] if len(key) == 1 else tuple(key))


def _driven(call: Callable[[], Any]) -> Any:
    found = call()
    return drive(found) if inspect.iscoroutine(found) else found


def _raise(error: Exception) -> None:
    raise error


def _handler_of(message: Any) -> Any:
    """The one function or class marked for this message in its package."""
    found = list({id(one): one for one in _marked(message)}.values())
    if len(found) == 1:
        return found[0]
    name, package = type(message).__qualname__, type(message).__module__.partition(".")[0]
    if not found:
        raise Misconfigured(f"Nothing loaded of {package} is marked to handle {name}; pass when(…, handler=…).")
    names = ", ".join(sorted(map(name_of, found)))
    raise Misconfigured(f"{name} has {len(found)} handlers: {names}; pass one: when(…, handler=…).")


def _marked(message: Any) -> Iterator[Any]:
    package = type(message).__module__.partition(".")[0]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package:
            values = list(getattr(module, "__dict__", {}).values())
            yield from (one for one in values if _is_handler(one) and _handles(one, type(message)))


def _is_handler(value: Any) -> bool:
    return inspect.isfunction(value) or inspect.isclass(value)


def _handles(target: Any, message: type) -> bool:
    marks = handles_of(target)
    return any(message is m.message or (m.kind == "event" and issubclass(message, m.message)) for m in marks)


class Decision:
    """What a handler made of a message."""

    def __init__(
        self,
        message: Any,
        aggregates: Sequence[Any],
        events: tuple[DomainEvent, ...],
        *,
        value: Any = None,
        error: Exception | None = None,
        raised: bool = False,
    ) -> None:
        self.events = events
        self.error = error
        self._message = message
        self._aggregates = aggregates
        self._value = value
        self._raised = raised

    @property
    def result(self) -> Any:
        """What the handler gave back. Raises its error where there is one."""
        if self.error is not None:
            raise self.error
        return self._value

    def then(self, *events: DomainEvent | type[DomainEvent]) -> Self:
        """These events happened, in this order, and no others; ids and times do not count.

        A class stands for any event of it.
        """
        self._succeeded()
        assert_events(self._message, events, self.events)
        return self

    def then_nothing(self) -> Self:
        """It went well, and no event happened."""
        return self.then()

    def then_fails(self, error: type[UnoError], *, match: str | None = None) -> Self:
        """It ends as a `Failure`, returned or raised, with such an error; `match` is searched for in its text."""
        assert_error(self._message, error, match, self.error)
        return self

    def then_raises(self, error: type[Exception], *, match: str | None = None) -> Self:
        """It raised such an error; `match` is searched for in its text."""
        assert_error(self._message, error, match, self.error)
        if not self._raised:
            raise AssertionError(f"{self._message!r} did not raise {self.error!r}, it gave it back as a Failure.")
        return self

    def state(self, check: Callable[..., object]) -> Self:
        """`check` of the given aggregates, in their order, is not False; of the result where none was given."""
        self._succeeded()
        if check(*self._aggregates) is False:
            shown = "\n".join(f"  {type(one).__qualname__}: {vars(one)}" for one in self._aggregates)
            raise AssertionError(f"After {self._message!r} it is otherwise:\n{shown}")
        return self

    def _succeeded(self) -> None:
        if self.error is not None:
            raise AssertionError(f"{self._message!r} failed: {self.error!r}") from self.error
