"""Finding the events of a package."""

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import ModuleType
from typing import Any

from uno.app.endpoints import derive
from uno.errors import Misconfigured
from uno.modules.event import Event, input_type, is_event, output_type
from uno.modules.exposure import get_api_metadata, is_excluded_from_api
from uno.modules.fields import field_names


@dataclass(frozen=True)
class DiscoveredEvent:
    """An event with what its class says: `domain` and `action` are the parts of "users.create"."""

    event_class: type[Event[Any, Any]]
    input_class: Any
    output_class: Any
    event_name: str
    domain: str
    action: str
    module_path: str
    api_metadata: dict[str, Any]


def described_event(event: type[Event[Any, Any]]) -> DiscoveredEvent:
    """What a class says of itself; without a name, domain and action are read from that of the class."""
    derived = derive(event, field_names(event))
    domain, _, action = event.name.rpartition(".") if "." in event.name else (derived.collection, "", derived.verb)
    return DiscoveredEvent(
        event_class=event,
        input_class=input_type(event),
        output_class=output_type(event),
        event_name=event.name,
        domain=domain,
        action=action,
        module_path=event.__module__,
        api_metadata=get_api_metadata(event),
    )


class EventDiscovery:
    """Looks into the modules of a package, however deep, whose names end in "events".

    `exclude_patterns` are matched with the last part of a module's name: `["test_*", "old_events"]`.
    """

    def __init__(self, package_name: str | None = None, exclude_patterns: Sequence[str] | None = None) -> None:
        self.package_name = package_name
        self.exclude_patterns = tuple(exclude_patterns or ())

    def discover(self, package: str | ModuleType | None = None) -> list[DiscoveredEvent]:
        """The events that are defined there, but for those marked `@exclude_from_api`.

        Raises what an import raises.
        """
        start = package or self.package_name
        if start is None:
            raise Misconfigured("EventDiscovery needs a package: EventDiscovery(name) or discover(name).")
        root = importlib.import_module(start) if isinstance(start, str) else start
        return [described_event(event) for module in self._modules(root) for event in _events_in(module)]

    def _modules(self, module: ModuleType) -> Iterator[ModuleType]:
        last = module.__name__.rpartition(".")[2]
        if last.endswith("events") and not self._is_excluded(last):
            yield module
        for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
            if not self._is_excluded(found.name) and (found.ispkg or found.name.endswith("events")):
                yield from self._modules(importlib.import_module(f"{module.__name__}.{found.name}"))

    def _is_excluded(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.exclude_patterns)


def _events_in(module: ModuleType) -> Iterator[type[Event[Any, Any]]]:
    for found in list(vars(module).values()):
        if is_event(found) and found.__module__ == module.__name__ and not is_excluded_from_api(found):
            yield found
