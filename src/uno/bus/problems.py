"""What is wrong with the handlers of a bus taken together, found before the first message."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from uno.bus.handler import name_of
from uno.bus.registry import Handles
from uno.errors import Problem
from uno.messages import message_name

K = TypeVar("K")
V = TypeVar("V")


def duplicates(marks: Sequence[Handles]) -> list[Problem]:
    """Two handlers of one message, two subscribers or two messages stored under one name."""
    return [
        *_ambiguous("duplicate handler", _handlers_of(marks), "has {n} handlers: {names}; keep one."),
        *_ambiguous(
            "duplicate subscriber", _subscribers_of(marks), "names {n} subscribers: {names}; give each its own name=."
        ),
        *_ambiguous("duplicate message name", _messages_of(marks), "names {n} messages: {names}; change one's name."),
    ]


def _grouped(pairs: Iterable[tuple[K, V]]) -> Mapping[K, list[V]]:
    groups: defaultdict[K, list[V]] = defaultdict(list)
    for key, value in pairs:
        if value not in groups[key]:
            groups[key].append(value)
    return groups


def _handlers_of(marks: Sequence[Handles]) -> list[tuple[str, list[Any]]]:
    groups = _grouped((m.message, m) for m in marks if m.kind != "event")
    return [(name_of(message), list(map(_handler_name, found))) for message, found in groups.items()]


def _subscribers_of(marks: Sequence[Handles]) -> list[tuple[str, list[Any]]]:
    return list(_grouped((m.name, m.handler) for m in marks if m.durable).items())


def _messages_of(marks: Sequence[Handles]) -> list[tuple[str, list[Any]]]:
    return list(_grouped((message_name(m.message), m.message) for m in marks).items())


def _ambiguous(kind: str, groups: Iterable[tuple[str, list[Any]]], text: str) -> list[Problem]:
    return [
        Problem(kind, where, f"{where} {text.format(n=len(found), names=', '.join(map(_full_name, found)))}")
        for where, found in groups
        if len(found) > 1
    ]


def _handler_name(mark: Handles) -> str:
    """Of an event with its module: two may have the method from one class."""
    name = _full_name(mark.handler)
    return f"module {mark.owner}: {name}" if mark.owner else name


def _full_name(target: Any) -> str:
    if isinstance(target, str):
        return target
    return f"{target.__module__}.{name_of(target)}"


def nowhere_to_wait(mark: Handles) -> Problem:
    where = name_of(mark.handler)
    fix = "give the App a database or leave out durable=True."
    message = f"{where} is durable but there is no database to keep its events; {fix}"
    return Problem("durable subscriber", where, message)


def unmarked(handler: object) -> Problem:
    fix = "decorate it with @command_handler, @query_handler or @event_handler."
    return Problem("unmarked handler", name_of(handler), f"It says of no message that it handles it; {fix}")
