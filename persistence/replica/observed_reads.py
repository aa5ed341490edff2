"""What an answer was read from, to decide later whether the same would be read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from persistence.model.records import Shard, ShardKey, StreamPosition
from persistence.ports.readers import Stamped
from persistence.replica.sorted_table import SortedTable


class Serving(Protocol):
    """The tables that are served, as `persistence.replica.replica.Replica` has them."""

    @property
    def position(self) -> StreamPosition: ...

    def shows(self, shard: Shard) -> bool: ...

    def table_with(self, key: ShardKey) -> Stamped[SortedTable] | None: ...

    def table_of(self, namespace: str | None) -> Stamped[SortedTable] | None: ...


class ObservedReads:
    """Shards and pages that were read from memory, one after the other. Records are compared by identity, pages by how
    often their namespace was written to: a table that was loaded anew has other records, and is another one."""

    __slots__ = ("_elsewhere", "_pages", "_position", "_read_at", "_replica", "_shards")

    def __init__(self, replica: Serving) -> None:
        self._replica = replica
        self._shards: list[tuple[ShardKey, Shard | None]] = []
        self._pages: list[tuple[str | None, SortedTable, int]] = []
        self._position: StreamPosition | None = None
        self._read_at: set[StreamPosition] = set()
        self._elsewhere = False

    def add_shard(self, key: ShardKey, shard: Shard | None) -> None:
        self._shards.append((key, shard))

    def add_page(self, namespace: str | None, table: SortedTable) -> None:
        self._pages.append((namespace, table, table.writes(namespace)))

    def add_read_at(self, position: StreamPosition) -> None:
        """Where something was read: the replica goes on while other parts of the answer are made."""
        self._read_at.add(position)

    def add_position(self) -> None:
        """The position is shown, too."""
        if len(self._read_at) == 1:
            (self._position,) = self._read_at
        else:
            self._elsewhere = True

    def add_elsewhere(self) -> None:
        """Something was read that did not come from memory."""
        self._elsewhere = True

    @property
    def standing(self) -> Callable[[], bool]:
        """`stand`, of what was read so far; of one shard alone, in a quarter of the memory and the time."""
        if len(self._shards) == 1 and not self._pages and not self._elsewhere and self._position is None:
            ((_, shard),) = self._shards
            if shard is not None:
                return _ObservedShard(self._replica, shard).stands
        return self.stand

    def stand(self) -> bool:
        """Whether all of it would be read again now, from memory."""
        if self._elsewhere:
            return False
        replica = self._replica
        for key, shard in self._shards:
            found = replica.table_with(key)
            if found is None or found.value.get(*key) is not shard:
                return False
        for namespace, table, writes in self._pages:
            found = replica.table_of(namespace)
            if found is None or found.value is not table or table.writes(namespace) != writes:
                return False
        return self._position is None or self._position == replica.position


class _ObservedShard:
    __slots__ = ("_replica", "_shard")

    def __init__(self, replica: Serving, shard: Shard) -> None:
        self._replica = replica
        self._shard = shard

    def stands(self) -> bool:
        return self._replica.shows(self._shard)
