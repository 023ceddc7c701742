"""Who holds a transaction open while something else is awaited is told where.

A timer looks at the task when the transaction has been left alone for long: its stack of awaits says what it waits for.
"""

import asyncio

from uno import clock
from uno.data.guards import Guards, is_theirs, place
from uno.errors import Misconfigured
from uno.sync import Place, awaits

# Innermost in a wait for the database is code of one of these, below it only the event loop's.
_DATABASE = ("sqlalchemy", "asyncpg", "aiosqlite", "uno.data")
_LOOP = ("asyncio", "uvloop")


class Watch:
    """Over one transaction."""

    __slots__ = ("_guards", "_since", "_task", "_timer", "error")

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        self._task = asyncio.current_task()
        # Idle since then; None while the driver runs a statement.
        self._since: float | None = clock.monotonic()
        # What is raised by the next statement, where guards are errors.
        self.error: Misconfigured | None = None
        self._arm(guards.transaction_idle)

    def _arm(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def begins(self) -> None:
        self._since = None

    def ends(self) -> None:
        self._since = clock.monotonic()

    def stop(self) -> None:
        self._timer.cancel()

    def check(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error

    def _look(self) -> None:
        if self._task is None or self._task.done():
            return
        limit = self._guards.transaction_idle
        idle = 0.0 if self._since is None else clock.monotonic() - self._since
        calls = list(awaits(self._task.get_coro()))
        if idle < limit or _in_database(calls):
            return self._arm(max(limit - idle, limit / 10))
        try:
            self._guards.tell(_message(idle, calls))
        except Misconfigured as error:
            self.error = error


def _message(idle: float, calls: list[Place]) -> str:
    theirs = [call for call in calls if is_theirs(call[0])]
    code, line, _ = theirs[-1] if theirs else calls[-1]
    return (
        f"A transaction has been held open for {idle:.2g} s while something else is awaited, at {place(code, line)}; "
        "its connection and its locks are not free meanwhile: await it before or after the transaction."
    )


def _in_database(calls: list[Place]) -> bool:
    """Whether what is awaited innermost is the database's; code that was compiled has no name."""
    inner = next((module for _, _, module in reversed(calls) if module and not _of(module, _LOOP)), "")
    return _of(inner, _DATABASE)


def _of(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in packages)
