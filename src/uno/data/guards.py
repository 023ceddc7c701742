"""Guards against what is right for one row and wrong for a thousand: reported, or an error, as the settings say.

What a guard costs is paid when it fires.
"""

import sys
from collections.abc import Hashable, Iterator
from pathlib import Path
from sysconfig import get_paths
from types import CodeType, FrameType

from greenlet import getcurrent  # type: ignore[import-untyped]

from uno.errors import Misconfigured
from uno.settings import DatabaseSettings
from uno.telemetry.logs import get_logger

log = get_logger("uno.data")

_PATHS = get_paths()
_LIBRARIES = tuple({f"{_PATHS[name]}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_UNO = f"{Path(__file__).parents[1]}/"


def is_theirs(code: CodeType) -> bool:
    """Whether this is code of the application: neither of uno nor of a library."""
    name = code.co_filename
    return not (name.startswith((_UNO, *_LIBRARIES, "<")) or name == __file__)


def place(code: CodeType, line: int | None) -> str:
    return f"{code.co_filename}:{line or code.co_firstlineno}"


def caller() -> str:
    """The file and line of the application that runs now."""
    return next((place(one.f_code, one.f_lineno) for one in _frames() if is_theirs(one.f_code)), "an unknown place")


def _frames() -> Iterator[FrameType]:
    """The innermost first; SQLAlchemy's greenlets go on in those that wait for them."""
    frame: FrameType | None = sys._getframe(1)
    around = getcurrent().parent
    while frame is not None:
        yield frame
        frame = frame.f_back
        if frame is None and around is not None:
            frame, around = around.gr_frame, around.parent


class Guards:
    """What the settings say about guards."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.mode = settings.guarding
        on = self.mode != "off"
        self.repeated_reads = settings.repeated_reads if on else 0
        self.transaction_idle = settings.transaction_idle if on else 0.0

    def tell(self, message: str) -> None:
        """Log it; where guards are errors, raise `Misconfigured`."""
        if self.mode == "error":
            raise Misconfigured(message)
        log.warning(message)


class Reads:
    """How often a unit of work has read one row of a class, or one attribute of an object, by a query of its own."""

    __slots__ = ("_counts", "_guards", "_limit")

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        self._limit = guards.repeated_reads
        self._counts: dict[Hashable, int] = {}

    def one(self, cls: type, attribute: str | None = None) -> None:
        key = cls if attribute is None else (cls, attribute)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count == self._limit:
            self._guards.tell(_repeated(count, cls, attribute))


def _repeated(count: int, cls: type, attribute: str | None) -> str:
    if attribute is None:
        return (
            f"{count} rows of {cls.__qualname__} were read one by one in one unit of work, the last at {caller()}; "
            "read them with one find(id__in=[…])."
        )
    return (
        f"{cls.__qualname__}.{attribute} was loaded {count} times one by one in one unit of work, the last at "
        f"{caller()}; load it with its objects: selectinload({cls.__qualname__}.{attribute}) in the query."
    )
