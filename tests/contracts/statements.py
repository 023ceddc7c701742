"""What a database is asked."""

from typing import Any

import pytest
from sqlalchemy import event

from uno.data import Database
from uno.data.lease import Lease, SqliteLease


def statements_of(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All statements from now on, through SQLAlchemy and past it."""
    seen: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    for kind in (Lease, SqliteLease):
        monkeypatch.setattr(kind, "fetch", _noting(kind.fetch, seen))
    return seen


def _noting(fetch: Any, seen: list[str]) -> Any:
    async def noting(lease: Any, prepared: Any, parameters: Any) -> Any:
        seen.append(prepared.sql)
        return await fetch(lease, prepared, parameters)

    return noting
