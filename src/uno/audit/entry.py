"""One entry of the audit trail."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class AuditLog:
    """One change: who did what to which record, and what it was before and after.

    `before` and `after` hold JSON values; on an update only the fields that changed.
    """

    id: UUID
    kind: str
    component: str
    record_id: str
    operation: str
    actor: str | None
    actor_source: str
    tenant: str | None
    timestamp: datetime
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    correlation_id: str
    message_id: str
    traceparent: str | None

    @property
    def correlation(self) -> str:
        """The correlation id of the request that caused the change."""
        return self.correlation_id
