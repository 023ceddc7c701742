"""What goes wrong with modules and events."""

import inspect
from typing import TYPE_CHECKING, Any

from uno.bus.annotations import contradicts
from uno.errors import Misconfigured, UnoError
from uno.modules.event import Event, input_type, is_event
from uno.redact import one_line

if TYPE_CHECKING:
    from uno.modules.module import Module

# Of the cause's text, in characters: an event that causes itself would tell its story a thousand times.
LONGEST = 500


class EventHandlingError(UnoError):
    """The handler of `event` in `module` failed with `original_error`."""

    def __init__(
        self,
        message: str,
        event: "Event[Any, Any] | None" = None,
        module: "Module | None" = None,
        original_error: BaseException | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.event = event
        self.module = module
        self.original_error = original_error

    def __str__(self) -> str:
        parts = [self.message]
        if self.event is not None:
            name = getattr(self.event, "name", "")
            parts.append(f"Event: {name or type(self.event).__qualname__}")
        if self.module is not None:
            parts.append(f"Module: {self.module.metadata.name or self.module.name}")
        if self.original_error is not None:
            parts.append(f"Cause: {described(self.original_error)}")
            if isinstance(self.original_error, AttributeError | TypeError) and (why := wrong_input(self.event)):
                parts.append(why)
        return one_line(" | ".join(parts))


class ModuleRegistrationError(Misconfigured):
    """A module cannot be registered; its host is as it was before."""

    def __init__(
        self, message: str, module: "Module | None" = None, original_error: BaseException | None = None
    ) -> None:
        super().__init__(message)
        self.module = module
        self.original_error = original_error


class EventUnhandled(UnoError):
    """No module handled the event."""


def described(error: BaseException) -> str:
    """Class and text of an error, of reasonable length."""
    return f"{type(error).__name__}: {str(error)[:LONGEST]}"


def wrong_input(event: Any) -> str | None:
    """What is to be said of an input that is certainly not what the class of the event says."""
    wanted = input_type(type(event)) if is_event(type(event)) else None
    if not inspect.isclass(wanted) or not contradicts(type(event.input), wanted):
        return None
    given = "and was given none" if event.input is None else f"not {type(event.input).__qualname__}"
    name, what = type(event).__qualname__, wanted.__qualname__
    return f"{name} takes {what}, {given}: write {name}(input={what}(...))."


def refuse_others(event: type) -> None:
    """Raises `Misconfigured` for the class of what is no event."""
    if event is type:
        raise Misconfigured("The host takes events, not their classes: make one, as in GreetEvent(input=...).")
    if not is_event(event):
        raise Misconfigured(f"The host takes events, not {event.__qualname__}: derive its class from Event[In, Out].")


class NeedsAwait(Misconfigured):
    """A synchronous call where only an asynchronous one can work."""

    def __init__(self, event: type, why: str = "has an asynchronous handler, and an event loop runs here") -> None:
        super().__init__(f"{event.__qualname__} {why}: use `await host.handle_async(event)`.")
