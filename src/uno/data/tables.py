"""uno's own tables share one `MetaData`; the table of documents is the data layer's own."""

from sqlalchemy import JSON, BigInteger, Column, DateTime, MetaData, Table, Text
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
