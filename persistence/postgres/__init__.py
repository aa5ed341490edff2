"""The store on PostgreSQL 14 or newer: SQLAlchemy on asyncpg. `open_store` is the way in."""

from persistence.postgres.retention import PostgresRetention
from persistence.postgres.store import open_bulk_store, open_store

__all__ = ["PostgresRetention", "open_bulk_store", "open_store"]
