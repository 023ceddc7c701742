"""The table of deliveries: one row for each event and durable subscriber."""

from sqlalchemy import Column, DateTime, Index, Integer, Table, Text, Uuid, text

from uno.data.tables import json_type, metadata

# States: ready → running → done, or back to ready after a failed attempt, or dead after the last one.
READY, RUNNING, DONE, DEAD = "ready", "running", "done", "dead"

deliveries = Table(
    "uno_delivery",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("subscriber", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("event_version", Integer, nullable=False),
    Column("aggregate_id", Text),
    Column("payload", json_type, nullable=False),
    Column("context", json_type, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("traceparent", Text),
    Column("tenant", Text),
    Column("key", Text),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("lost_leases", Integer, nullable=False),
    Column("run_at", DateTime(timezone=True), nullable=False),
    Column("lease_until", DateTime(timezone=True)),
    Column("worker", Text),
    Column("error", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("finished_at", DateTime(timezone=True)),
    Index(
        "ix_uno_delivery_ready",
        "run_at",
        "id",
        postgresql_where=text("state = 'ready'"),
        sqlite_where=text("state = 'ready'"),
    ),
    Index(
        "ix_uno_delivery_running",
        "lease_until",
        postgresql_where=text("state = 'running'"),
        sqlite_where=text("state = 'running'"),
    ),
    Index("ix_uno_delivery_dead", "id", postgresql_where=text("state = 'dead'"), sqlite_where=text("state = 'dead'")),
)
