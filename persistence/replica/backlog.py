"""What the replica has been told of and cannot apply yet. Pure: no I/O, no clock.

A change of thousands of shards has to be read from history first. Meanwhile its namespaces are behind, and what comes
next of them waits its turn; other namespaces go on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from persistence.feed import Stretch
from persistence.records import ShardDiff

Item: TypeAlias = ShardDiff | Stretch


class Backlog:
    """In the order of the stream."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._behind: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def first(self) -> Item:
        return self._items[0]

    def add(self, items: Iterable[Item]) -> None:
        for item in items:
            self._items.append(item)
            self._behind.update(_namespaces(item))

    def hold_back(self, diffs: Sequence[ShardDiff]) -> Sequence[ShardDiff]:
        """Add those of namespaces that are behind; the others are to be applied."""
        if not self._items:
            return diffs
        self.add(diff for diff in diffs if diff.namespace in self._behind)
        return [diff for diff in diffs if diff.namespace not in self._behind]

    def done(self) -> None:
        """The first item has been applied."""
        for name in _namespaces(self._items.popleft()):
            self._behind[name] -= 1
            if not self._behind[name]:
                del self._behind[name]

    def is_behind(self, namespace: str | None) -> bool:
        """Any namespace, without a name."""
        return bool(self._items) if namespace is None else namespace in self._behind


def _namespaces(item: Item) -> Iterable[str]:
    return item.namespaces if isinstance(item, Stretch) else (item.namespace,)
