"""What drivers and SQLAlchemy raise, as errors of uno's tree.

PostgreSQL's error codes are those of its manual, appendix A.
"""

import re
import sqlite3
from collections.abc import Iterator

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError

from uno.errors import Conflict, Forbidden, Invalid, Misconfigured, TimedOut, Unavailable, UnoError, VersionConflict
from uno.redact import redact

_SQLITE_CONSTRAINT = re.compile(r"(UNIQUE|FOREIGN KEY|NOT NULL|CHECK) constraint failed(?:: (.*))?")
# A mistake in a statement; SQLite has one number for all errors.
_SQLITE_SQL = re.compile(
    r"syntax error|no such (table|column|function|collation|index)|has no column|incomplete input|unrecognized token"
    r"|ambiguous column|wrong number of arguments|misuse of|values (for|were supplied)|already exists|one statement"
)
# What comes before the name of a check, or of a column that must not be null.
REFUSED = "The database refused a value: "
# One of a foreign key says the first two where it is known which; after them may come its name.
REFERRED = "Something else refers to it"
MISSING = "It refers to something that is not there"
_REFERENCE = f"{REFERRED}, or what it refers to is missing"
# PostgreSQL names the constraint and its table, and the other one if that is to be changed; quotes as in any language.
_QUOTES = re.compile('["«»„“”]')
_OF_AN_INSERT = 4
_VERB = re.compile(r"\s*(\w+)")
_READ_ONLY = "attempt to write a readonly database"
# The function of PostgreSQL that reports a row that a policy does not let in; its message may be in any language.
_POLICIES = "ExecWithCheckOptions"
_LOST = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
    OSError,
)


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "orig", None) or current.__cause__


def translate(error: BaseException) -> UnoError | None:
    """The error of uno's tree for an error of the database, None where it is none."""
    for one in chain(error):
        if isinstance(one, UnoError):
            return one
        if isinstance(one, asyncpg.PostgresError):
            return _postgres(one)
        if isinstance(one, sqlite3.Error):
            return _sqlite(one, error)
        if isinstance(one, PoolTimeout):
            return Unavailable("All database connections are in use.")
        if isinstance(one, StaleDataError):
            return VersionConflict("row", (), repeatable=True)
        if isinstance(one, asyncpg.InterfaceError) and "number of query arguments" in str(one):
            return Invalid("One statement has more values than the database takes.")
        if isinstance(one, asyncpg.DataError | OverflowError):
            return Invalid(f"The database cannot store this: {_without_values(one)}.")
    return _lost(error)


def _without_values(error: Exception) -> str:
    """The error goes into logs and spans, where parameters of statements have no place."""
    return redact(str(error.args[0] if error.args else error))


def _lost(error: BaseException) -> UnoError | None:
    """`Unavailable` for a connection that cannot be made or is gone."""
    for one in chain(error):
        if isinstance(one, TimeoutError):
            return TimedOut("The database did not answer in time.")
        if isinstance(one, _LOST) or (isinstance(one, DBAPIError) and one.connection_invalidated):
            return Unavailable("The database cannot be reached.")
        if isinstance(one, InterfaceError):
            return Unavailable("The database cannot be reached.")
    return None


def _postgres(error: asyncpg.PostgresError) -> UnoError | None:
    state: str = getattr(error, "sqlstate", None) or ""
    name = getattr(error, "constraint_name", None)
    if state == "23505":
        return Conflict(f"This would be a duplicate: {name}.", constraint=name)
    if state in ("23503", "23001"):
        return Conflict(f"{REFERRED if _is_referred(error) else MISSING}: {name}.", constraint=name)
    if state == "23P01":
        return Conflict(f"Something that is there excludes this: {name}.", constraint=name)
    if state in ("23502", "23514"):
        return Invalid(f"{REFUSED}{name or getattr(error, 'column_name', '?')}.")
    if state in ("40001", "40P01"):
        return Conflict("Somebody else changed the same rows at the same moment.", repeatable=True)
    if state.startswith(("22", "54")):  # 54: a value beyond what an index or a row can hold
        return Invalid(f"The database cannot store this: {_without_values(error)}.")
    if state in ("57014", "25P03", "55P03"):
        return TimedOut("The database stopped a statement that took too long.")
    if state == "42501" and getattr(error, "server_source_function", None) == _POLICIES:
        return Forbidden("The row-level security of the database does not let you write this.")
    if state == "42501":
        return Misconfigured(f"The user of the database may not do this: {error}.")
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return Unavailable("The tables were changed meanwhile; ask again.")
    if state.startswith("42") or state in ("0A000", "3F000"):
        return Misconfigured(f"The database does not take this SQL: {_without_values(error)}.")
    if state == "25006":  # a standby, or a primary during a failover
        return Unavailable("The database only reads at the moment.")
    if state.startswith(("28", "3D")):
        return Unavailable(f"PostgreSQL refuses the connection: {error}.")
    if state.startswith("58"):
        return Unavailable("The database cannot read or write its files.")
    if state.startswith(("08", "53", "57P")):
        return Unavailable("The database cannot be reached.")
    return None


def _is_referred(error: asyncpg.PostgresError) -> bool:
    """Whether a row was to go, or its key, that others refer to; else a row refers to none."""
    return getattr(error, "sqlstate", None) == "23001" or len(_QUOTES.findall(str(error.args[0]))) > _OF_AN_INSERT


def _reference(error: BaseException) -> str:
    """SQLite says nothing of a foreign key: what is deleted cannot refer to nothing, nor what is new be referred to."""
    verb = _VERB.match(statement_of(error))
    return {"DELETE": REFERRED, "INSERT": MISSING}.get(verb[1].upper() if verb else "", _REFERENCE)


def statement_of(error: BaseException) -> str:
    """What SQLAlchemy ran, where it was that; of a deferred constraint it is nothing."""
    return next((str(one.statement) for one in chain(error) if isinstance(one, DBAPIError) and one.statement), "")


def _sqlite(error: sqlite3.Error, whole: BaseException) -> UnoError | None:
    found = _SQLITE_CONSTRAINT.search(str(error))
    if found and found[1] == "UNIQUE":
        return Conflict(f"This would be a duplicate: {found[2]}.", constraint=found[2])
    if found and found[1] == "FOREIGN KEY":
        return Conflict(f"{_reference(whole)}.")
    if found:
        return Invalid(f"{REFUSED}{found[2]}.")
    if isinstance(error, sqlite3.OperationalError) and re.search("locked|busy", str(error)):
        return Unavailable("The database is locked.")
    if isinstance(error, sqlite3.OperationalError) and "unable to open" in str(error):
        return Unavailable("The database file cannot be opened; check that its folder exists and can be written.")
    if isinstance(error, sqlite3.DatabaseError) and re.search("not a database|image is malformed|disk I/O", str(error)):
        return Unavailable(f"The database file cannot be used: {error}.")
    if _READ_ONLY in str(error):
        return Unavailable("The database only reads at the moment.")
    if isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError) and _SQLITE_SQL.search(str(error)):
        return Misconfigured(f"The database does not take this SQL: {_without_values(error)}.")
    if isinstance(error, sqlite3.DataError):
        return Invalid(f"The database cannot store this: {error}.")
    return None


def refuses_to_write(error: BaseException) -> bool:
    """Whether the database said that it only reads: it itself, or the transaction."""
    states = (getattr(one, "sqlstate", None) == "25006" or _READ_ONLY in str(one) for one in chain(error))
    return any(states)


def ends_transaction(error: BaseException) -> bool:
    """Whether a statement that raised this leaves its transaction unusable: PostgreSQL's then is, SQLite's counts so.

    Not where the driver or SQLAlchemy refused it before it was sent.
    """
    for one in chain(error):
        if isinstance(one, asyncpg.PostgresError):
            return getattr(one, "severity", None) is not None  # the driver's own have none
        if isinstance(one, sqlite3.Error):
            return not isinstance(one, sqlite3.ProgrammingError | sqlite3.InterfaceError)
    return not isinstance(error, Exception) or isinstance(translate(error), Unavailable | TimedOut)


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, so that what it was doing has an unknown outcome."""
    for one in chain(error):
        if isinstance(one, asyncpg.PostgresError):
            # With any other error the server says itself that it rolled back.
            return (getattr(one, "sqlstate", None) or "").startswith(("08", "57P"))
        if isinstance(one, sqlite3.Error):
            return False
    return isinstance(translate(error), Unavailable | TimedOut)
