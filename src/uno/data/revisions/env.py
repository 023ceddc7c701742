"""Alembic's entrance: runs on the connection that `uno.data.schema` gives it."""

from alembic import context

from uno.data.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table="uno_schema"
)
with context.begin_transaction():
    context.run_migrations()
