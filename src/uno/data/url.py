"""Database URLs: libpq's spelling outside, that of SQLAlchemy and asyncpg inside."""

import inspect

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from uno.errors import Misconfigured

_DRIVERS = {
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
}
# What libpq calls it, and asyncpg as a keyword.
_SAME = {"sslmode": "ssl"}
_ASYNCPG = frozenset(inspect.signature(asyncpg.connect).parameters)


def parse(url: str) -> URL:
    """The URL for SQLAlchemy. Raises `Misconfigured` where it is not understood."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise Misconfigured(
            "The database URL cannot be read; write postgresql://user:password@host:port/name."
        ) from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise Misconfigured(f"uno has no backend for {parsed.drivername!r}; use postgresql:// or sqlite://.")
    if driver == "sqlite+aiosqlite":
        return parsed.set(drivername=driver)
    query = {_SAME.get(name, name): value for name, value in parsed.query.items()}
    unknown = sorted(query.keys() - _ASYNCPG - {"application_name", "prepared_statement_cache_size"})
    if unknown:
        raise Misconfigured(f"The database URL has a parameter {unknown[0]!r} that its driver does not know.")
    return parsed.set(drivername=driver, query=query)


def application_name(url: URL) -> tuple[URL, str]:
    """The URL without the name under which the server knows the connections, and that name."""
    given = url.query.get("application_name", "uno")
    return url.difference_update_query(["application_name"]), given if isinstance(given, str) else given[0]


def dsn(url: URL) -> str:
    """The URL for PostgreSQL's own tools and for asyncpg; it has the password."""
    theirs = {ours: name for name, ours in _SAME.items()}
    query = {theirs.get(name, name): value for name, value in url.query.items()}
    return url.set(drivername="postgresql", query=query).render_as_string(hide_password=False)
