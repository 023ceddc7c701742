"""The composed pipelines of a bus, by what they are for."""

from uno.bus.pipeline import Call
from uno.bus.registry import Handles
from uno.messages import Envelope


class Table:
    """The pipelines by what they are for."""

    def __init__(self) -> None:
        self.calls: dict[type, Call] = {}
        self._durable: dict[tuple[str, type], Call] = {}
        self._subscribers: dict[type, list[tuple[Handles, Call]]] = {}
        self._told: dict[type, list[tuple[Handles, Call]]] = {}

    def add(self, mark: Handles, call: Call) -> None:
        if mark.kind != "event":
            self.calls[mark.message] = call
        elif mark.durable:
            self._durable[mark.name, mark.message] = call
        else:
            self._subscribers.setdefault(mark.message, []).append((mark, call))

    def told(self, event: type) -> list[tuple[Handles, Call]]:
        """The in-process subscribers of an event type and of its bases, each once."""
        found = self._told.get(event)
        if found is None:
            entries = [entry for cls in event.__mro__ for entry in self._subscribers.get(cls, ())]
            found = self._told[event] = list({mark.handler: (mark, call) for mark, call in reversed(entries)}.values())
            found.reverse()
        return found

    def durable_call(self, envelope: Envelope) -> Call:
        keys = ((envelope.subscriber, cls) for cls in type(envelope.event).__mro__)
        found = next((self._durable[key] for key in keys if key in self._durable), None)
        if found is None:
            raise KeyError(envelope.subscriber)
        return found
