"""What drivers and SQLAlchemy raise, as errors of uno's tree.

PostgreSQL's error codes are those of its manual, appendix A.
"""

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError

from uno.errors import Conflict, Forbidden, Invalid, Misconfigured, TimedOut, Unavailable, UnoError, VersionConflict
from uno.redact import redact

_SQLITE_CONSTRAINT = re.compile(r"(UNIQUE|FOREIGN KEY|NOT NULL|CHECK) constraint failed(?:: (.*))?", re.DOTALL)
# SQLite names a unique index only where it has more than columns.
_INDEX = re.compile(r"^index '(.*)'$")
# A mistake in a statement; SQLite has one number for all errors.
_SQLITE_SQL = re.compile(
    r"syntax error|no such (table|column|function|collation|index)|has no column|incomplete input|unrecognized token"
    r"|ambiguous column|wrong number of arguments|misuse of|values (for|were supplied)|already exists|one statement"
)
Kind: TypeAlias = Literal["unique", "excluded", "reference", "referred", "either", "check", "missing"]
# What is said where nobody knows more; after it may come the name of the constraint.
SENTENCES: Final[dict[Kind, str]] = {
    "unique": "This would be a duplicate",
    "excluded": "Something that is there excludes this",
    "reference": "It refers to something that is not there",
    "referred": "Something else refers to it",
    "either": "Something else refers to it, or what it refers to is missing",
    "check": "The database does not take one of the values",
    "missing": "The database does not take one of the values",
}
_STATES: Final[dict[str, Kind]] = {"23505": "unique", "23P01": "excluded", "23502": "missing", "23514": "check"}
# On an error of uno's tree, where `translate` has made it of one.
_VIOLATION: Final = "_violation"
# On an error of SQLite: the table that was written, and its columns that got a value.
WRITTEN: Final = "uno_written"
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


@dataclass(frozen=True, slots=True)
class Violation:
    """Which constraint an error is about: for SQLite its columns, or its condition, are its name.

    Of a foreign key SQLite says nothing: `columns` are those that got a value.
    """

    kind: Kind
    name: str | None = None
    table: str | None = None
    columns: frozenset[str] = frozenset()

    def error(self) -> Conflict | Invalid:
        shown = self.name if self.name and (self.kind != "check" or self.name.isidentifier()) else ""
        text = f"{SENTENCES[self.kind]}{': ' if shown else ''}{shown}."
        invalid = self.kind in ("check", "missing")
        made = Invalid(text) if invalid else Conflict(text, constraint=self.name)
        made.__dict__[_VIOLATION] = self
        return made


def violation(error: Exception) -> Violation | None:
    """The constraint that the database named; None for an error that somebody else has made."""
    found: Violation | None = error.__dict__.get(_VIOLATION)
    return found


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
    if (kind := _postgres_kind(error, state)) is not None:
        name, column = getattr(error, "constraint_name", None), getattr(error, "column_name", None)
        named = column or name if kind == "missing" else name
        return Violation(kind, named, getattr(error, "table_name", None)).error()
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


def _postgres_kind(error: asyncpg.PostgresError, state: str) -> Kind | None:
    if state in ("23503", "23001"):
        return "referred" if _is_referred(error) else "reference"
    return _STATES.get(state)


def _sqlite_violation(what: str, said: str, error: sqlite3.Error, whole: BaseException) -> Violation:
    table, columns = getattr(error, WRITTEN, (None, frozenset()))
    if what == "UNIQUE":
        return Violation("unique", _INDEX.sub(r"\1", said), table)
    if what == "FOREIGN KEY":
        return Violation(_reference(whole), None, table, columns)
    if what == "CHECK":
        return Violation("check", said, table)
    table, _, column = said.rpartition(".")
    return Violation("missing", column, table)


def _reference(error: BaseException) -> Kind:
    """SQLite says nothing of a foreign key: what is deleted cannot refer to nothing, nor what is new be referred to."""
    verb = _VERB.match(statement_of(error))
    kinds: dict[str, Kind] = {"DELETE": "referred", "INSERT": "reference"}
    return kinds.get(verb[1].upper() if verb else "", "either")


def statement_of(error: BaseException) -> str:
    """What SQLAlchemy ran, where it was that; of a deferred constraint it is nothing."""
    return next((str(one.statement) for one in chain(error) if isinstance(one, DBAPIError) and one.statement), "")


def _sqlite(error: sqlite3.Error, whole: BaseException) -> UnoError | None:
    found = _SQLITE_CONSTRAINT.search(str(error))
    if found:
        return _sqlite_violation(found[1], found[2] or "", error, whole).error()
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
