"""Errors of a database that does not answer say which one it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from uno.data.database import Database
from uno.errors import TimedOut, Unavailable, again


@contextmanager
def naming(database: Database) -> Iterator[None]:
    """For a block in which nobody else is asked for anything; of an embedded server the errors name the folder."""
    try:
        yield
    except (Unavailable, TimedOut) as error:
        if database.embedded:
            raise
        raise again(error, f"{error} It is {database.shown}.") from error
