"""The store on PostgreSQL 14 or newer: SQLAlchemy on asyncpg. `store.open_store` is the way in.

Nothing is imported here: a process that verifies a part of the audit log does so without SQLAlchemy, at once.
"""
