"""History as PostgreSQL has it in the end, read by SQL and not through the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import asyncpg
import numpy as np
import orjson
from numpy.typing import NDArray

from tests.chaos.records import Listing
from tests.chaos.watches import WATCHES, Image, Watch, diff_fingerprint, shard_fingerprint

Integers: TypeAlias = NDArray[np.int64]
Table: TypeAlias = dict[str, dict[str, str]]
"""By namespace and shard id: version and checksum."""

ROWS: Final = """
    SELECT h.revision, encode(c.hash, 'hex') AS change_hash, h.namespace, h.shard_id, h.version, h.kind,
           h.changed_fields, h.previous::text, h.current::text
    FROM shard_history h JOIN changes c ON c.id = h.change_id ORDER BY h.revision
"""
CHANGES: Final = """
    SELECT id, actor, idempotency_key, head_revision, shard_count,
           extract(epoch FROM committed_at)::float8 AS committed_at
    FROM changes ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class WrittenChange:
    """A row of changes. `committed_at` is in seconds since 1970."""

    id: int
    actor: str
    key: str | None
    head_revision: int
    shards: int
    committed_at: float


@dataclass(slots=True)
class History:
    """One epoch, of a database that bore it. `rows` and `fingerprints` are in order of revision, `wanted` says for each
    row whether a watch must be told of it, `table` is what all of it led to. `contradictions` is what is wrong with
    history itself, `refuted` says of listings that they are not what the table was at their
    revision.
    """

    epoch: str
    revisions: Integers
    fingerprints: Integers
    wanted: dict[Watch, NDArray[np.bool_]]
    changes: Sequence[WrittenChange]
    table: Table
    contradictions: list[str] = field(default_factory=list)
    refuted: dict[Listing, str] = field(default_factory=dict)

    def committed_at(self, revisions: Integers) -> NDArray[np.float64]:
        """When these were committed, as the database's clock has it."""
        made = [change for change in self.changes if change.shards]
        heads = np.array([change.head_revision for change in made], np.int64)
        times = np.array([change.committed_at for change in made], np.float64)
        return times[np.searchsorted(heads, revisions)]


async def read_history(url: str, listings: Sequence[Listing]) -> History:
    """Everything; and on the way, whether each listing is what the table was at its revision."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            epoch = await connection.fetchval("SELECT epoch FROM stream_head")
            changes = [WrittenChange(*row) for row in await connection.fetch(CHANGES)]
            reading = Reading([listing for listing in listings if listing.epoch == epoch])
            async for row in _rows(connection):
                reading.take(row)
            return reading.history(epoch, changes)
    finally:
        await connection.close()


async def _rows(connection: asyncpg.Connection) -> AsyncIterator[asyncpg.Record]:
    async for row in connection.cursor(ROWS, prefetch=2_000):
        yield row


class Reading:
    """Makes a history of rows as ROWS selects them, and holds listings of its epoch against the table on the way."""

    def __init__(self, listings: Iterable[Listing]) -> None:
        self._listings = sorted(listings, key=lambda listing: listing.revision, reverse=True)
        self._table: dict[tuple[str, str], Image | None] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._revisions: list[int] = []
        self._fingerprints: list[int] = []
        self._wanted: dict[Watch, list[bool]] = {watch: [] for watch in WATCHES}
        self._contradictions: list[str] = []
        self._refuted: dict[Listing, str] = {}

    def take(self, row: Any) -> None:
        key = (row["namespace"], row["shard_id"])
        revision = row["revision"]
        self._check_listings(revision)
        last = self._revisions[-1] if self._revisions else 0
        if revision != last + 1:
            self._contradictions.append(f"revision {revision} follows {last} in history")
        if row["version"] != self._versions.get(key, 0) + 1:
            self._contradictions.append(f"revision {revision} has version {row['version']} of {'/'.join(key)}")
        previous = None if row["previous"] is None else orjson.loads(row["previous"])
        current = None if row["current"] is None else orjson.loads(row["current"])
        if previous != self._table.get(key):
            self._contradictions.append(f"revision {revision} does not begin where {'/'.join(key)} was")
        self._table[key], self._versions[key] = current, row["version"]
        diff = {
            "kind": row["kind"],
            "namespace": row["namespace"],
            "shardId": row["shard_id"],
            "version": row["version"],
            "changedFields": row["changed_fields"],
            "previous": previous,
            "current": current,
            "change": {"hash": row["change_hash"]},
        }
        self._revisions.append(revision)
        self._fingerprints.append(diff_fingerprint(diff))
        for watch, wanted in self._wanted.items():
            wanted.append(watch.wants(previous, current))

    def history(self, epoch: str, changes: Sequence[WrittenChange]) -> History:
        self._check_listings(None)
        return History(
            epoch,
            np.array(self._revisions, np.int64),
            np.array(self._fingerprints, np.int64),
            {watch: np.array(wanted, np.bool_) for watch, wanted in self._wanted.items()},
            changes,
            self._shown(),
            self._contradictions,
            self._refuted,
        )

    def _shown(self) -> Table:
        table: Table = {}
        for (namespace, shard_id), image in self._table.items():
            if image is not None:
                table.setdefault(namespace, {})[shard_id] = f"{image['version']}/{image['checksum']}"
        return table

    def _check_listings(self, before: int | None) -> None:
        """Those of the table as it is now: the next row, if there is one, is `before`."""
        while self._listings and (before is None or self._listings[-1].revision < before):
            listing = self._listings.pop()
            shown = [image for image in self._table.values() if image is not None and listing.watch.shows(image)]
            digest = sum(map(shard_fingerprint, shown))
            if (len(shown), digest) != (listing.shards, listing.digest):
                self._refuted[listing] = (
                    f"a list ({listing.watch}) at revision {listing.revision} had {listing.shards} shards; "
                    f"history has {len(shown)} there, or others"
                )
