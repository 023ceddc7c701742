"""Reading the audit trail."""

from datetime import UTC
from typing import Any

from uno.audit.entry import AuditLog
from uno.audit.tables import entries
from uno.data import Database


class AuditTrail:
    """The entries of a database, oldest first. It sees what is committed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def query(
        self,
        *,
        component: str | None = None,
        record_id: object = None,
        operation: str | None = None,
        actor: str | None = None,
        correlation_id: str | None = None,
        limit: int = 100,
    ) -> list[AuditLog]:
        """The entries that fit everything that is given."""
        wanted = {
            "component": component,
            "record_id": None if record_id is None else str(record_id),
            "operation": operation,
            "actor": actor,
            "correlation_id": correlation_id,
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        rows = await self._database.query(entries(given, limit))
        return [_entry(row._mapping) for row in rows]


def _entry(row: Any) -> AuditLog:
    values = dict(row)
    timestamp = values["timestamp"]
    # SQLite forgets the time zone, which is always UTC.
    return AuditLog(**values | {"timestamp": timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)})
