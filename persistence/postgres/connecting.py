"""Connections, all made in one place, so that a database URL means one thing to the pools and to the listener.

The URL is libpq's, read by asyncpg: `sslmode`, `sslrootcert`, several hosts, a socket's folder as `host`.
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from persistence.errors import FieldError, InvalidArgument

SERVER_SETTINGS: Final = {
    "timezone": "UTC",
    "jit": "off",  # our statements take milliseconds; compiling them takes longer
    "work_mem": "32MB",  # a change of ten thousand shards stays in memory while its statement runs
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    # A process that froze inside a transaction would hold the stream head, and with it every writer.
    "idle_in_transaction_session_timeout": "30s",
    # Let the server notice a client that vanished without a word, and give up its locks.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


def require_postgresql(url: str) -> str:
    """The URL as asyncpg reads it. Raises InvalidArgument for a URL of something else."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
        raise InvalidArgument(FieldError("database_url", "must begin with postgresql://"))
    return f"postgresql://{rest}"


async def connect(url: str, *, application_name: str = "omnirelay", **options: Any) -> asyncpg.Connection:
    """A connection of its own, within 10 seconds."""
    settings = SERVER_SETTINGS | {"application_name": application_name}
    return await asyncpg.connect(require_postgresql(url), timeout=10, server_settings=settings, **options)
