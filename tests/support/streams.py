"""A change stream made by hand: a server's table at every revision, its pages and its batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import reduce
from itertools import pairwise
from operator import xor
from typing import Final

from graph.client.records import Batch, Claim, Diff, Fingerprint
from persistence.codec.encoding import digest_term, shard_checksum
from persistence.model.records import Shard, ShardKey, ShardStatus

_LONG_AGO: Final = datetime(2026, 1, 31, tzinfo=UTC)


def a_shard(namespace: str, shard_id: str, owner: str = "node-1", version: int = 1, revision: int = 1) -> Shard:
    """With the checksum that its content has."""
    shard = Shard(
        namespace,
        shard_id,
        strategy="rendezvous",
        owner_node_id=owner,
        leader_id=None,
        capacity_hint=1.0,
        locality_hint=None,
        status=ShardStatus.ACTIVE,
        pinned=None,
        change_ticket=None,
        version=version,
        owner_epoch=1,
        checksum="",
        revision=revision,
        created_at=_LONG_AGO,
        updated_at=_LONG_AGO,
    )
    return replace(shard, checksum=shard_checksum(shard.key, shard.content))


@dataclass
class Stream:
    """`diffs` and `tables` by revision: `tables[r]` is what the server holds after `diffs[r - 1]`."""

    diffs: list[Diff] = field(default_factory=list)
    tables: list[Mapping[ShardKey, Shard]] = field(default_factory=lambda: [{}])
    _versions: dict[ShardKey, int] = field(default_factory=dict)

    @property
    def head(self) -> int:
        return len(self.diffs)

    def put(self, namespace: str, shard_id: str, owner: str = "node-1") -> None:
        """Create the shard, or give it an owner."""
        key = ShardKey(namespace, shard_id)
        shard = a_shard(namespace, shard_id, owner, self._next_version(key), self.head + 1)
        self._append(Diff(self.head + 1, namespace, shard_id, shard), {**self.tables[-1], key: shard})

    def delete(self, namespace: str, shard_id: str) -> None:
        key = ShardKey(namespace, shard_id)
        self._next_version(key)
        rest = {held: shard for held, shard in self.tables[-1].items() if held != key}
        self._append(Diff(self.head + 1, namespace, shard_id, None), rest)

    def page(self, revision: int, after: ShardKey | None, size: int) -> list[Shard]:
        """Of the table as it was, in the order of its keys."""
        table = self.tables[revision]
        return [table[key] for key in sorted(table) if after is None or key > after][:size]

    def batches(self, after: int, ends: Sequence[int]) -> list[Batch]:
        """What follows a revision, cut at these."""
        return [self.batch(start, end) for start, end in pairwise([after, *ends])]

    def batch(self, after: int, end: int) -> Batch:
        return Batch(f"c{end}", end, end == self.head, self.diffs[after:end])

    def claim(self, namespace: str, revision: int) -> Claim:
        """The server's claim about the namespace at a revision."""
        shards = [shard for shard in self.tables[revision].values() if shard.namespace == namespace]
        digest = reduce(xor, (digest_term(shard.shard_id, shard.version, shard.checksum) for shard in shards), 0)
        changed = [diff.revision for diff in self.diffs[:revision] if diff.namespace == namespace]
        return Claim(namespace, changed[-1] if changed else 0, Fingerprint(digest, len(shards)))

    def _next_version(self, key: ShardKey) -> int:
        self._versions[key] = self._versions.get(key, 0) + 1
        return self._versions[key]

    def _append(self, diff: Diff, table: Mapping[ShardKey, Shard]) -> None:
        self.diffs.append(diff)
        self.tables.append(table)
