"""uno's tables: documents, audit trail, deliveries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

_json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_documents()
    _create_audit()
    _create_deliveries()
    _create_delivery_indexes()


def _create_documents() -> None:
    op.create_table(
        "uno_document",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("body", _json, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("updated_at", _time, nullable=False),
    )


def _create_audit() -> None:
    op.create_table(
        "uno_audit",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("component", sa.Text, nullable=False),
        sa.Column("record_id", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("actor", sa.Text),
        sa.Column("actor_source", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text),
        sa.Column("timestamp", _time, nullable=False),
        sa.Column("before", _json),
        sa.Column("after", _json),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("traceparent", sa.Text),
    )
    op.create_index("ix_uno_audit_record", "uno_audit", ["component", "record_id", "id"])
    op.create_index("ix_uno_audit_correlation", "uno_audit", ["correlation_id"])


def _create_deliveries() -> None:
    op.create_table(
        "uno_delivery",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("subscriber", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("event_version", sa.Integer, nullable=False),
        sa.Column("aggregate_id", sa.Text),
        sa.Column("payload", _json, nullable=False),
        sa.Column("context", _json, nullable=False),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("traceparent", sa.Text),
        sa.Column("tenant", sa.Text),
        sa.Column("key", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("lost_leases", sa.Integer, nullable=False),
        sa.Column("run_at", _time, nullable=False),
        sa.Column("lease_until", _time),
        sa.Column("worker", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("finished_at", _time),
    )


def _create_delivery_indexes() -> None:
    for name, columns, state in (
        ("ready", ["run_at", "id"], "ready"),
        ("running", ["lease_until"], "running"),
        ("dead", ["id"], "dead"),
    ):
        where = sa.text(f"state = '{state}'")
        op.create_index(f"ix_uno_delivery_{name}", "uno_delivery", columns, postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    for table in ("uno_delivery", "uno_audit", "uno_document"):
        op.drop_table(table)
