"""What the replica waits for: changes that it cannot apply yet, and revisions that it has not got yet.

A change of thousands of shards has to be read from history first. Meanwhile its namespaces are behind, and what comes
next of them waits its turn; other namespaces go on.

What was committed through a process, or read from the database through it, must not be missing from what is read
through it next. The stream brings it a few milliseconds later; until then exactly those shards are read from the
database.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeAlias, TypeVar

from persistence.model.records import Shard, ShardDiff, ShardKey
from persistence.model.stream import OmittedRange

Item: TypeAlias = ShardDiff | OmittedRange


class Backlog:
    """In the order of the stream."""

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        """To be read only, as what there is to apply; it is looked at for each lookup."""
        self._behind: Counter[str] = Counter()

    def add(self, items: Iterable[Item]) -> None:
        for item in items:
            self.items.append(item)
            self._behind.update(_namespaces(item))

    def hold_back(self, diffs: Sequence[ShardDiff]) -> Sequence[ShardDiff]:
        """Add those of namespaces that are behind; the others are to be applied."""
        if not self.items:
            return diffs
        self.add(diff for diff in diffs if diff.namespace in self._behind)
        return [diff for diff in diffs if diff.namespace not in self._behind]

    def done(self) -> None:
        """The first item has been applied."""
        for name in _namespaces(self.items.popleft()):
            self._behind[name] -= 1
            if not self._behind[name]:
                del self._behind[name]

    def is_behind(self, namespace: str | None) -> bool:
        """Any namespace, without a name."""
        return bool(self.items) if namespace is None else namespace in self._behind


def _namespaces(item: Item) -> Iterable[str]:
    return item.namespaces if isinstance(item, OmittedRange) else (item.namespace,)


K = TypeVar("K", bound=Hashable)


class Expectations:
    """Each is met by a revision, and remembered until the newest of all has come."""

    def __init__(self) -> None:
        self._seen = 0
        self.newest = 0
        """The revision that meets all of them."""
        self._shards: dict[ShardKey, int] = {}
        self._partly: dict[str, int] = {}
        self._wholly: dict[str, int] = {}
        self._all = 0

    def expect_shards(self, revision: int, shards: Iterable[ShardKey | Shard]) -> None:
        """These were changed by a commit that ended at `revision`, or answered as of it."""
        for shard in shards:
            key = ShardKey(shard.namespace, shard.shard_id)
            # Commits are answered in any order, and what was answered last need not be the newest.
            _raise(self._shards, key, revision)
            _raise(self._partly, key.namespace, revision)
        self.newest = max(self.newest, revision)

    def expect_namespaces(self, revision: int, names: Iterable[str]) -> None:
        """Some shards of these were changed, or answered; each counts as changed."""
        for name in names:
            _raise(self._wholly, name, revision)
            _raise(self._partly, name, revision)
        self.newest = max(self.newest, revision)

    def expect_all(self, revision: int) -> None:
        """Of all namespaces."""
        self._all = max(self._all, revision)
        self.newest = max(self.newest, revision)

    def seen(self, revision: int) -> None:
        """The replica has come so far."""
        self._seen = revision
        if revision >= self.newest and self._partly:
            for expected in (self._shards, self._partly, self._wholly):
                expected.clear()

    def of_shard(self, key: ShardKey) -> bool:
        if self.newest <= self._seen:
            return False
        return max(self._shards.get(key, 0), self._wholly.get(key.namespace, 0), self._all) > self._seen

    def of_namespace(self, name: str | None) -> bool:
        """Of any namespace, without a name."""
        return (self.newest if name is None else max(self._partly.get(name, 0), self._all)) > self._seen


def _raise(expected: dict[K, int], key: K, revision: int) -> None:
    expected[key] = max(expected.get(key, 0), revision)
