"""A copy of the shard table, kept up to date by applying the change stream. Pure: no I/O, no clock.

Records carry the revision of their last change, so a copy can be put together from pages that were read at different
times: whatever is newer stays. Once every diff up to the newest page has been applied, it is the table at one revision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from persistence.codec.encoding import digest_term, format_digest, shard_checksum
from persistence.model.records import Shard, ShardDiff

_NONE: Final[Mapping[str, Shard]] = MappingProxyType({})


class ShardTable:
    """Shards by namespace and id. Other threads may read it while one writes to it: each record is replaced whole."""

    def __init__(self) -> None:
        self._namespaces: dict[str, dict[str, Shard]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def namespaces(self) -> Mapping[str, Mapping[str, Shard]]:
        """What there is, by namespace: a live view, also of namespaces that have become empty."""
        return self._namespaces

    def shards(self, namespace: str) -> Mapping[str, Shard]:
        """The shards of one namespace by id: a live view."""
        return self._namespaces.get(namespace, _NONE)

    def get(self, namespace: str, shard_id: str) -> Shard | None:
        return self._namespaces.get(namespace, _NONE).get(shard_id)

    def holds(self, shard: Shard) -> bool:
        """Whether this very object is in the table."""
        return self._namespaces.get(shard.namespace, _NONE).get(shard.shard_id) is shard

    def put(self, shards: Iterable[Shard]) -> None:
        """Take records from a page; those that the table already holds as of a later revision stay."""
        for shard in shards:
            self._put(shard)

    def apply(self, diff: ShardDiff) -> None:
        """Take the next diff of the stream. One that the table already is past changes nothing."""
        if diff.current is not None:
            self._put(diff.current)
        else:
            self.remove(diff.namespace, diff.shard_id, diff.revision)

    def remove(self, namespace: str, shard_id: str, revision: int) -> None:
        """The shard was deleted at this revision; a record of a later one stays."""
        shards = self._namespaces.get(namespace, {})
        held = shards.get(shard_id)
        if held is not None and held.revision < revision:
            del shards[shard_id]
            self._count -= 1
            self._removed(namespace, shard_id)
            self._written(namespace, held, None)

    def digest(self, namespace: str) -> str:
        """The namespace's digest from what the table holds, every checksum worked out anew: 32 hex digits.

        Equal to `Namespace.digest` at the same revision exactly if the copies are equal. A few microseconds a shard.
        """
        value = 0
        for shard in list(self.shards(namespace).values()):
            value ^= digest_term(shard.shard_id, shard.version, shard_checksum(shard.key, shard.content))
        return format_digest(value)

    def _put(self, shard: Shard) -> None:
        shards = self._namespaces.get(shard.namespace)
        if shards is None:
            shards = self._namespaces[shard.namespace] = {}
        held = shards.get(shard.shard_id)
        if held is None:
            self._count += 1
            self._added(shard.namespace, shard.shard_id)
        elif held.revision >= shard.revision:
            return
        shards[shard.shard_id] = shard
        self._written(shard.namespace, held, shard)

    def _added(self, namespace: str, shard_id: str) -> None:
        """For tables that hold more than the records: the table gets a shard that it does not hold."""

    def _removed(self, namespace: str, shard_id: str) -> None:
        """The table has lost a shard."""

    def _written(self, namespace: str, before: Shard | None, after: Shard | None) -> None:
        """A shard of the namespace is another one than before; null for none."""
