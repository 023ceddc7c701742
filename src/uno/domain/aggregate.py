"""Aggregates: entities that guard their invariants and tell what happened to them."""

from itertools import count
from typing import Any, TypeAlias

from uno.domain.entity import Entity, Id
from uno.messages import DomainEvent

# An event and when, in the order of this process, it was registered: a commit has several aggregates.
Numbered: TypeAlias = tuple[int, DomainEvent]
_numbers = count()


def numbered(event: DomainEvent) -> Numbered:
    """The event with the next number."""
    return next(_numbers), event


def mark_events() -> int:
    """A number between those of the events before and after this call."""
    return next(_numbers)


class AggregateRoot(Entity[Id]):
    """The entity through which a cluster of objects is changed.

    `register_event` remembers a fact; the unit of work collects it when it commits. `version`
    counts the stored changes: 0 means never stored.
    """

    # On the class, so that it is there without __init__ (dataclasses, loaded rows).
    version: int = 0

    def register_event(self, event: DomainEvent) -> None:
        """Remember that `event` happened, in order."""
        self.__dict__.setdefault("_events", []).append(numbered(event))

    def collect_events(self) -> list[DomainEvent]:
        """What happened since the last call, in order; forgets it."""
        return [event for _, event in numbered_events(self)]


def numbered_events(aggregate: AggregateRoot[Any]) -> list[Numbered]:
    """The same with the numbers."""
    events: list[Numbered] = aggregate.__dict__.pop("_events", [])
    return events


def forget_events(entity: Any, mark: int) -> None:
    """Forget the events an aggregate registered after `mark`, whoever knew it then."""
    events: list[Numbered] = entity.__dict__.get("_events", [])
    events[:] = [one for one in events if one[0] < mark]
