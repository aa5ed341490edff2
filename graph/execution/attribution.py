"""Whose changes brought shards and nodes to where they are. For a page all is read at once; what is shown of a shard
elsewhere is read together with what others look for in the same round of the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

from persistence.model.records import Change, Node, Shard
from persistence.ports.readers import ShardAt
from persistence.ports.store import Store

K = TypeVar("K")

V = TypeVar("V")

_UNREAD: Final[Any] = object()


class Attributed:
    """A shard or a node of a page, with what was read for all of the page: the attributes of the record, and these."""

    __slots__ = ("_record", "last_change", "owner_change")

    def __init__(self, record: Any, last_change: Any = _UNREAD, owner_change: Any = _UNREAD) -> None:
        self._record = record
        self.last_change = last_change
        self.owner_change = owner_change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)


AnyShard: TypeAlias = Shard | Attributed


class Attribution:
    """Of one store. A change is null where history does not have it any more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._of_revisions = Batches[int, Change](self._read_changes)
        self._of_owners = Batches[ShardAt, Change](self._read_owners)

    async def _read_changes(self, revisions: Collection[int]) -> Mapping[int, Change]:
        return await self._store.changes.of_revisions(revisions)

    async def _read_owners(self, shards: Collection[ShardAt]) -> Mapping[ShardAt, Change]:
        return await self._store.history.owner_changes(shards)

    async def last_change(self, shard: AnyShard) -> Change | None:
        """The change that made this version of it."""
        if isinstance(shard, Attributed) and shard.last_change is not _UNREAD:
            return shard.last_change  # type: ignore[no-any-return]
        return await self._of_revisions.get(shard.revision)

    async def owner_change(self, shard: AnyShard) -> Change | None:
        """The change by which it came to its owner."""
        if isinstance(shard, Attributed) and shard.owner_change is not _UNREAD:
            return shard.owner_change  # type: ignore[no-any-return]
        return await self._of_owners.get(_at(shard))

    async def last_change_of_node(self, node: Node | Attributed) -> Change | None:
        """The change that made this version of it."""
        if isinstance(node, Attributed):
            return node.last_change  # type: ignore[no-any-return]
        return (await self._store.changes.of_nodes({node.node_id: node.version})).get(node.node_id)

    async def shards(self, shards: Sequence[Shard | None], *, last: bool, owner: bool) -> Sequence[Any]:
        """The same shards, with their last changes, or those of their owners, or both."""
        there = [shard for shard in shards if shard is not None]
        changes = await self._store.changes.of_revisions({shard.revision for shard in there}) if last and there else {}
        owners = await self._store.history.owner_changes({_at(shard) for shard in there}) if owner and there else {}
        return [
            shard
            and Attributed(
                shard,
                changes.get(shard.revision) if last else _UNREAD,
                owners.get(_at(shard)) if owner else _UNREAD,
            )
            for shard in shards
        ]

    async def nodes(self, nodes: Sequence[Node]) -> Sequence[Any]:
        """The same nodes, with their last changes."""
        versions = {node.node_id: node.version for node in nodes}
        changes = await self._store.changes.of_nodes(versions) if nodes else {}
        return [Attributed(node, changes.get(node.node_id)) for node in nodes]


def _at(shard: Any) -> ShardAt:
    return ShardAt(shard.namespace, shard.shard_id, shard.revision)


class Batches(Generic[K, V]):
    """One read for all keys that are looked for in a round of the event loop. `read` leaves out what there is not."""

    def __init__(self, read: Callable[[Collection[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._read = read
        self._next: dict[K, asyncio.Future[Mapping[K, V] | None]] | None = None

    async def get(self, key: K) -> V | None:
        """Raises what reading does."""
        found = None
        while found is None:
            found = await (self._first(key) if self._next is None else self._joined(self._next, key))
        return found.get(key)

    async def _joined(self, batch: dict[K, asyncio.Future[Mapping[K, V] | None]], key: K) -> Mapping[K, V] | None:
        if key not in batch:
            batch[key] = asyncio.get_running_loop().create_future()
        # Others wait for the same one: cancelling one of them must not cancel it.
        return await asyncio.shield(batch[key])

    async def _first(self, key: K) -> Mapping[K, V] | None:
        batch = self._next = dict[K, asyncio.Future[Mapping[K, V] | None]]()
        found: Mapping[K, V] | None = None
        error: Exception | None = None
        try:
            try:
                await asyncio.sleep(0)
            finally:
                self._next = None
            found = await self._read({key, *batch})
        except Exception as raised:
            error = raised
            raise
        finally:
            # Null where the first one was cancelled: the others look for theirs again.
            for waiting in batch.values():
                if error is None:
                    waiting.set_result(found)
                else:
                    waiting.set_exception(error)
                    waiting.exception()  # it has been seen, also where all who waited were cancelled
        return found
