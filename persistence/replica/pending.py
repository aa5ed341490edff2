"""What this process has told of and its replica has not got yet. Pure: no I/O, no clock.

What was committed through a process, or read from the database through it, must not be missing from what is read
through it next. The stream brings it a few milliseconds later; until then exactly those shards are read from the
database.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

from persistence.records import ShardKey

K = TypeVar("K", bound=Hashable)


class Expectations:
    """Each is met by a revision, and remembered until the newest of all has come."""

    def __init__(self) -> None:
        self._seen = 0
        self._newest = 0
        self._shards: dict[ShardKey, int] = {}
        self._partly: dict[str, int] = {}
        self._wholly: dict[str, int] = {}
        self._all = 0

    def expect_shards(self, revision: int, keys: Iterable[ShardKey]) -> None:
        """These were changed by a commit that ended at `revision`, or told as of it."""
        for key in keys:
            # Commits are answered in any order, and what was told last need not be the newest.
            _raise(self._shards, key, revision)
            _raise(self._partly, key.namespace, revision)
        self._newest = max(self._newest, revision)

    def expect_namespaces(self, revision: int, names: Iterable[str]) -> None:
        """Some shards of these were changed, or told of; which, is not known here."""
        for name in names:
            _raise(self._wholly, name, revision)
            _raise(self._partly, name, revision)
        self._newest = max(self._newest, revision)

    def expect_all(self, revision: int) -> None:
        """Of all namespaces."""
        self._all = max(self._all, revision)
        self._newest = max(self._newest, revision)

    def seen(self, revision: int) -> None:
        """The replica has come so far."""
        self._seen = revision
        if revision >= self._newest and self._partly:
            for expected in (self._shards, self._partly, self._wholly):
                expected.clear()

    def of_shard(self, key: ShardKey) -> bool:
        if self._newest <= self._seen:
            return False
        return max(self._shards.get(key, 0), self._wholly.get(key.namespace, 0), self._all) > self._seen

    def of_namespace(self, name: str | None) -> bool:
        """Of any namespace, without a name."""
        return (self._newest if name is None else max(self._partly.get(name, 0), self._all)) > self._seen


def _raise(expected: dict[K, int], key: K, revision: int) -> None:
    expected[key] = max(expected.get(key, 0), revision)
