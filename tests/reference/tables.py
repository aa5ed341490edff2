"""What the store holds, as one immutable value.

A commit replaces the value by the next one; a reader has the one it began with. So every read is one snapshot,
nothing is ever half written, and there is nothing to undo.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import TypeAlias
from uuid import uuid4

from persistence.commands.read_state import StoredPlan
from persistence.errors import Compacted, FutureCursor
from persistence.model.outcomes import Committed
from persistence.model.records import (
    NO_CHANGE,
    AsOf,
    Change,
    ChangeMark,
    GroupKey,
    Namespace,
    Node,
    Refusal,
    Shard,
    ShardDiff,
    ShardKey,
    StreamPosition,
    Tombstone,
)
from persistence.model.stream import StreamHead
from persistence.planning import lifecycle

Clock: TypeAlias = Callable[[], datetime]

Actor: TypeAlias = str

IdempotencyKey: TypeAlias = str


@dataclass(frozen=True, slots=True)
class Tables:
    """`changes` are complete, `history` is what compactions left of it, both in commit order.

    `revision` is the newest there is, `digests` are of the changes' contents, as the audit chain covers them.
    `registered` are nodes as they were written last: how many shards each owns is counted by `node`.
    """

    epoch: str
    revision: int = 0
    floor: int = 0
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    shards: Mapping[ShardKey, Shard] = field(default_factory=dict)
    tombstones: Mapping[ShardKey, Tombstone] = field(default_factory=dict)
    registered: Mapping[str, Node] = field(default_factory=dict)
    plans: Mapping[str, StoredPlan] = field(default_factory=dict)
    history: tuple[ShardDiff, ...] = ()
    changes: tuple[Change, ...] = ()
    digests: tuple[bytes, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    answers: Mapping[tuple[Actor, IdempotencyKey], tuple[bytes, Committed]] = field(default_factory=dict)

    @property
    def head(self) -> StreamHead:
        newest = self.changes[-1].mark if self.changes else NO_CHANGE
        at = self.changes[-1].committed_at if self.changes else None
        return StreamHead(self.epoch, self.revision, self.floor, self._mark(self.revision), newest, at)

    def position(self, as_of: AsOf | None) -> StreamPosition:
        """The position a read is exact at. Raises FutureCursor or Compacted where there is no such table."""
        if as_of is None:
            return self.head.position
        if as_of.revision is not None:
            return self.position_at(as_of.revision)
        if as_of.time is None:
            raise ValueError("as of a revision or a time, one of them")
        return self.position_at(self.revision_at(as_of.time))

    def position_at(self, revision: int) -> StreamPosition:
        """The position after a revision. Raises FutureCursor or Compacted."""
        return StreamPosition(self.epoch, self.served(revision), self._mark(revision))

    def knows(self, mark: ChangeMark) -> bool:
        """Whether that change is there, with that hash."""
        if mark.change_id == 0:
            return mark == NO_CHANGE
        return mark.change_id <= len(self.changes) and self.changes[mark.change_id - 1].mark == mark

    def revision_at(self, time: datetime) -> int:
        """The newest revision there was."""
        committed = (change.last_revision or 0 for change in self.changes if change.committed_at <= time)
        return max(committed, default=0)

    def changes_at(self, as_of: AsOf) -> Sequence[Change]:
        """Those there were then; a revision is until the next one is made. Raises FutureCursor or Compacted."""
        revision = self.position(as_of).revision
        if as_of.time is not None:
            return [change for change in self.changes if change.committed_at <= as_of.time]
        return [change for change in self.changes if self._head_after(change) <= revision]

    def _head_after(self, change: Change) -> int:
        """The newest revision there was after a change."""
        return max((each.last_revision or 0 for each in self.changes[: change.id]), default=0)

    def served(self, revision: int) -> int:
        """`revision`, if the table is known as it was then."""
        if revision > self.head.revision:
            raise FutureCursor(revision, self.head.revision)
        if revision < self.floor:
            raise Compacted(revision, self.floor)
        return revision

    def shards_at(self, revision: int) -> Mapping[ShardKey, Shard]:
        """The table as it stood: history played back from the beginning."""
        newest = {row.key: row.current for row in self.between(0, revision)}
        return {key: shard for key, shard in newest.items() if shard is not None}

    def between(self, low: int, high: int) -> Sequence[ShardDiff]:
        """Rows of history after revision `low`, up to and including `high`."""
        first, last = (bisect_right(self.history, bound, key=attrgetter("revision")) for bound in (low, high))
        return self.history[first:last]

    def _mark(self, revision: int) -> ChangeMark:
        """Of the change that made the revision, whose row is there from the floor on."""
        if revision == 0:
            return NO_CHANGE
        (row,) = self.between(revision - 1, revision)
        return row.change.mark

    def node(self, node_id: str) -> Node | None:
        """With the shards it owns now."""
        node = self.registered.get(node_id)
        return None if node is None else replace(node, shard_count=self.owned(node_id), leader_count=self.led(node_id))

    def uncounted(self, node_id: str) -> Node | None:
        """Where the shards that it owns are not counted."""
        node = self.registered.get(node_id)
        return None if node is None else replace(node, shard_count=0, leader_count=0)

    def members(self, key: GroupKey) -> Mapping[str, str]:
        """The shards of an anti-affinity group, by id, with their owners."""
        return {
            shard.shard_id: shard.owner_node_id
            for shard in self.shards.values()
            if (shard.namespace, shard.anti_affinity_group) == key
        }

    def owned(self, node_id: str) -> int:
        return sum(shard.owner_node_id == node_id for shard in self.shards.values())

    def in_use(self, node_id: str) -> bool:
        return self.owned(node_id) + self.led(node_id) > 0

    def led(self, node_id: str) -> int:
        return sum(shard.leader_id == node_id for shard in self.shards.values())


def utc_now() -> datetime:
    return datetime.now(UTC)


class Memory:
    """The tables as they are now, and what writers and the change feed need beside them."""

    def __init__(self, *, clock: Clock = utc_now, epoch: str | None = None) -> None:
        self.clock = clock
        self.tables = Tables(epoch or uuid4().hex)
        self._committed = asyncio.Event()

    def publish(self, tables: Tables) -> None:
        """Everything a commit does becomes visible here, at once."""
        self.tables = tables
        self._committed.set()

    def plan(self, plan_id: str) -> StoredPlan:
        """A stored plan, with the status it has now."""
        stored = self.tables.plans[plan_id]
        return replace(stored, plan=lifecycle.as_of(stored.plan, self.clock()))

    def renew(self, epoch: str) -> None:
        """A new epoch in place of this one, if it still is the current one."""
        if self.tables.epoch == epoch:
            self.tables = replace(self.tables, epoch=uuid4().hex)

    async def wait(self) -> None:
        """The store's CommitSignal."""
        await self._committed.wait()
        self._committed.clear()
