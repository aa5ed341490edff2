"""The database as one process sees it: which of its servers may be used, and whether what they answer is durable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Protocol
from weakref import WeakSet
from zlib import crc32

from persistence.errors import Fenced, SchemaOutOfDate, StoreError, StoreUnavailable, Unavailable
from persistence.postgres.barrier import BARRIER_SECONDS, Barrier, ServerLife
from persistence.postgres.driver import (
    OWN_SESSION,
    Connection,
    Host,
    connect,
    hosts_of,
    require_postgresql,
    transaction_pooler,
)
from persistence.postgres.driver_errors import READ_ONLY, translated, translation

# In SQL, as all of this file: the driver's connections are looked at before SQLAlchemy has them.
#
# Which cluster, database and table this is. A dump restored elsewhere or over the old tables and a cloned database
# differ from where the stream was born, and revisions issued there may contradict those issued here. A promoted replica
# does not differ: whether it lost anything is seen from the hash of a change, see docs/decisions/0020.
IDENTITY: Final = """
    (SELECT system_identifier FROM pg_control_system())
    || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
    || '/' || 'stream_head'::regclass::oid
"""

TIMELINE: Final = "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint"

NEW_EPOCH: Final = "replace(gen_random_uuid()::text, '-', '')"

ENSURE_EPOCH: Final = f"""
    UPDATE stream_head SET
        epoch = CASE WHEN identity = {IDENTITY} THEN epoch ELSE {NEW_EPOCH} END,
        timeline = CASE WHEN identity = {IDENTITY} THEN greatest(timeline, {TIMELINE}) ELSE {TIMELINE} END,
        identity = {IDENTITY}
    WHERE identity <> {IDENTITY} OR timeline < {TIMELINE}
"""  # noqa: S608 - constants only

TROUBLE_SECONDS: Final = 10.0
"""How long a failure that was met is taken to last. Then it is looked at again."""

_LOOK_SECONDS: Final = 2.0

# Whether the database takes writes, and its disk has room for another page: its log is given room beforehand, so that
# a message in that would not show it. Rolled back, so that no standby is waited for.
_LOOK: Final = """
    BEGIN;
    DO $$ BEGIN IF current_setting('transaction_read_only')::bool THEN RAISE read_only_sql_transaction; END IF; END $$;
    SET LOCAL temp_tablespaces = '';
    CREATE TEMPORARY TABLE omnirelay_room AS SELECT 1 AS page;
    ROLLBACK
"""

_ATTEMPTS: Final = 3

_FACTS: Final = f"""
    SELECT pg_is_in_recovery() AS standby,
        (SELECT system_identifier::text FROM pg_control_system()) AS system,
        CASE WHEN NOT pg_is_in_recovery() THEN {TIMELINE} END AS timeline,
        pg_postmaster_start_time() AS started,
        pg_stat_get_bgwriter_stat_reset_time() AS counting_since,
        head.identity = {IDENTITY} AS at_home,
        head.timeline AS recorded_timeline,
        head.compatible_revisions AS serves,
        (SELECT version_num FROM alembic_version) AS revision
    FROM stream_head AS head
"""  # noqa: S608 - constants only

REMINDER_SECONDS: Final = 60.0
"""After which an old primary that is still there is logged again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Admitted:
    """What a connection was found to be connected to, and the generation it belongs to."""

    life: ServerLife
    generation: int
    head_outdated: bool


class SharedWord(Protocol):
    """64 bits that processes share, such as `multiprocessing.RawValue("Q")`. Read and written as a whole."""

    value: int


class Fence:
    """The newest timeline of each system (cluster) that this process, or one that shares `word`, has seen.

    The word holds 32 bits that identify the system, and the timeline. No lock: a process that was killed would hold it.
    Of two that write at once one is overwritten, and writes again with its next connection.
    """

    def __init__(self, word: SharedWord | None = None) -> None:
        self._word = word
        self._seen: dict[str, int] = {}
        self._logged_until: dict[tuple[str, int], float] = {}

    def newest(self, system: str) -> int:
        """0 for a system that is new."""
        seen = self._seen.get(system, 0)
        if self._word is None:
            return seen
        mark, timeline = divmod(self._word.value, 1 << 32)
        return max(seen, timeline) if mark == _mark(system) else seen

    def admit(self, system: str, timeline: int, recorded: int = 0) -> bool:
        """Note that a server of the system is on that timeline; true if it is newer than all that were seen.

        `recorded` is the timeline that the database itself records as seen. Raises Fenced for an older one.
        """
        newest = self.newest(system)
        if timeline < max(newest, recorded):
            raise self._refusal(system, timeline, max(newest, recorded))
        self._seen[system] = timeline
        if self._word is not None:
            self._word.value = (_mark(system) << 32) | timeline
        return 0 < newest < timeline

    def _refusal(self, system: str, timeline: int, newest: int) -> Fenced:
        message = (
            f"this server of system {system} is on timeline {timeline}, and timeline {newest} has been seen: an old "
            "primary came back. Nothing is read from it or written to it; stop it, and make it a standby of the new one"
        )
        # It is met with each heartbeat while it stays up.
        if monotonic() >= self._logged_until.get((system, timeline), 0.0):
            self._logged_until[system, timeline] = monotonic() + REMINDER_SECONDS
            _log.error("%s", message)
        return Fenced(message)


def _mark(system: str) -> int:
    return crc32(system.encode())


class Database:
    """Opens connections to the first server that is fit, and registers the open ones.

    `program_revision` is the migration that this program was made for; null where that is not to be compared. Closing
    it ends what it holds itself; connections belong to those that opened them.
    """

    def __init__(self, url: str, *, fence: Fence | None = None, program_revision: str | None = None) -> None:
        require_postgresql(url)
        self.url = url
        self.fence = fence or Fence()
        self.barrier = Barrier(self._connect_unsettled, _life, self.is_stale)
        self.program_revision = program_revision
        self._system = ""
        self._idle: WeakSet[Connection] = WeakSet()
        self._busy: WeakSet[Connection] = WeakSet()
        self._generation = 0
        self._last: Host | None = None
        self._settled: set[ServerLife] = set()
        self._trouble: tuple[Unavailable, float] | None = None

    async def connect(self, **options: Any) -> Connection:
        """A connection that may be read from and written to: nothing that it shows can be lost by a promotion.

        Raises StoreErrors: StoreUnavailable, Fenced, SchemaOutOfDate.
        """
        try:
            with translated():
                return await self._connect_settled(options)
        except StoreUnavailable as error:
            self.note(error.reason)
            raise

    @property
    def newest_timeline(self) -> int:
        """Of the system that was connected to last; 0 before. No commit is made on an older one."""
        return self.fence.newest(self._system)

    async def listen(self, **options: Any) -> Connection:
        """A connection for hints only: what is notified on it may not have reached the standby."""
        return await connect(self.url, admission=self._admit, first=self._last, **options)

    async def recheck(self, connection: Connection) -> None:
        """Whether a connection that is open would be admitted again. Raises as `connect`, or the driver's errors."""
        with translated():
            await self._require_own(connection)
            await self._admit(connection)

    async def look_beside(self, connection: Connection) -> None:
        """Query the URL's other hosts for a newer timeline of the same system.

        A primary whose standby was promoted without it, because it was cut off or its supervisor died, goes on as if
        nothing had happened: it answers reads, and leaves commits waiting. Nothing on a connection to it shows that.
        """
        others = [host for host in hosts_of(self.url) if host != connection.host]
        await asyncio.gather(*(self._look_at(host) for host in others))

    async def close(self) -> None:
        await self.barrier.close()

    def note(self, reason: Unavailable) -> None:
        """A connection or a statement has just failed for this."""
        if reason is not Unavailable.UNREACHABLE:
            self._trouble = reason, monotonic()

    def met(self, error: BaseException) -> bool:
        """A statement has just failed with this; true if its connection is not to be used again, though open."""
        mapped = translation(error)
        if isinstance(mapped, StoreUnavailable):
            self.note(mapped.reason)
        if getattr(error, "sqlstate", None) != READ_ONLY:
            return False
        # A primary that became a standby, or a way to one: another host may be the primary now.
        self.drop_idle()
        return True

    async def trouble(self) -> Unavailable | None:
        """What connections or statements have failed for, where reading alone would not show it. Once that was not met
        for a while it is tried anew, on a connection of its own."""
        if self._trouble is None:
            return None
        reason, met = self._trouble
        if monotonic() - met <= TROUBLE_SECONDS:
            return reason
        try:
            await self._look_again()
        except StoreUnavailable as error:
            self.note(error.reason)
            return error.reason
        self._trouble = None
        return None

    async def _look_again(self) -> None:
        connection = await self.connect(command_timeout=_LOOK_SECONDS)
        try:
            with translated():
                await connection.execute(_LOOK)
        finally:
            connection.terminate()

    def drop_idle(self) -> None:
        """Use none of the pooled connections of now again: the idle ones are closed, the others when they come back."""
        self._generation += 1
        for connection in list(self._idle):
            connection.terminate()
        self.barrier.drop()

    def returned(self, connection: Connection) -> None:
        """It is back in its pool."""
        self._busy.discard(connection)
        if self.is_stale(connection):
            connection.terminate()
        else:
            self._idle.add(connection)

    def taken(self, connection: Connection) -> bool:
        """It leaves its pool; false if it is not to be used any more."""
        self._idle.discard(connection)
        self._busy.add(connection)
        return not self.is_stale(connection)

    def is_stale(self, connection: Connection) -> bool:
        """Closed, of a server of an older timeline, or from before idle connections were dropped."""
        if connection.is_closed():
            return True
        admitted: _Admitted = connection.admitted
        newest = self.fence.newest(admitted.life.system)
        return admitted.generation != self._generation or admitted.life.timeline < newest

    async def _connect_settled(self, options: dict[str, Any]) -> Connection:
        for _ in range(_ATTEMPTS):
            connection = await self._connect_unsettled(**options)
            try:
                if await self._is_settled(connection):
                    return connection
            except BaseException:
                connection.terminate()
                raise
            connection.terminate()
        raise StoreUnavailable(f"the database was another server each of {_ATTEMPTS} times that it was connected to")

    async def _is_settled(self, connection: Connection) -> bool:
        """False for a server that was promoted, or has recovered, since the connection was made."""
        admitted: _Admitted = connection.admitted
        if admitted.life not in self._settled:
            self._settled = {await self.barrier.wait(BARRIER_SECONDS)}
            if admitted.life not in self._settled:
                self.barrier.drop()  # it may be the one that is connected to what was before
                return False
        if admitted.head_outdated:
            await connection.execute(ENSURE_EPOCH)
        return True

    async def _connect_unsettled(self, **options: Any) -> Connection:
        connection = await connect(self.url, admission=self._admit, first=self._last, **options)
        self._last = connection.host
        connection.database = self
        return connection

    async def _admit(self, connection: Connection) -> None:
        """Read what the server is. Raises what is against using it."""
        generation = self._generation if connection.admitted is None else connection.admitted.generation
        facts = await connection.fetchrow(_FACTS)
        if facts is None:
            raise head_missing()
        if facts["standby"]:
            raise StoreUnavailable("the database is a standby", Unavailable.READ_ONLY)
        system, timeline = facts["system"], facts["timeline"]
        self._see(facts)
        self._system = system
        if self.program_revision is not None and self.program_revision not in facts["serves"]:
            raise SchemaOutOfDate(
                f"the database is at revision {facts['revision']} and serves programs of revision "
                f"{', '.join(facts['serves'])}; this program is of {self.program_revision}: run 'omnirelay db upgrade' "
                "of the newer program, or start that"
            )
        life = ServerLife(system, timeline, facts["started"], facts["counting_since"])
        outdated = not facts["at_home"] or facts["recorded_timeline"] < timeline
        connection.admitted = _Admitted(life, generation, outdated)

    async def _look_at(self, host: Host) -> None:
        async def look(connection: Connection) -> None:
            facts = await connection.fetchrow(_FACTS)
            if facts is not None and not facts["standby"] and facts["system"] == self._system:
                self._see(facts)

        with suppress(StoreError):
            (await connect(self.url, admission=look, only=host)).terminate()

    def _see(self, facts: Mapping[str, Any]) -> None:
        """What a primary reported of itself. Raises Fenced."""
        system, timeline = facts["system"], facts["timeline"]
        recorded = facts["recorded_timeline"] if facts["at_home"] else 0
        if self.fence.admit(system, timeline, recorded):
            _log.warning("system %s is on the new timeline %d; older connections are dropped", system, timeline)
            self._drop_older()

    def _drop_older(self) -> None:
        """Also those in use: what is under way there is answered too late or, if it waits for a standby, never."""
        newest = self.fence.newest
        for connection in [*self._idle, *self._busy]:
            life = _life(connection)
            if life.timeline < newest(life.system):
                connection.terminate()
        self.barrier.drop()

    @staticmethod
    async def _require_own(connection: Connection) -> None:
        if await connection.fetchval(OWN_SESSION) != connection.token:
            raise transaction_pooler()


def _life(connection: Connection) -> ServerLife:
    life: ServerLife = connection.admitted.life
    return life


def head_missing() -> SchemaOutOfDate:
    return SchemaOutOfDate("the stream head is missing; run 'omnirelay db upgrade'")
