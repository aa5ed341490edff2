"""What is read of a store. tests/contract holds every backend to it.

A read is of one snapshot, also the count of a page that is `counted`; where it returns `Stamped`, with the position of
that snapshot.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from persistence.model.paging import Page, PageRequest
from persistence.model.plans import RebalancePlan
from persistence.model.queries import (
    ChangeFilter,
    DiffDetail,
    HistoryOrder,
    NodeFilter,
    PlanFilter,
    ShardFilter,
    ShardHistoryFilter,
)
from persistence.model.records import (
    AsOf,
    Change,
    Namespace,
    Node,
    NodeStatus,
    Shard,
    ShardDiff,
    ShardKey,
    ShardStatus,
    StreamPosition,
)
from persistence.planning.proposal import Proposal
from persistence.planning.snapshot import PlacementSnapshot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stamped(Generic[T]):
    """A value, and the position in the change stream it is exact at: follow from there and nothing is missed."""

    value: T
    position: StreamPosition


class ShardCount(NamedTuple):
    """How many shards of a namespace a node owns in one status, with the sum of their capacities in millionths: each is
    rounded to that, so that sums are exact, whatever shards come and go."""

    namespace: str
    node_id: str
    status: ShardStatus
    shards: int
    capacity: int


CAPACITY_UNITS: Final = 1_000_000
"""What a capacity of 1 is counted as."""


@lru_cache(1_024)
def capacity_units(capacity: float) -> int:
    """A finite capacity in millionths, as it is written: half of one is rounded up, as PostgreSQL does."""
    return int((Decimal(repr(capacity)) * CAPACITY_UNITS).to_integral_value(ROUND_HALF_UP))


class ShardReader(Protocol):
    async def get(self, key: ShardKey, as_of: AsOf | None = None) -> Stamped[Shard | None]: ...

    async def get_many(self, keys: Sequence[ShardKey], as_of: AsOf | None = None) -> Stamped[Sequence[Shard | None]]:
        """The shard of each key, in the order of the keys, which may repeat; null where there is none."""
        ...

    async def page(
        self, where: ShardFilter, page: PageRequest[ShardKey], as_of: AsOf | None = None
    ) -> Stamped[Page[Shard]]:
        """Ordered by (namespace, shard id)."""
        ...

    def scan(self) -> AsyncGenerator[Stamped[Sequence[Shard]], None]:
        """Every shard once, ordered by (namespace, shard id), in slices: at least one, which may be empty. Each is of
        one snapshot, none of an older one than the slice before. Other tasks run in between."""
        ...

    def holder(self) -> Callable[[Shard], bool]:
        """Whether this very object is in memory, and is what is read until the shard changes; valid until something is
        awaited."""
        ...


class ShardTotals(Protocol):
    async def counts(self, namespace: str | None = None) -> Stamped[Sequence[ShardCount]]:
        """Of a namespace or of all, of every node, registered or not, and status that any shard has; in no order."""
        ...

    async def owners(self) -> Collection[str]:
        """Every node that owns a shard, registered or not."""
        ...


def holds_none(_: Shard) -> bool:
    """The holder of what is read anew each time."""
    return False


class NamespaceReader(Protocol):
    async def get(self, name: str) -> Namespace | None: ...

    async def page(self, page: PageRequest[str]) -> Page[Namespace]:
        """Ordered by name."""
        ...

    async def page_as_of(self, page: PageRequest[str], as_of: AsOf) -> Page[Namespace]:
        """As they were configured, without what follows from shards: `digest`, `shard_count`, `revision` and
        `updated_at` mean nothing. Raises FutureCursor, Compacted, and InvalidArgument for a point in time after which
        they were configured too often to find out."""
        ...

    async def exists(self, name: str) -> bool:
        """Whether it exists; known from memory once it was found: subscribers come back by the thousand."""
        ...

    async def around(self, name: str, limit: int) -> Sequence[str]:
        """In order, up to `limit` names before this one and as many after it, whether or not it is one itself."""
        ...


class NodeReader(Protocol):
    """Without `shards_counted`, the shards of each node are not counted, which takes longer than the rest, and
    `shard_count` is 0."""

    async def get(self, node_id: str, *, shards_counted: bool = True) -> Node | None:
        """Null for one that was never registered; a removed one is found, with that status."""
        ...

    async def page(self, where: NodeFilter, page: PageRequest[str], *, shards_counted: bool = True) -> Page[Node]:
        """Ordered by id."""
        ...

    async def page_as_of(self, where: NodeFilter, page: PageRequest[str], as_of: AsOf) -> Page[Node]:
        """As they were at a point in time: a revision is until the next one is made. Shards are not counted. Raises
        FutureCursor and Compacted."""
        ...

    async def absent(self, node_ids: Collection[str]) -> Collection[str]:
        """Those of these nodes that are not registered, or were removed."""
        ...

    async def statuses(self, node_ids: Sequence[str]) -> Mapping[str, NodeStatus]:
        """Of those of these nodes that were ever registered."""
        ...

    async def around(self, node_id: str, limit: int) -> Sequence[str]:
        """As of namespaces, without removed nodes."""
        ...


class PlanReader(Protocol):
    async def get(self, plan_id: str) -> RebalancePlan | None: ...

    async def proposal(self, plan_id: str) -> Proposal | None:
        """What a plan proposes: up to ten thousand moves."""
        ...

    async def page(self, where: PlanFilter, page: PageRequest[int]) -> Page[RebalancePlan]:
        """Newest first; keys are the ids of the changes that stored the plans."""
        ...


class PlacementReader(Protocol):
    async def snapshot(self, namespaces: Collection[str] | None = None) -> PlacementSnapshot:
        """Everything that placement depends on, as of one revision, of these namespaces (those that exist) or of
        all."""
        ...


class ShardAt(NamedTuple):
    """A shard as of a revision at which it was changed."""

    namespace: str
    shard_id: str
    revision: int


OWNER_SEARCHED: Final = 100
"""Rows of a shard's history that are looked at for the change of its owner."""


class HistoryReader(Protocol):
    async def page(
        self,
        where: ShardHistoryFilter,
        order: HistoryOrder,
        page: PageRequest[int],
        shown: DiffDetail | None = None,
    ) -> Page[ShardDiff]:
        """Ordered by revision. With `shown` the items may be of another class, which equals nothing, and have of the
        attributes of a ShardDiff those that it names."""
        ...

    def holds(self, diff: object) -> bool:
        """Whether an item of such pages is one that was read more than once, and may be again: the same object."""
        ...

    async def difference(
        self, namespace: str | None, start: int, end: int, page: PageRequest[ShardKey]
    ) -> Stamped[Page[ShardDiff]]:
        """Net difference between revisions `start` and `end`, ordered by key; start > end reads it backwards.

        A shard that is at the same version, or absent, at both is not in it. Stamped with `end`. Raises FutureCursor or
        Compacted for a revision that is not served.
        """
        ...

    async def owner_changes(self, shards: Collection[ShardAt]) -> Mapping[ShardAt, Change]:
        """The change by which each shard came to the owner that it had at this revision. Missing where it is older than
        the floor of history, or than the last `OWNER_SEARCHED` changes of the shard."""
        ...

    async def window_use(
        self, namespace: str, seconds: int, most: int, *, involuntary: bool
    ) -> tuple[int, datetime | None]:
        """How many moves the last so many seconds have seen, counted up to `most`, and when the oldest of those was
        made; with `involuntary` ones or without."""
        ...

    async def revision_at(self, time: datetime) -> int:
        """The newest revision there was then, 0 if there was none. A later call may give more for the current time."""
        ...


class ChangeReader(Protocol):
    async def page(
        self, where: ChangeFilter, page: PageRequest[int], *, newest_first: bool, shown: bool = False
    ) -> Page[Change]:
        """Ordered by id. Changes that are `shown` and nothing else may be objects with the attributes of one, and are
        the same objects when they are read again."""
        ...

    def holds(self, change: object) -> bool:
        """Whether it is a change that was shown more than once, and will be the same object the next time."""
        ...

    async def of_revisions(self, revisions: Collection[int]) -> Mapping[int, Change]:
        """The change that made each revision. A revision that history does not have, or not any more, is missing."""
        ...

    async def counted_before(self, times: Sequence[datetime]) -> Sequence[tuple[int, int]]:
        """How many changes were committed before each time, and the newest revision then."""
        ...

    async def of_nodes(self, versions: Mapping[str, int]) -> Mapping[str, Change]:
        """The change that brought each node to this version."""
        ...

    async def content_digests(self, after: int, limit: int) -> Sequence[bytes]:
        """Of up to `limit` changes that follow the one of id `after`: what their hashes cover in place of their rows.

        With them the audit chain can be followed where rows were compacted.
        """
        ...
