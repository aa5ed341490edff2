"""Schema migrations: Alembic, run from code, so that a deployment needs no configuration file.

Alembic takes 0.3 s to load, so it is imported where something is migrated. Which revision a database is at, and which
ones this program has, is read without it: each start of a server compares the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from random import uniform
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from persistence.errors import Deadlock, SchemaOutOfDate, StoreUnavailable, TransientConflict
from persistence.postgres.driver import SERVER_SETTINGS
from persistence.postgres.engine import engine_on, translated

if TYPE_CHECKING:
    from alembic.config import Config

# Any constant, as long as every version of this program uses the same: it names the right to migrate.
_MIGRATION_LOCK: Final = 0x6F6D6E69

_ATTEMPTS: Final = 5

_PAUSE_SECONDS: Final = 0.5

T = TypeVar("T")

_VERSIONS: Final = Path(__file__).parent / "versions"

IN_RECOVERY: Final = (
    "the database is in recovery, so it is read-only: name the primary, or several hosts with "
    "target_session_attrs=read-write, in the database URL; promote it if it is meant to be the primary"
)
"""Where a database is needed that can be written to."""

_FACTS: Final = text(
    "SELECT pg_is_in_recovery() AS in_recovery, "
    "to_regclass('alembic_version') IS NOT NULL AS is_versioned, to_regclass('stream_head') IS NOT NULL AS is_store"
)
_HEADS: Final = text("SELECT version_num FROM alembic_version ORDER BY version_num")
# Null where the column is not there yet, which is before 0008.
_SERVES: Final = text("SELECT to_jsonb(h) -> 'compatible_revisions' FROM stream_head AS h")


class Age(Enum):
    """The age of a schema compared with this program."""

    EMPTY = "no tables"
    BROKEN = "parts of a store"
    OLDER = "older"
    SAME = "the same"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The schema of a database, and whether this program may serve it."""

    age: Age
    found: str | None
    """The revision it is at; null where there is none."""
    serves: Sequence[str]
    """The revisions of the programs that it serves, as the newest migration recorded them; empty before 0008."""
    needed: str
    """The revision of this program: its newest migration."""
    in_recovery: bool
    """A standby, or a server that replays its log: it is read-only."""

    @property
    def problem(self) -> str | None:
        """Why this program may not serve the schema, with what to do; null if it may."""
        match self.age:
            case Age.EMPTY:
                return "the database is empty; run 'omnirelay db upgrade'"
            case Age.OLDER:
                return f"the database is at revision {self.found}, {self.needed} is needed; run 'omnirelay db upgrade'"
            case Age.SAME | Age.NEWER if self.needed in self.serves:
                return None
            case Age.NEWER:
                return (
                    f"the database is at revision {self.found}, which is newer than this program ({self.needed}), and "
                    f"serves programs of {', '.join(self.serves) or 'none'}; update this program"
                )
            case _:
                return (
                    f"the database has a part of a store only (revision {self.found or 'unknown'}, for programs of "
                    f"{', '.join(self.serves) or 'none'}); restore all of the dump, into an empty database"
                )


async def upgrade(url: str, revision: str = "head") -> SchemaStatus:
    """Bring the schema to `revision`. Several processes may call it at once: one migrates, the others wait.

    Nothing is done to a schema that is newer and serves this program. Raises SchemaOutOfDate if it does not, or if what
    is there is not a whole store, and StoreUnavailable if the database is in recovery.
    """
    return await _attempted(lambda: _upgraded(url, revision))


async def downgrade(url: str, revision: str) -> None:
    """Take the schema back to `revision`; `base` removes everything."""
    await _attempted(lambda: _downgraded(url, revision))


async def _attempted(migrate: Callable[[], Awaitable[T]]) -> T:
    """A migration takes tables one after the other, and so do writers that go on: of two that wait for one another
    PostgreSQL ends one, which is this as often as not. Then nothing was done, and what it waited for goes on."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(Deadlock):
            return await migrate()
        await asyncio.sleep(uniform(0.0, _PAUSE_SECONDS))  # noqa: S311 - so that it does not meet the same again
    return await migrate()


async def _upgraded(url: str, revision: str) -> SchemaStatus:
    async with _migrating(url) as connection:
        before = await _status(connection)
        if before.in_recovery:
            raise StoreUnavailable(IN_RECOVERY)
        if before.age in {Age.NEWER, Age.BROKEN}:
            _require(before)
            return before
        if before.age is Age.SAME and revision == "head":
            return before
        await connection.run_sync(_upgrade, revision)
        return await _status(connection)


async def _downgraded(url: str, revision: str) -> None:
    async with _migrating(url) as connection:
        await connection.run_sync(_downgrade, revision)


async def current(url: str) -> str | None:
    """The revision the database is at; null for an empty one."""
    return (await status(url)).found


async def status(url: str) -> SchemaStatus:
    """What is found, and what this program needs."""
    async with _connection(url) as connection:
        return await _status(connection)


def newest() -> str:
    """The revision of this program: of the newest migration in it."""
    revisions = known()
    if not revisions:
        raise SchemaOutOfDate("this installation contains no migrations")
    return max(revisions)


async def require_compatible(url: str) -> None:
    """Raises SchemaOutOfDate unless the schema serves this program."""
    _require(await status(url))


async def require_writable(url: str) -> None:
    """As `require_compatible`; and raises StoreUnavailable if the database is in recovery."""
    found = await status(url)
    _require(found)
    if found.in_recovery:
        raise StoreUnavailable(IN_RECOVERY)


def _require(status: SchemaStatus) -> None:
    if status.problem is not None:
        raise SchemaOutOfDate(status.problem)


async def _status(connection: AsyncConnection) -> SchemaStatus:
    facts = (await connection.execute(_FACTS)).one()
    heads = (await connection.execute(_HEADS)).scalars().all() if facts.is_versioned else ()
    rows = (await connection.execute(_SERVES)).scalars().all() if facts.is_store else None
    serves, needed = rows[0] if rows else None, newest()
    return SchemaStatus(
        age=_age(heads, None if rows is None else len(rows), needed),
        found=", ".join(heads) or None,
        serves=serves or (),
        needed=needed,
        in_recovery=facts.in_recovery,
    )


def _age(heads: Sequence[str], stream_heads: int | None, needed: str) -> Age:
    """`heads` are the rows of alembic_version; `stream_heads` is how many rows stream_head has, null without it."""
    if not heads and stream_heads is None:
        return Age.EMPTY
    if len(heads) != 1 or stream_heads != 1:
        return Age.BROKEN
    if heads[0] not in known():
        return Age.NEWER
    return Age.SAME if heads[0] == needed else Age.OLDER


def known() -> frozenset[str]:
    """The revisions of all migrations of this program: a migration's file is named `<revision>_<what it does>.py`, and
    a later revision sorts after an earlier one."""
    return frozenset(file.name.partition("_")[0] for file in _VERSIONS.glob("[0-9]*_*.py"))


@asynccontextmanager
async def _migrating(url: str) -> AsyncIterator[AsyncConnection]:
    """The one transaction of a migration. It is not bounded in time: checking a large table is a scan of it.

    It waits for another migration, but for a table no longer than `lock_timeout`: behind a migration that waits for a
    long reader, all other statements on the table wait.
    """
    async with _connection(url, command_timeout=None) as connection:
        await connection.execute(text("SET LOCAL statement_timeout = 0"))
        await connection.execute(text("SET LOCAL lock_timeout = 0"))
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        # Not SET DEFAULT: a setting given when the session begins is not PostgreSQL's default.
        await connection.execute(text(f"SET LOCAL lock_timeout = '{SERVER_SETTINGS['lock_timeout']}'"))
        try:
            with translated():
                yield connection
        except TransientConflict as error:
            raise type(error)(
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


def _upgrade(connection: Connection, revision: str) -> None:
    from alembic import command  # noqa: PLC0415 - see the module's docstring

    command.upgrade(_config_on(connection), revision)


def _downgrade(connection: Connection, revision: str) -> None:
    from alembic import command  # noqa: PLC0415 - see the module's docstring

    command.downgrade(_config_on(connection), revision)


def _config_on(connection: Connection) -> Config:
    config = _config()
    config.attributes["connection"] = connection
    return config


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - see the module's docstring

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
