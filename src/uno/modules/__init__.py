"""A module: a part of an application that can be read, tested and left out by itself.

`Event[In, Out]` is what modules ask of each other, `ModuleHost` gives it to the one that answers.
"""

from uno.modules.config import ModuleHostConfig
from uno.modules.errors import EventHandlingError, EventUnhandled, ModuleRegistrationError
from uno.modules.event import (
    AsyncEventHandler,
    Event,
    EventHandler,
    EventInput,
    EventLike,
    EventOutput,
    ExternalEvent,
    ExternalEventInput,
    input_type,
    output_type,
)
from uno.modules.handles import handles
from uno.modules.host import ModuleHost
from uno.modules.metrics import Metrics
from uno.modules.module import Module, ModuleMetadata, module
from uno.modules.route import Access, Route

__all__ = [
    "Access",
    "AsyncEventHandler",
    "Event",
    "EventHandler",
    "EventHandlingError",
    "EventInput",
    "EventLike",
    "EventOutput",
    "EventUnhandled",
    "ExternalEvent",
    "ExternalEventInput",
    "Metrics",
    "Module",
    "ModuleHost",
    "ModuleHostConfig",
    "ModuleMetadata",
    "ModuleRegistrationError",
    "Route",
    "handles",
    "input_type",
    "module",
    "output_type",
]
