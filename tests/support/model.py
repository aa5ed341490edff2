"""What the store promises, computed from its records alone: playing history back, digests, the audit chain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import xor

from persistence.codec import hash_chain as audit
from persistence.codec.encoding import digest_term, format_digest
from persistence.codec.images import image_of
from persistence.codec.json_documents import details_json
from persistence.model.fields import canonical_json
from persistence.model.records import Change, Shard, ShardDiff, ShardKey


def replay(history: Iterable[ShardDiff], table: Mapping[ShardKey, Shard] | None = None) -> dict[ShardKey, Shard]:
    """The table after the rows, which must fit the table before them."""
    shards = dict(table or {})
    for row in history:
        assert shards.get(row.key) == row.previous, f"revision {row.revision} does not follow from what was before"
        if row.current is None:
            del shards[row.key]
        else:
            shards[row.key] = row.current
    return shards


def applied(table: Mapping[ShardKey, Shard], difference: Iterable[ShardDiff]) -> dict[ShardKey, Shard]:
    """The table after a net difference, which must fit it and name each shard once."""
    shards = dict(table)
    named: set[ShardKey] = set()
    for diff in difference:
        assert diff.key not in named
        named.add(diff.key)
        assert shards.pop(diff.key, None) == diff.previous
        assert diff.previous != diff.current
        if diff.current is not None:
            shards[diff.key] = diff.current
    return dict(sorted(shards.items()))


def digest_of(shards: Iterable[Shard]) -> str:
    """The digest a namespace must have that consists of these shards."""
    terms = (digest_term(shard.shard_id, shard.version, shard.checksum) for shard in shards)
    return format_digest(reduce(xor, terms, 0))


def first_broken_link(changes: Sequence[Change], history: Sequence[ShardDiff]) -> int | None:
    """Id of the first change whose hash does not follow from the rows and the hash before; none if all do."""
    link, head = audit.GENESIS, 0
    rows_of = defaultdict(list)
    for row in history:
        rows_of[row.change.id].append(row)
    for number, change in enumerate(changes, 1):
        rows = rows_of[change.id]
        head += len(rows)
        link = audit.chain_hash(link, number, head, len(rows), change.committed_at, _content(change, rows))
        if link.hex() != change.hash:
            return number
    return None


def _content(change: Change, rows: Iterable[ShardDiff]) -> bytes:
    return audit.content_digest(
        change.kind,
        change.actor,
        change.reason,
        change.change_ticket,
        None if change.metadata is None else canonical_json(change.metadata),
        details_json(change.configuration, change.rebalance, change.compaction),
        [row_digest(row) for row in rows],
        change.forced,
    )


def verified_links(changes: Sequence[Change], rows: Iterable[ShardDiff], digests: Sequence[bytes]) -> int:
    """How many changes follow each other: by rows where all of a change's are there, by its content digest else."""
    link, head = audit.GENESIS, 0
    rows_of = defaultdict(list)
    for row in rows:
        rows_of[row.change.id].append(row)
    for number, (change, digest) in enumerate(zip(changes, digests, strict=True), 1):
        head += change.shard_count
        whole = len(rows_of[change.id]) == change.shard_count
        content = _content(change, rows_of[change.id]) if whole else digest
        link = audit.chain_hash(link, number, head, change.shard_count, change.committed_at, content)
        if link.hex() != change.hash:
            return number - 1
    return len(changes)


def row_digest(row: ShardDiff) -> bytes:
    """As the store digests a row."""
    before, after = row.previous, row.current
    return audit.row_digest(
        row.kind,
        image_of(before) if before else None,
        before.revision if before else None,
        before.updated_at if before else None,
        before.created_at if before else None,
        image_of(after) if after else None,
        row.move_reason,
    )
