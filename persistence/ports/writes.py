"""What is written to a store: changes, refusals, and compactions of history.

Changes go through `service/executor.py`, which drives a `UnitOfWork`. tests/contract holds every backend to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from persistence.commands.command import ChangeRequest
from persistence.commands.read_state import DecisionInputs, InputsRequired, ReadSet, ReadState
from persistence.commands.refusals import RefusalWrite
from persistence.commands.write_set import WriteSet
from persistence.errors import StoreError
from persistence.model.outcomes import Committed
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import RefusalFilter
from persistence.model.records import AsOf, Change, Compaction, Refusal, ShardKey

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
