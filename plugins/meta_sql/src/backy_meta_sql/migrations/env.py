"""How Alembic runs the migrations: on the connection, and inside of the transaction, that the caller brings."""

from __future__ import annotations

from alembic import context
from backy_meta_sql.revisions import VERSION_TABLE
from backy_meta_sql.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
