"""What this process has committed and its replica has not got yet. Pure: no I/O, no clock.

Whoever wrote through a process and then reads through it must see what was written. The stream brings it a few
milliseconds later; until then exactly those shards are read from the database.
"""

from __future__ import annotations

from collections.abc import Iterable

from persistence.records import ShardKey


class Expectations:
    """Each is met by a revision, and remembered until the newest of all has come."""

    def __init__(self) -> None:
        self._seen = 0
        self._newest = 0
        self._shards: dict[ShardKey, int] = {}
        self._partly: dict[str, int] = {}
        self._wholly: dict[str, int] = {}

    def expect_shards(self, revision: int, keys: Iterable[ShardKey]) -> None:
        """These were changed by a commit that ended at `revision`."""
        for key in keys:
            self._shards[key] = self._partly[key.namespace] = revision
        self._newest = max(self._newest, revision)

    def expect_namespaces(self, revision: int, names: Iterable[str]) -> None:
        """Some shards of these were changed; which, is not known here."""
        for name in names:
            self._wholly[name] = self._partly[name] = revision
        self._newest = max(self._newest, revision)

    def seen(self, revision: int) -> None:
        """The replica has come so far."""
        self._seen = revision
        if revision >= self._newest and self._partly:
            for expected in (self._shards, self._partly, self._wholly):
                expected.clear()

    def of_shard(self, key: ShardKey) -> bool:
        if not self._partly:
            return False
        return max(self._shards.get(key, 0), self._wholly.get(key.namespace, 0)) > self._seen

    def of_namespace(self, name: str | None) -> bool:
        """Of any namespace, without a name."""
        if not self._partly:
            return False
        return (self._newest if name is None else self._partly.get(name, 0)) > self._seen
