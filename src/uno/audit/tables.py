"""The table of the audit trail; append only."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, DateTime, Index, Select, Table, Text, Uuid, select

from uno.data.tables import json_type, metadata

audit = Table(
    "uno_audit",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("component", Text, nullable=False),
    Column("record_id", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("actor", Text),
    Column("actor_source", Text, nullable=False),
    Column("tenant", Text),
    Column("timestamp", DateTime(timezone=True), nullable=False),
    Column("before", json_type),
    Column("after", json_type),
    Column("correlation_id", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("traceparent", Text),
    Index("ix_uno_audit_record", "component", "record_id", "id"),
    Index("ix_uno_audit_correlation", "correlation_id"),
)


def entries(equal: Mapping[str, Any], limit: int) -> Select[Any]:
    """The entries with these values, oldest first."""
    where = (audit.c[name] == value for name, value in equal.items())
    return select(audit).where(*where).order_by(audit.c.id).limit(limit)
