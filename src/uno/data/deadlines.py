"""The deadline around it also ends what waits for the database: for a connection, a statement, a row of a stream.

A commit under way has its own limit instead, so that its outcome is known.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from sqlalchemy import Engine, event

from uno import clock, context, sync
from uno.errors import OutcomeUnknown, TimedOut, UnoError
from uno.resilience import alarm, commits, deadline
from uno.telemetry.logs import get_logger

log = get_logger("uno.data")

T = TypeVar("T")
# Seconds by which a server may be late to say that it has stopped a statement.
SILENCE = 5.0
# Whether a commit is under way.
committing: ContextVar[bool] = context.left_behind(ContextVar("uno.data.committing", default=False), False)


def left(ceiling: float | None = None) -> float | None:
    """Seconds that the deadline leaves, at most `ceiling`; None where nothing ends it. Raises `TimedOut` after it."""
    if committing.get():
        return None
    end = deadline.ambient()
    if end is None:
        return ceiling
    seconds = end - clock.monotonic()
    if seconds <= 0:
        raise TimedOut("The deadline of the message, or of a timeout around it, has passed.")
    return seconds if ceiling is None or seconds < ceiling else ceiling


def to_wait() -> float | None:
    """The same where something can be interrupted: what is driven is only looked at before."""
    seconds = left()
    return None if asyncio._get_running_loop() is None or sync.driving() else seconds


def in_time(call: Callable[[], T], seconds: float) -> T:
    """What `call` gives, which waits in a greenlet of SQLAlchemy. Raises `TimedOut`."""
    limit = clock.timeout(seconds)
    _at_once(limit.__aenter__())
    try:
        found = call()
    except BaseException as error:
        try:
            _at_once(limit.__aexit__(type(error), error, error.__traceback__))
        except TimeoutError as late:
            raise TimedOut("The database did not answer before the deadline of the message.") from late
        raise
    _at_once(limit.__aexit__(None, None, None))
    return found


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> None:
    """A timeout begins and ends without waiting."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("a timeout had to wait")


async def run_commit(work: Coroutine[Any, Any, None]) -> None:
    """Run this commit to its end, whatever happens to the caller, and have the limits around it know of it."""
    under_way = committing.set(True)
    try:
        if sync.without_loop():
            return await work
        loop = asyncio.get_running_loop()
        task, done = loop.create_task(work), loop.create_future()
    finally:
        committing.reset(under_way)
    alarm.committing(task)
    # asyncio.shield() by hand, in half its time: this runs for every commit.
    task.add_done_callback(lambda _: None if done.done() else done.set_result(None))
    try:
        await done
    except asyncio.CancelledError as cancelled:
        commits.note(cancelled, task)
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:  # a second cancel changes nothing; the first one is raised below
                continue
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("the commit of a cancelled message failed: %s", error)
        raise
    task.result()


async def confirmed(commit: Awaitable[None], limit: float) -> None:
    """Wait for a commit. Raises `OutcomeUnknown` after `limit` seconds."""
    if sync.without_loop():  # SQLite's own limit holds
        return await commit
    try:
        async with clock.timeout(limit):
            await commit
    except TimeoutError as error:
        if isinstance(error, UnoError):
            raise
        raise OutcomeUnknown(f"The commit was not confirmed within {limit:g} s.") from error


def was_late(error: BaseException) -> bool:
    """Whether it is the error of a statement that was not sent any more."""
    return isinstance(error, TimedOut) and error.__cause__ is None


def was_missed(error: BaseException) -> bool:
    """Whether it is the error of a statement that was interrupted, so that its connection is of no use."""
    return isinstance(error, TimedOut) and isinstance(error.__cause__, TimeoutError)


def keep_deadlines(engine: Engine) -> None:
    """Interrupt statements that go through SQLAlchemy, sessions too, and throw their connection away."""
    dialect = engine.dialect

    @event.listens_for(engine, "do_execute")
    def one(cursor: Any, sql: str, parameters: Any, execution: Any) -> bool:
        return ran(lambda: dialect.do_execute(cursor, sql, parameters, execution), execution)

    @event.listens_for(engine, "do_executemany")
    def many(cursor: Any, sql: str, parameters: Any, execution: Any) -> bool:
        return ran(lambda: dialect.do_executemany(cursor, sql, parameters, execution), execution)

    @event.listens_for(engine, "do_execute_no_params")
    def plain(cursor: Any, sql: str, execution: Any) -> bool:
        return ran(lambda: dialect.do_execute_no_params(cursor, sql, execution), execution)

    @event.listens_for(engine, "handle_error")
    def wrong(exception: Any) -> None:
        # SQLite's connection did nothing else meanwhile, and was interrupted.
        if was_missed(exception.original_exception) and dialect.name != "sqlite":
            exception.is_disconnect = True
            exception.invalidate_pool_on_disconnect = False


def ran(run: Callable[[], None], execution: Any) -> bool:
    """Whether it ran here; SQLAlchemy does it otherwise."""
    seconds = to_wait()
    if seconds is None:
        return False
    try:
        in_time(run, seconds)
    except TimedOut:
        if execution.dialect.name == "sqlite":  # its thread would go on, and everybody wait for it
            _at_once(execution.root_connection.connection.driver_connection.interrupt())
        raise
    return True
