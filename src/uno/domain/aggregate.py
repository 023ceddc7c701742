"""Aggregates: entities that guard their invariants and tell what happened to them."""

from uno.domain.entity import Entity, Id
from uno.messages import DomainEvent


class AggregateRoot(Entity[Id]):
    """The entity through which a cluster of objects is changed.

    `register_event` remembers a fact; the unit of work collects it when it commits. `version`
    counts the stored changes: 0 means never stored.
    """

    # On the class, so that it is there without __init__ (dataclasses, loaded rows).
    version: int = 0

    def register_event(self, event: DomainEvent) -> None:
        """Remember that `event` happened, in order."""
        self.__dict__.setdefault("_events", []).append(event)

    def collect_events(self) -> list[DomainEvent]:
        """What happened since the last call, in order; forgets it."""
        events: list[DomainEvent] = self.__dict__.pop("_events", [])
        return events
