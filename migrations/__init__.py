"""Schema migrations: Alembic, run from code, so that a deployment needs no configuration file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from persistence.errors import SchemaOutOfDate, TransientConflict
from persistence.postgres.connecting import SERVER_SETTINGS
from persistence.postgres.engine import engine_on
from persistence.postgres.session_errors import translated

# Any constant, as long as every version of this program uses the same: it names the right to migrate.
_MIGRATION_LOCK: Final = 0x6F6D6E69


async def upgrade(url: str, revision: str = "head") -> None:
    """Bring the schema to `revision`. Several processes may call it at once: one migrates, the others wait."""
    async with _migrating(url) as connection:
        await connection.run_sync(_run, command.upgrade, revision)


async def downgrade(url: str, revision: str) -> None:
    """Take the schema back to `revision`; `base` removes everything."""
    async with _migrating(url) as connection:
        await connection.run_sync(_run, command.downgrade, revision)


async def current(url: str) -> str | None:
    """The revision the database is at; null for an empty one."""
    async with _connection(url) as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def newest() -> str:
    """The revision this version of the program needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise SchemaOutOfDate("this installation contains no migrations")
    return head


async def require_current(url: str) -> None:
    """Raises SchemaOutOfDate unless the database is exactly at the newest revision."""
    found, wanted = await current(url), newest()
    if found == wanted:
        return
    if found is None:
        raise SchemaOutOfDate("the database is empty; run 'omnirelay db upgrade'")
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found in known:
        raise SchemaOutOfDate(f"the database is at revision {found}, {wanted} is needed; run 'omnirelay db upgrade'")
    raise SchemaOutOfDate(
        f"the database is at revision {found}, which is newer than this program ({wanted}); update it"
    )


@asynccontextmanager
async def _migrating(url: str) -> AsyncIterator[AsyncConnection]:
    """The one transaction of a migration. It takes as long as it takes: checking a large table is a scan of it.

    Whoever else migrates is waited for. A table is not, for longer than `lock_timeout`: behind a migration that waits
    for a long reader, everybody waits.
    """
    async with _connection(url, command_timeout=None) as connection:
        await connection.execute(text("SET LOCAL statement_timeout = 0"))
        await connection.execute(text("SET LOCAL lock_timeout = 0"))
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        # Not the default: what a session is given when it begins is none to PostgreSQL.
        await connection.execute(text(f"SET LOCAL lock_timeout = '{SERVER_SETTINGS['lock_timeout']}'"))
        try:
            with translated():
                yield connection
        except TransientConflict as error:
            raise TransientConflict(
                f"the tables are in use, and nothing was changed ({error}): "
                "stop long-running readers (reports, dumps, forgotten transactions), and run this again"
            ) from error


@asynccontextmanager
async def _connection(url: str, **options: Any) -> AsyncIterator[AsyncConnection]:
    engine = engine_on(url, poolclass=NullPool, **options)
    try:
        with translated():
            async with engine.begin() as connection:
                yield connection
    finally:
        await engine.dispose()


def _run(connection: Connection, action: object, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    action(config, revision)  # type: ignore[operator]  # alembic.command functions share no type


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
