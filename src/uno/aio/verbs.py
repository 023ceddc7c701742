"""How a resource of any kind is started and closed, and what becomes of one that does not close."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from uno import clock
from uno.aio.births import waits, waits_at
from uno.aio.ending import end_within
from uno.errors import Misconfigured, TimedOut, Unavailable, UnoError
from uno.redact import described
from uno.sync import is_async

T = TypeVar("T")
Verb = Callable[[], Any]
# Seconds that what is cancelled, because its time is over, has for ending.
LAST = 0.25
_CLOSERS = ("aclose", "close")


class NotStarted(Unavailable):
    """A resource or a hook failed while everything started; what it raised is the cause."""


class Overdue(TimedOut):
    """What uno waits for has not ended in its time."""


def starter(name: str, resource: Any, given: Verb | None) -> Verb | None:
    """What starts it: its async `start`, unless told otherwise. Raises `Misconfigured` for one that is not async: that
    of a thread is something else, and may have been called already."""
    # Of a class it would be that of no instance.
    found = given or (None if inspect.isclass(resource) else getattr(resource, "start", None))
    if given is not None or is_async(found):
        return found
    if callable(found):
        kind = type(resource).__name__
        raise Misconfigured(
            f"The start() of the resource {name!r}, a {kind}, is not async, so uno does not know whether it is meant: "
            f"register({name!r}, …, start=it.start) calls it, start=lambda: None does not."
        )
    return None


def closer(resource: Any, given: Verb | None) -> Verb | None:
    """What closes it: `aclose` or `close`, unless told otherwise; None where there is nothing to close."""
    if given is not None:
        return given
    # Of a class it would be that of no instance.
    if inspect.isclass(resource):
        return None
    return next((f for name in _CLOSERS if callable(f := getattr(resource, name, None))), None)


def require_resource(name: str, resource: Any, *, is_said: bool) -> None:
    """Raises `Misconfigured` for what is not the resource yet: the call that makes it, which nobody awaited, and,
    unless `is_said` how it starts or closes, what makes it and what only `async with` opens."""
    if inspect.iscoroutine(resource):
        call = resource.__qualname__
        resource.close()
        raise Misconfigured(f"The resource {name!r} is what {call}() gives: register({name!r}, await {call}(…)).")
    if resource is None:
        raise Misconfigured(f"The resource {name!r} is None: let what makes it return it.")
    if is_said:
        return
    if inspect.isclass(resource) or inspect.isroutine(resource):
        call = resource.__name__
        raise Misconfigured(f"The resource {name!r} is what {call}() gives: register({name!r}, {call}(…)).")
    kind = type(resource)
    if hasattr(kind, "__aenter__") and not any(hasattr(kind, verb) for verb in ("start", *_CLOSERS)):
        raise Misconfigured(
            f"The resource {name!r}, a {kind.__name__}, is opened and closed by `async with` only: write that around "
            f"the program, or say how: register({name!r}, …, start=it.__aenter__, "
            "close=lambda: it.__aexit__(None, None, None))."
        )


def require_verb(owner: str, name: str, given: Any) -> None:
    """Raises `Misconfigured` for what cannot be called, as a coroutine that is one already."""
    if given is None or callable(given):
        return
    if inspect.iscoroutine(given):
        given.close()
    raise Misconfigured(f"{name} of {owner} is a function without arguments, not {given!r}.")


async def done(verb: Verb) -> Any:
    """What it gives, awaited where it has to be."""
    found = verb()
    return await found if inspect.isawaitable(found) else found


@contextmanager
def told(what: str) -> Iterator[None]:
    """Raises `NotStarted` for what fails inside, in one sentence that says of whom; but `Misconfigured` with a note,
    and `Overdue`, which says so itself."""
    try:
        yield
    except Overdue:
        raise
    except Misconfigured as error:
        error.add_note(f"{what}.")
        raise
    except UnoError as error:  # a sentence, which says where to look
        raise NotStarted(f"{what}: {error}") from error
    except Exception as error:
        raise NotStarted(f"{what}: {described(error)}.") from error


async def within(work: Coroutine[Any, Any, T], seconds: float, what: str, fix: str) -> T:
    """What `work` gives. Raises `Overdue` after `seconds`, with the line at which it waits.

    It runs in a task of its own and is cancelled when its time is over; what does not end then either is left behind.
    """
    task = asyncio.create_task(work, name=f"uno {what}")
    try:
        await asyncio.wait([task], timeout=seconds)
    except asyncio.CancelledError:
        await end_within(task, LAST)
        raise
    if task.done():
        return task.result()
    where = waiting(work)
    ended = await end_within(task, LAST)
    left = "" if ended else " It does not end when it is cancelled either, so it is left behind."
    raise Overdue(f"{what} took longer than {seconds:g} s{where}; {fix}.{left}")


def waiting(work: Any) -> str:
    """Where a coroutine waits, as the end of a sentence; empty where that cannot be said."""
    place = waits_at(waits(work))
    return "" if place is None else f"; it waits at {place}"


def left_of(end_at: float | None, most: float) -> float:
    """Seconds until `end_at` on `clock.monotonic()`, at most `most`."""
    return most if end_at is None else max(0.0, min(most, end_at - clock.monotonic()))
