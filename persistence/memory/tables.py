"""What the store holds, as one immutable value.

A commit replaces the value by the next one; a reader keeps the one it began with. So every read is one snapshot,
nothing is ever half written, and there is nothing to undo.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import uuid4

from persistence.errors import Compacted, FutureCursor
from persistence.outcomes import Committed
from persistence.ports import StreamHead
from persistence.records import AsOf, Change, Namespace, Node, Shard, ShardDiff, ShardKey, StreamPosition, Tombstone
from persistence.writes import KeptPlan

Clock: TypeAlias = Callable[[], datetime]
Actor: TypeAlias = str
IdempotencyKey: TypeAlias = str


@dataclass(frozen=True, slots=True)
class Tables:
    """`history` and `changes` are complete and in commit order: revision r is `history[r - 1]`.

    `registered` are nodes as they were written last: how many shards each owns is asked of `node`.
    """

    epoch: str
    floor: int = 0
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    shards: Mapping[ShardKey, Shard] = field(default_factory=dict)
    tombstones: Mapping[ShardKey, Tombstone] = field(default_factory=dict)
    registered: Mapping[str, Node] = field(default_factory=dict)
    plans: Mapping[str, KeptPlan] = field(default_factory=dict)
    history: tuple[ShardDiff, ...] = ()
    changes: tuple[Change, ...] = ()
    answers: Mapping[tuple[Actor, IdempotencyKey], tuple[bytes, Committed]] = field(default_factory=dict)

    @property
    def head(self) -> StreamHead:
        return StreamHead(self.epoch, len(self.history), self.floor)

    def position(self, as_of: AsOf | None) -> StreamPosition:
        """The position a read is exact at. Raises FutureCursor or Compacted where there is no such table."""
        if as_of is None:
            return self.head.position
        if as_of.revision is not None:
            return StreamPosition(self.epoch, self.served(as_of.revision))
        if as_of.time is None:
            raise ValueError("as of a revision or a time, one of them")
        committed = (row.revision for row in self.history if row.change.committed_at <= as_of.time)
        return StreamPosition(self.epoch, self.served(max(committed, default=0)))

    def served(self, revision: int) -> int:
        """`revision`, if the table can be told as it stood then."""
        if revision > self.head.revision:
            raise FutureCursor(revision, self.head.revision)
        if revision < self.floor:
            raise Compacted(revision, self.floor)
        return revision

    def shards_at(self, revision: int) -> Mapping[ShardKey, Shard]:
        """The table as it stood: history played back from the beginning."""
        newest = {row.key: row.current for row in self.history[:revision]}
        return {key: shard for key, shard in newest.items() if shard is not None}

    def node(self, node_id: str) -> Node | None:
        """With the shards it owns now."""
        node = self.registered.get(node_id)
        return None if node is None else replace(node, shard_count=self.owned(node_id))

    def uncounted(self, node_id: str) -> Node | None:
        """Where nobody asks how many shards it owns."""
        node = self.registered.get(node_id)
        return None if node is None else replace(node, shard_count=0)

    def owned(self, node_id: str) -> int:
        return sum(shard.owner_node_id == node_id for shard in self.shards.values())


def utc_now() -> datetime:
    return datetime.now(UTC)


class Memory:
    """The tables as they are now, and what writers and the change feed need beside them."""

    def __init__(self, *, clock: Clock = utc_now, epoch: str | None = None) -> None:
        self.clock = clock
        self.tables = Tables(epoch or uuid4().hex)
        self.writing = asyncio.Lock()
        self._committed = asyncio.Event()

    def publish(self, tables: Tables) -> None:
        """Everything a commit does becomes visible here, at once."""
        self.tables = tables
        self._committed.set()

    def compact(self, revision: int) -> None:
        """Refuse positions before `revision` from now on."""
        self.tables = replace(self.tables, floor=self.tables.served(revision))

    def renew(self, epoch: str) -> None:
        """A new epoch in place of this one, if it still is the current one."""
        if self.tables.epoch == epoch:
            self.tables = replace(self.tables, epoch=uuid4().hex)

    async def wait(self) -> None:
        """The store's CommitSignal."""
        await self._committed.wait()
        self._committed.clear()
