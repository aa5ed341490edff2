"""Alembic's environment. The connection is handed over by `migrations.upgrade`, inside its transaction."""

from alembic import context
from sqlalchemy import Connection

from persistence.postgres.tables import current, history, plans  # noqa: F401 - each adds its tables to the metadata
from persistence.postgres.tables.columns import Base

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True, compare_server_default=True)
with context.begin_transaction():
    context.run_migrations()
