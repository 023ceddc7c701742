"""uno's own tables share one `MetaData`; those of documents and of idempotency keys are the data layer's own."""

from sqlalchemy import JSON, BigInteger, Column, DateTime, Index, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

# `none_as_null`: otherwise None is stored as JSON's null, which is not SQL's.
json_type = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

documents = Table(
    "uno_document",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("body", json_type, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

# Without a tenant or without anybody who asks, those are empty: parts of a primary key are not NULL.
idempotency = Table(
    "uno_idempotency",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("message", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", json_type, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index("ix_uno_idempotency_expires", "expires_at"),
)
