"""The table of the audit trail; append only."""

from sqlalchemy import Column, DateTime, Index, Table, Text, Uuid

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
    Column("at", DateTime(timezone=True), nullable=False),
    Column("before", json_type),
    Column("after", json_type),
    Column("correlation_id", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("traceparent", Text),
    Index("ix_uno_audit_record", "component", "record_id", "id"),
    Index("ix_uno_audit_correlation", "correlation_id"),
)
