"""When and where in the code something was made, and where it waits: noted cheaply, put into words when asked."""

import inspect
import os
import sys
from functools import partial
from itertools import islice
from types import CodeType, FrameType
from typing import Any

from uno import clock, sync

# On `clock.monotonic()`, in seconds; the code and the instruction in it. The line is looked up when it
# is asked for: finding it takes longer than making a task.
Birth = tuple[float, CodeType, int]
# What stands between a task and the line of the program in which it waits.
_BETWEEN = ("asyncio", "uno.aio", "uno.clock", "anyio", "contextlib", "functools", "concurrent", "threading")


def birth(depth: int = 1) -> Birth:
    """Now, and here; `depth` is how many calls above this one "here" is: 1 is whoever calls."""
    frame = sys._getframe(depth)
    return clock.monotonic(), frame.f_code, frame.f_lasti


def birth_outside() -> Birth:
    """Now, and in the nearest code above that is neither uno.aio nor what it is called through."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_between(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    frame = frame or sys._getframe(1)
    return clock.monotonic(), frame.f_code, frame.f_lasti


def place(born: Birth) -> str:
    """As `path:line in function`."""
    _, code, instruction = born
    positions = next(islice(code.co_positions(), instruction // 2, None), (None,))
    return described(code, positions[0])


def described(code: CodeType, line: int | None) -> str:
    """As `path:line in function`; the path relative to the working directory, if it is inside."""
    path = code.co_filename.removeprefix(_here())
    return f"{path}:{line or code.co_firstlineno} in {code.co_qualname}"


def place_of(work: Any) -> str | None:
    """Where a function begins, in the same form; None of what is not written in Python."""
    # A guard of uno.resilience is a partial, too, with what it wraps.
    while isinstance(work := inspect.unwrap(work), partial):
        work = work.func
    code = getattr(work, "__code__", None) or getattr(type(work).__call__, "__code__", None)
    return None if code is None else described(code, code.co_firstlineno)


def _here() -> str:
    try:
        return f"{os.getcwd()}{os.sep}"
    except OSError:  # it was deleted
        return ""


def waits(coroutine: Any) -> list[sync.Place]:
    """The calls in which it waits, the outermost first."""
    return list(sync.awaits(coroutine))


def waits_at(places: list[sync.Place]) -> str | None:
    """The innermost line that is the program's own; the innermost of all where none is."""
    own = [place for place in places if not _is_between(place[2])]
    return next((described(code, line) for code, line, _ in reversed(own or places)), None)


def _is_between(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in _BETWEEN)
