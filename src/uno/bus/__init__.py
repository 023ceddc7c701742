"""One dispatcher and one pipeline for commands, queries and events."""

from uno.bus.bus import Bus, CommandBus, EventBus, QueryBus
from uno.bus.idempotency import idempotent
from uno.bus.invalidation import invalidates
from uno.bus.pipeline import CallNext, Middleware, per_message
from uno.bus.registry import Handles, command_handler, event_handler, handles_of, query_handler

__all__ = [
    "Bus",
    "CallNext",
    "CommandBus",
    "EventBus",
    "Handles",
    "Middleware",
    "QueryBus",
    "command_handler",
    "event_handler",
    "handles_of",
    "idempotent",
    "invalidates",
    "per_message",
    "query_handler",
]
