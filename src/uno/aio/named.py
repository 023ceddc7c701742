"""What has a name is one thing for all who name it, within an event loop.

`AsyncLock("mail")` is a handle; the lock itself is found, or made, in the event loop where it is used, so that a handle
may be made anywhere: in a module, in each call. It is forgotten once nobody has it.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from uno.errors import Misconfigured

Loop = asyncio.AbstractEventLoop


class Shared:
    """What handles of one name share; `settings` are those it was made with."""

    __slots__ = ("__weakref__", "settings")

    def __init__(self, settings: object) -> None:
        self.settings = settings


S = TypeVar("S", bound=Shared)


class _Names:
    """Those of one event loop."""

    def __init__(self) -> None:
        self.known: WeakValueDictionary[tuple[str, str], Shared] = WeakValueDictionary()
        # What must not be forgotten, though nobody has a handle: an event that is set.
        self.kept: set[Shared] = set()


_loops: dict[Loop, _Names] = {}
_turn = threading.Lock()


def _names(loop: Loop) -> _Names:
    found = _loops.get(loop)
    if found is None:
        with _turn:
            for closed in [one for one in _loops if one.is_closed()]:
                del _loops[closed]
            found = _loops.setdefault(loop, _Names())
    return found


def keep(loop: Loop, shared: Shared, wanted: bool) -> None:
    """Whether it stays, without a handle, as long as its event loop."""
    kept = _names(loop).kept
    kept.add(shared) if wanted else kept.discard(shared)


class Named(Generic[S]):
    """A handle. One without a name has a thing of its own, in one event loop at a time."""

    __slots__ = ("_at", "name")

    kind = ""

    def __init__(self, name: str | None) -> None:
        given: object = name
        if not (given is None or (isinstance(given, str) and given)):
            raise Misconfigured(f"The name of an {self.kind} is a text, not {name!r}.")
        self.name = name
        # One attribute, as threads with event loops of their own may share the handle.
        self._at: tuple[Loop, S] | None = None

    def _find_early(self) -> None:
        """Where an event loop runs other settings are refused at once, not with the first use."""
        if self.name is not None and asyncio._get_running_loop() is not None:
            _ = self._shared

    def _make(self) -> S:
        raise NotImplementedError

    def _settings(self) -> Any:
        return None

    @property
    def shown(self) -> str:
        """What it is called in sentences."""
        return f"The {self.kind}" if self.name is None else f"The {self.kind} {self.name!r}"

    @property
    def _shared(self) -> S:
        loop, at = asyncio._get_running_loop(), self._at
        return at[1] if at is not None and at[0] is loop else self._bind(loop)

    def _bind(self, loop: Loop | None) -> S:
        if loop is None:
            raise Misconfigured(
                f"{self.shown} is used outside of an event loop; use it in a coroutine that runs in one."
            )
        if self.name is None:
            self._check_loop()
            found = self._make()
        else:
            found = self._found(loop, self.name, self._make)
        self._at = loop, found
        return found

    def _check_loop(self) -> None:
        if self._at is not None and not self._at[0].is_closed():
            raise Misconfigured(
                f"{self.shown} has no name, so it belongs to the event loop it was used in first, and that is another "
                "one; make one for each event loop, or give it a name, which is looked up in each."
            )

    def _found(self, loop: Loop, name: str, make: Callable[[], S]) -> S:
        known = _names(loop).known
        found: Any = known.get((self.kind, name))
        if found is None:
            found = known[self.kind, name] = make()
        elif found.settings != self._settings():
            raise Misconfigured(
                f"{self.shown} is in use with other settings: {found.settings!r}, here {self._settings()!r}; "
                "what has one name has one meaning."
            )
        return found  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"{self.kind}({'' if self.name is None else repr(self.name)})"
