"""The interface between the layers above the store and its backends. tests/contract holds every backend to it.

A read is of one snapshot, also the count of a page that is `counted`; where it returns `Stamped`, with the position of
that snapshot. Writes go through `service/executor.py`, which drives a `UnitOfWork`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from persistence.commands.command import ChangeRequest
from persistence.commands.read_state import DecisionInputs, InputsRequired, ReadSet, ReadState
from persistence.commands.refusals import RefusalWrite
from persistence.commands.write_set import WriteSet
from persistence.errors import StoreError, Unavailable
from persistence.model.outcomes import Committed
from persistence.model.paging import Page, PageRequest
from persistence.model.plans import RebalancePlan
from persistence.model.queries import (
    ChangeFilter,
    DiffDetail,
    DiffFilter,
    HistoryOrder,
    NodeFilter,
    PlanFilter,
    RefusalFilter,
    ShardFilter,
    ShardHistoryFilter,
)
from persistence.model.records import (
    NO_CHANGE,
    AsOf,
    Change,
    ChangeMark,
    Compaction,
    Namespace,
    Node,
    NodeStatus,
    Refusal,
    Shard,
    ShardDiff,
    ShardKey,
    ShardStatus,
    StreamPosition,
)
from persistence.model.stream import ChangedShard, DiffBatch, OmittedRange, StreamHead, StreamPage
from persistence.planning.proposal import Proposal
from persistence.planning.snapshot import PlacementSnapshot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stamped(Generic[T]):
    """A value, and the position in the change stream it is exact at: follow from there and nothing is missed."""

    value: T
    position: StreamPosition


CONFIGURATIONS: Final = 100
"""Changes of a configuration that are read at once."""


class UnitOfWork(Protocol):
    """One decision and, if it comes to that, one change. What is read is of one snapshot, and nothing is locked.

    Every method may raise TransientConflict. Nothing is read after `barrier` or `commit`.
    """

    async def earlier(self, actor: str, idempotency_key: str) -> tuple[bytes, Committed] | None:
        """If the key has made a change: its request digest and its answer."""
        ...

    async def read(self, reads: ReadSet) -> ReadState:
        """The state of these. May be called again, for keys that only the first state shows."""
        ...

    async def read_inputs(self, required: InputsRequired) -> DecisionInputs:
        """The inputs that a decision requires beside the state that was read."""
        ...

    async def last_changes(self, shards: Collection[ShardKey]) -> Mapping[ShardKey, Change]:
        """The newest change of each shard in history, deleted ones included."""
        ...

    async def last_configuration(self, namespace: str) -> Change | None:
        """The newest change of a namespace's configuration."""
        ...

    async def last_node_change(self, node_id: str) -> Change | None:
        """The newest change of a node."""
        ...

    async def changed_fields(self, since: Mapping[ShardKey, int]) -> Mapping[ShardKey, Sequence[str]]:
        """The fields of these shards that changes after these versions changed, by their public names; of very many
        changes the newest."""
        ...

    async def configurations(self, namespace: str, version: int) -> Sequence[Change]:
        """The changes of a namespace's configuration after that version, newest first; of very many the newest."""
        ...

    async def node_changes(self, node_id: str, version: int) -> Sequence[Change]:
        """The same of a node."""
        ...

    async def barrier(self) -> None:
        """Returns once what was read is as durable as a commit: before it is answered that something was committed
        earlier."""
        ...

    async def commit(self, write_set: WriteSet) -> Committed:
        """Re-check what was read, write, take revisions from the head, append history, chain, notify, commit.

        Raises TransientConflict, and writes nothing, where something that was read has changed, or a key that was
        absent has been there; CommitUnknown where the answer did not come.
        """
        ...


UnitOfWorkFactory: TypeAlias = Callable[[], AbstractAsyncContextManager[UnitOfWork]]


class ChangeGroup(Protocol):
    """Many changes of shards, decided on one snapshot and committed in one transaction. Each stays its own change."""

    async def limit(self, seconds: float) -> None:
        """Have whatever follows that waits longer for other writers raise Overloaded, with nothing written."""
        ...

    async def read(self, shards: Sequence[ShardKey], node_ids: Collection[str] = ()) -> ReadState:
        """These shards or their tombstones, and their namespaces; and these nodes, where owners of any of them must be
        registered."""
        ...

    async def commit(self, changes: Sequence[tuple[ReadSet, WriteSet]]) -> Sequence[Committed | StoreError]:
        """The outcome of each change, with the read set that it was decided on: TransientConflict where something that
        it relied on has changed. The changes must not depend on each other: they write no shard and no idempotency key
        twice, and take no shard from a namespace that another relies on the size of.

        Raises CommitUnknown where the answer did not come, and any other StoreError where nothing was written:
        RowsLocked where the state, read again, shows what is locked.
        """
        ...


ChangeGroupFactory: TypeAlias = Callable[[], AbstractAsyncContextManager[ChangeGroup]]


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
        """What knows, until something is awaited, whether this very object is in memory, and is what is read until the
        shard changes."""
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
        `updated_at` mean nothing. Raises FutureCursor, Compacted, and InvalidArgument for a moment after which they
        were configured too often to find out."""
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
        """As they were at a moment of the past, which a revision is until the next one is made; shards are not counted.
        Raises FutureCursor and Compacted."""
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


class Refusals(Protocol):
    """Requests that were refused, in a chain of their own: storing a refusal holds up no change."""

    async def append(self, refusal: RefusalWrite) -> Refusal:
        """Store it, after the unit of work that was refused has ended."""
        ...

    async def page(self, where: RefusalFilter, page: PageRequest[int], *, newest_first: bool) -> Page[Refusal]:
        """Ordered by id."""
        ...


@dataclass(frozen=True, slots=True)
class Forecast:
    """The result of compacting history to `floor`, in advance: no change if that is not above `previous_floor`."""

    floor: int
    previous_floor: int
    removed_rows: int
    kept_rows: int


@dataclass(frozen=True, slots=True)
class HistoryCompacted:
    """Done, and on record as `change`. `freed_bytes` is by how much less the store takes."""

    change: Change
    compaction: Compaction
    freed_bytes: int


class Retention(Protocol):
    """Removal of old history. What is served from the floor on does not change; positions before it are refused."""

    async def foresee(self, before: AsOf) -> Forecast:
        """`before` a revision, or before the one the store had at a time. Raises FutureCursor beyond the head."""
        ...

    async def compact(self, floor: int, change: ChangeRequest) -> HistoryCompacted | None:
        """Make `floor` the oldest position served, and keep of the rows up to it the newest of each shard.

        Null, and nothing is written, if history was compacted to there or beyond already. Raises FutureCursor beyond
        the head, InvalidArgument for the change, and TransientConflict if another compaction runs, or the tables are
        locked for too long: then history is as it was.
        """
        ...


class ChangeStream(Protocol):
    """History as a stream."""

    async def head(self) -> StreamHead:
        """With the time of the newest change."""
        ...

    async def oldest_at(self) -> datetime | None:
        """The oldest time that can be read as of: when the change was committed that made the oldest revision, or the
        first one of all. Null before that."""
        ...

    async def position_at(self, revision: int) -> StreamPosition:
        """The position after a revision. Raises FutureCursor beyond the head and Compacted below the floor."""
        ...

    async def renew(self, epoch: str) -> None:
        """Start a new epoch in place of this one, if it still is the current one: changes seen under it are lost."""
        ...

    async def after(
        self, revision: int, limit: int, namespace: str | None = None, *, mark: ChangeMark = NO_CHANGE
    ) -> StreamPage:
        """Up to `limit` rows after `revision` in order, of one namespace if it is named.

        To go on from rows that were read before, pass the `mark` they led to, and drop the page if that is not `known`:
        it is of another history, however well its revisions follow. Neither that nor a head before `revision` is
        answered by a primary that was left behind by a failover: raises StoreUnavailable where that is not certain.
        """
        ...

    async def rest_of_change(self, omitted: OmittedRange, revision: int, limit: int) -> Sequence[ChangedShard]:
        """Up to `limit` rows of an omitted range that follow `revision`, in order. None, or not all, where history does
        not have that change, or not all of it any more."""
        ...


class CommitSignal(Protocol):
    """A hint that something may have been committed; never data, and it may be lost, so readers poll as well."""

    async def wait(self) -> None:
        """Returns at the first hint since the last return; at once if there has been one. For one waiter."""
        ...


class DiffFeed(Protocol):
    """The live end of the stream, shared by all subscribers of a process."""

    async def wait_for(self, revision: int) -> None:
        """Until this process has received `revision`. Raises StaleRead when that takes too long, and FutureRevision at
        once where the store has no such revision."""
        ...

    async def wait_for_position(self, position: StreamPosition) -> None:
        """Until this process has received everything up to the position. Raises StaleRead when that takes too long, and
        at once EpochMismatch or FutureCursor for a position that is not in the store's history."""
        ...

    async def begin(self, after: StreamPosition | None) -> StreamPosition:
        """Where following starts: at that position, or (null) at the head.

        Raises Compacted, FutureCursor or EpochMismatch when the position cannot be served: EpochMismatch also where the
        change it names was lost.
        """
        ...

    def follow(self, begin: StreamPosition, where: DiffFilter) -> AsyncGenerator[DiffBatch, None]:
        """Everything after a position that `begin` gave or a batch led to, once and in order, for ever.

        The first batch comes at once, with or without diffs. Raises Compacted or EpochMismatch when what follows cannot
        be served any more.
        """
        ...


class Watcher(Protocol):
    """A part of this process that keeps up with the feed itself: called before subscribers are woken, and waited for by
    those who read what it still has to read, so that it is never behind. What it raises is a defect: it is logged, and
    subscribers get those diffs a poll later."""

    def advanced(self, position: StreamPosition, diffs: Sequence[ShardDiff], omitted: OmittedRange | None) -> None:
        """These diffs came next, and then the omitted range, which the feed reads for it; both lead to `position`."""
        ...

    def replaced(self, position: StreamPosition) -> None:
        """Another stream goes on at `position`; nothing received of the old one holds."""
        ...

    def lags_behind(self, diffs: Sequence[ShardDiff]) -> bool:
        """Whether it still shows any of these shards as it was before."""
        ...

    async def pass_by(self, diffs: Sequence[ShardDiff]) -> None:
        """Until it does not any more."""
        ...


class PoolState(NamedTuple):
    """Of a pool of connections, in connections; `waiting` are the requests for one that have none yet."""

    in_use: int
    idle: int
    waiting: int


async def _always_available() -> None:
    """A store without a database has none."""


@dataclass(frozen=True, slots=True)
class Store:
    """A backend, assembled by the composition root."""

    shards: ShardReader
    totals: ShardTotals
    namespaces: NamespaceReader
    nodes: NodeReader
    plans: PlanReader
    placement: PlacementReader
    history: HistoryReader
    changes: ChangeReader
    stream: ChangeStream
    signal: CommitSignal
    refusals: Refusals
    unit_of_work: UnitOfWorkFactory
    change_group: ChangeGroupFactory
    trouble: Callable[[], Awaitable[Unavailable | None]] = _always_available
    """Why requests have failed, and still would, where reading the head need not show it."""
    pools: Mapping[str, Callable[[], PoolState]] = field(default_factory=dict)
    """The pools of connections, by what they are for."""


@dataclass(frozen=True, slots=True)
class BulkStore:
    """The part of a backend that works on thousands of shards at a time."""

    placement: PlacementReader
    shards: ShardReader
    changes: ChangeReader
    stream: ChangeStream
    refusals: Refusals
    unit_of_work: UnitOfWorkFactory
