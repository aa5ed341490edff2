"""Rows that sessions other than those of a commit have locked, such as that of an operator who left a transaction open.

They are waited for without the stream head and without a pooled connection, by one query for all that wait, so that
they delay those alone that write them. docs/decisions/0044-nothing-holds-up-everyone.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

from persistence.errors import Locked, LockHolder, Overloaded, StoreError
from persistence.model.records import ShardKey
from persistence.postgres.driver import Connection
from persistence.postgres.driver_errors import translated
from persistence.tasks import end

LOCK_SECONDS: Final = 1.0
"""How long a change waits for rows that are locked. Then it is answered LOCKED."""

MOST_OF_A_SHARD: Final = 32

MOST_OF_A_NAMESPACE: Final = 128
"""Changes that wait: half of those that a server executes at once. Further ones are answered OVERLOADED at once."""

_FIRST_PAUSE_SECONDS: Final = 0.005

_LONGEST_PAUSE_SECONDS: Final = 0.1

_MOST_SUSPECTS: Final = 100_000

_LOOKS: Final = 1_000
"""Whose marks are known to be no locks. One that is older costs another look."""

# In SQL, because each row has to be tried in the one statement whose end gives up what it got. A row is locked where it
# is there and was skipped. Nothing is written, so that no standby has to have it: its commit must not wait for one
# with these locks held. `shard_id` is empty for a namespace. The multixact of several that share a lock is no
# session's transaction, and has no holder here. There is a row for the look itself, where none is locked: its
# transaction is the mark that it leaves on what it got.
_LOCKED: Final = """
    WITH key AS MATERIALIZED (
        SELECT DISTINCT namespace, shard_id FROM set_config('synchronous_commit', 'off', true),
            unnest($1::text[], $2::text[]) AS given (namespace, shard_id)
    ), s AS MATERIALIZED (
        SELECT namespace, shard_id FROM shards JOIN key USING (namespace, shard_id) FOR UPDATE OF shards SKIP LOCKED
    ), t AS MATERIALIZED (
        SELECT namespace, shard_id FROM shard_tombstones JOIN key USING (namespace, shard_id)
        FOR UPDATE OF shard_tombstones SKIP LOCKED
    ), h AS MATERIALIZED (
        SELECT name FROM namespace_heads WHERE name IN (SELECT namespace FROM key) FOR NO KEY UPDATE SKIP LOCKED
    ), n AS MATERIALIZED (
        SELECT name FROM namespaces WHERE name IN (SELECT namespace FROM key) FOR KEY SHARE SKIP LOCKED
    ), locked (namespace, shard_id, xmax) AS (
        SELECT namespace, shard_id, shards.xmax FROM shards JOIN key USING (namespace, shard_id)
        WHERE (namespace, shard_id) NOT IN (SELECT namespace, shard_id FROM s)
        UNION ALL
        SELECT namespace, shard_id, shard_tombstones.xmax FROM shard_tombstones JOIN key USING (namespace, shard_id)
        WHERE (namespace, shard_id) NOT IN (SELECT namespace, shard_id FROM t)
        UNION ALL
        SELECT name, '', xmax FROM namespace_heads
        WHERE name IN (SELECT namespace FROM key) AND name NOT IN (SELECT name FROM h)
        UNION ALL
        SELECT name, '', xmax FROM namespaces
        WHERE name IN (SELECT namespace FROM key) AND name NOT IN (SELECT name FROM n)
    )
    SELECT locked.namespace, locked.shard_id, locked.xmax::text AS transaction,
        a.pid, a.application_name, a.state, a.xact_start, look.transaction AS look
    FROM (SELECT pg_current_xact_id()::xid::text AS transaction) AS look
    LEFT JOIN locked ON true
    LEFT JOIN pg_locks AS l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = locked.xmax
    LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
"""


@dataclass(frozen=True, slots=True)
class _Lock:
    """`transaction` is the one that holds it: while that is the same it has not been given up."""

    transaction: str
    holder: LockHolder | None


@dataclass(slots=True, eq=False)
class _Waiting:
    shards: Sequence[ShardKey]
    passed: asyncio.Future[None]
    rows: frozenset[ShardKey]

    def met(self, locks: Mapping[ShardKey, _Lock]) -> Mapping[ShardKey, _Lock]:
        return {row: locks[row] for row in locks.keys() & self.rows}


class RowLocks:
    """The rows that other sessions have locked, as far as this process has seen. `connect` opens the connection that
    looks.

    A namespace stands here as a shard without an id.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._suspects: set[ShardKey] = set()
        self._locks: dict[ShardKey, _Lock] = {}
        self._waiting: set[_Waiting] = set()
        self._counts: Counter[ShardKey] = Counter()
        self._looking: asyncio.Task[None] | None = None
        self._looks: dict[str, None] = {}

    def suspect_marked(self, marks: Mapping[ShardKey, str]) -> None:
        """As `suspect`, of rows with the transaction that has or had each locked: looking is none that has it."""
        self.suspect([key for key, transaction in marks.items() if transaction not in self._looks])

    def suspect(self, shards: Collection[ShardKey]) -> None:
        """They may be locked: a write of them waits first."""
        if len(self._suspects) + len(shards) > _MOST_SUSPECTS:
            self._suspects.clear()  # to be met again
        self._suspects.update(shards)

    def may_be_locked(self, shards: Collection[ShardKey]) -> bool:
        if not self._suspects:
            return False
        return any(key in self._suspects or ShardKey(key.namespace, "") in self._suspects for key in shards)

    async def wait(self, shards: Sequence[ShardKey]) -> None:
        """Until no other session has these or their namespaces locked. Of a transaction that ended meanwhile another
        may have taken its place: so does each commit.

        Raises Locked after a second; Overloaded where too many wait already, or the database takes as long to look; and
        what connecting raises.
        """
        namespaces = frozenset(ShardKey(key.namespace, "") for key in shards)
        waiting = _Waiting(shards, asyncio.get_running_loop().create_future(), namespaces.union(shards))
        with self._counted(waiting):
            if self._looking is None:
                self._looking = asyncio.create_task(self._look(), name="omnirelay-row-locks")
            try:
                async with asyncio.timeout(LOCK_SECONDS):
                    await waiting.passed
            except TimeoutError:
                met = waiting.met(self._locks)
                if not met:
                    raise Overloaded(f"the database did not show in {LOCK_SECONDS:g} s what is locked") from None
                holders = dict.fromkeys(lock.holder for lock in met.values() if lock.holder is not None)
                raise Locked(sorted(map(_name, met)), list(holders)) from None

    async def close(self) -> None:
        if self._looking is not None:
            await end(self._looking)

    @contextmanager
    def _counted(self, waiting: _Waiting) -> Iterator[None]:
        for row in waiting.rows:
            most = MOST_OF_A_SHARD if row.shard_id else MOST_OF_A_NAMESPACE
            if self._counts[row] >= most:
                raise Overloaded(f"{most} changes wait for {_name(row)}, which is locked in the database", LOCK_SECONDS)
        self._counts.update(waiting.rows)
        self._waiting.add(waiting)
        try:
            yield
        finally:
            self._waiting.discard(waiting)
            self._counts.subtract(waiting.rows)
            for row in waiting.rows:
                if not self._counts[row]:
                    del self._counts[row]

    async def _look(self) -> None:
        """While anything waits."""
        connection: Connection | None = None
        pause = _FIRST_PAUSE_SECONDS
        try:
            while self._waiting:
                shards = list({key for waiting in self._waiting for key in waiting.shards})
                begun = monotonic()
                with translated():
                    if connection is None or connection.is_closed():
                        connection = await self._connect()
                    rows = await connection.fetch(_LOCKED, *zip(*shards, strict=True))
                self._remember(rows[0][-1])
                found = (row for row in rows if row[0] is not None)
                self._found(shards, {ShardKey(row[0], row[1]): _Lock(row[2], _holder(row)) for row in found})
                # Of ten thousand rows one look takes longer than the pause.
                await asyncio.sleep(max(pause, monotonic() - begun))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        except StoreError as error:
            for waiting in self._waiting:
                _complete(waiting.passed, error)
        finally:
            self._looking = None
            self._locks = {}
            if connection is not None:
                connection.terminate()

    def _remember(self, look: str) -> None:
        if len(self._looks) >= _LOOKS:
            del self._looks[next(iter(self._looks))]
        self._looks[look] = None

    def _found(self, shards: Sequence[ShardKey], locks: dict[ShardKey, _Lock]) -> None:
        before, self._locks = self._locks, locks
        held = {row for row, lock in locks.items() if before.get(row, lock).transaction == lock.transaction}
        self._suspects.difference_update(shards, (ShardKey(key.namespace, "") for key in shards))
        self._suspects |= held
        for waiting in self._waiting:
            if held.isdisjoint(waiting.rows):
                _complete(waiting.passed, None)


def _complete(passed: asyncio.Future[None], error: StoreError | None) -> None:
    if passed.done():
        return
    if error is None:
        passed.set_result(None)
    else:
        passed.set_exception(error)


def _holder(row: Sequence[object]) -> LockHolder | None:
    *_, pid, application_name, state, since, _look = row
    return None if pid is None else LockHolder(pid, application_name or "", state, since)  # type: ignore[arg-type]


def _name(row: ShardKey) -> str:
    return f"{row.namespace}/{row.shard_id}" if row.shard_id else row.namespace
