"""Database URLs: libpq's spelling outside, that of SQLAlchemy and asyncpg inside."""

import inspect
from typing import Any

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
_UNREADABLE = "The database URL cannot be read; write postgresql://user:password@host:port/name."
_ASYNCPG = frozenset(inspect.signature(asyncpg.connect).parameters)


def parse(url: str) -> URL:
    """The URL for SQLAlchemy. Raises `Misconfigured` where it is not understood.

    No message quotes any of it but a scheme or a parameter: what stands where may be part of a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # of a port that is no number SQLAlchemy says so by ValueError
        raise Misconfigured(_UNREADABLE) from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise Misconfigured(f"uno has no backend for {parsed.drivername!r}; use postgresql:// or sqlite://.")
    if driver == "sqlite+aiosqlite":
        return parsed.set(drivername=driver)
    if url.partition("://")[2].count("@") > 1 or "@" in (parsed.database or ""):
        raise Misconfigured(
            "The database URL is ambiguous: in its user name, password, database and parameters write @ as %40, "
            "/ as %2F, : as %3A and ? as %3F."
        )
    query = {_SAME.get(name, name): value for name, value in parsed.query.items()}
    unknown = sorted(query.keys() - _ASYNCPG - {"application_name", "prepared_statement_cache_size"})
    if unknown:
        raise Misconfigured(f"The database URL has a parameter {unknown[0]!r} that its driver does not know.")
    found = parsed.set(drivername=driver, query=query)
    dialect: Any = found.get_dialect()
    try:
        dialect().create_connect_args(found)
    except (ArgumentError, ValueError):  # of hosts and ports in parameters
        raise Misconfigured(_UNREADABLE) from None
    return found


def application_name(url: URL) -> tuple[URL, str]:
    """The URL without the name under which the server knows the connections, and that name."""
    given = url.query.get("application_name", "uno")
    return url.difference_update_query(["application_name"]), given if isinstance(given, str) else given[0]


def shown(url: URL) -> str:
    """The URL for people: without user name and password."""
    query = url.difference_update_query(["user", "password"]).query
    plain = URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database, query=query)
    anonymous = url.username is None and url.password is None
    rendered = plain.render_as_string().replace("%3Amemory%3A", ":memory:")
    return rendered.replace("://", "://" if anonymous else "://***@", 1)


def dsn(url: URL) -> str:
    """The URL for PostgreSQL's own tools and for asyncpg; it has the password."""
    theirs = {ours: name for name, ours in _SAME.items()}
    query = {theirs.get(name, name): value for name, value in url.query.items()}
    return url.set(drivername="postgresql", query=query).render_as_string(hide_password=False)
