"""The chain in segments, which processes verify in parallel: each begins with the hash that the one before ends with.

Nearly every segment of nearly every log is intact, and that is found on a fast path (`binary_copy.py`). Its verdict is
final: row by row, nothing would be found. Any other segment is verified row by row, which names what is wrong and
where (`audit/chain.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from persistence.audit.chain import ChainPosition, ChainVerifier, namespaces_match
from persistence.audit.continuity import Continuity, Key, ShardState
from persistence.audit.entries import ChangeEntry, Findings
from persistence.codec import hash_chain
from persistence.postgres.audit.binary_copy import WireChange, WireRows, copied_changes, copied_rows
from persistence.postgres.audit.reader import NO_BOUND, AuditReader, Mark, Newest, open_reader

SEGMENT_ROWS: Final = 50_000

_CHANGE_AT: Final = "SELECT change_id FROM shard_history WHERE revision >= $1 ORDER BY revision LIMIT 1"

_LOWEST: Final = -(2**63) + 1

_BEFORE_NAMESPACE: Final = len('namespace":"')

_BEFORE_SHARD: Final = len('shardId":"')


@dataclass(frozen=True, slots=True)
class Segment:
    """The changes after `start`, up to and including that of `last`; null: up to the newest, with every row left.

    `newest` are the highest numbers there were when the heads were read: what was written since is left out.
    """

    start: ChainPosition
    last: ChainPosition | None
    floor: int
    head_hash: bytes
    newest: Newest = NO_BOUND

    @property
    def last_change(self) -> int:
        return self.newest.change_id if self.last is None else self.last.change_id

    @property
    def last_revision(self) -> int:
        return self.newest.revision if self.last is None else self.last.revision


@dataclass(frozen=True, slots=True)
class SegmentVerdict:
    """What was found. `claims` are the states that the first row of each shard follows from, `newest` those after its
    newest row; `gaps` where rows are missing. `retained` are the rows up to the floor, as the digest of a compaction
    covers them."""

    end: ChainPosition
    findings: Findings
    changes: int
    rows: int
    claims: dict[Key, ShardState]
    newest: dict[Key, ShardState]
    gaps: list[tuple[int, int]]
    namespaces: dict[str, int]
    retained: list[bytes]


async def cut(
    reader: AuditReader, start: ChainPosition, head: ChainPosition, floor: int, newest: Newest = NO_BOUND
) -> Sequence[Segment]:
    """Segments of about `SEGMENT_ROWS`. Rows up to the floor are few, and stay together."""
    positions = [start]
    for revision in range(max(start.revision, floor) + SEGMENT_ROWS, head.revision, SEGMENT_ROWS):
        change_id = await reader.connection.fetchval(_CHANGE_AT, revision)
        if change_id is None or not positions[-1].change_id < change_id - 1 < head.change_id:
            continue
        position = await _position_of(reader, change_id - 1)
        # In tables that were tampered with anything may stand here: then the segment before is the longer one.
        if (
            position is not None
            and positions[-1].revision < position.revision <= revision
            and position.revision >= floor
        ):
            positions.append(position)
    ends = [*positions[1:], None]
    return [Segment(position, last, floor, head.hash, newest) for position, last in zip(positions, ends, strict=True)]


async def _position_of(reader: AuditReader, change_id: int) -> ChainPosition | None:
    """Where a segment begins. If the stored hash does not follow, but the next change follows from the hash that would,
    that one is used."""
    before, change, after = [await reader.change(number) for number in (change_id - 1, change_id, change_id + 1)]
    if change is None:
        return None
    link = change.hash
    if before is not None and after is not None:
        expected = change.link(before.hash)
        if expected != link and after.link(expected) == after.hash:
            link = expected
    return ChainPosition(change_id, change.head_revision, link)


async def verify_segment(reader: AuditReader, mark: Mark, segment: Segment) -> SegmentVerdict:
    """On the fast path, and row by row where that does not suffice. Raises StaleHeads."""
    verdict = await intact_verdict(reader, segment)
    if verdict is None:
        # Nothing is wrong with a segment that a compaction has emptied.
        await reader.require_current(mark)
        verdict = await verify_row_by_row(reader, segment)
        await reader.require_current(mark)
    return verdict


def verify_in_process(url: str, mark: Mark, segment: Segment) -> SegmentVerdict:
    """`verify_segment` in a worker process, which reads what another connection has marked."""

    async def work() -> SegmentVerdict:
        async with open_reader(url, mark) as reader:
            return await verify_segment(reader, mark, segment)

    return asyncio.run(work())


async def verify_row_by_row(reader: AuditReader, segment: Segment) -> SegmentVerdict:
    """With all findings."""
    continuity = Continuity(segment.floor)
    verifier = ChainVerifier(segment.start, segment.floor, continuity=continuity)
    rows = reader.rows(segment.start.revision if segment.start.change_id else None, segment.newest.revision)
    changes = reader.changes(segment.start.change_id, segment.newest.change_id)
    change = await anext(changes, None)
    while change is not None and change.id <= segment.last_change:
        following: ChangeEntry | None = await anext(changes, None)
        verifier.end(change, await rows.up_to(verifier.begin(change, following)))
        change = following
    rest = await rows.up_to(segment.newest.revision) if segment.last is None else []
    verifier.finish(rest, change, segment.head_hash)
    return SegmentVerdict(
        verifier.position,
        verifier.findings,
        verifier.changes,
        verifier.rows,
        continuity.claims,
        continuity.newest(),
        continuity.gaps,
        verifier.namespaces,
        verifier.retained_rows,
    )


async def intact_verdict(reader: AuditReader, segment: Segment) -> SegmentVerdict | None:
    """The verdict that the segment is intact; null if it may not be, and where compaction left gaps."""
    start = segment.start
    if start.revision < segment.floor:
        return None
    lowest = None if start.change_id else _LOWEST
    rows = await copied_rows(reader.connection, start.revision + 1, segment.last_revision, lowest)
    if rows is None:
        return None
    changes = _Changes(rows, start)
    if not await copied_changes(reader.connection, start.change_id, segment.last_change, changes.follow):
        return None
    position = changes.position
    count = position.revision - start.revision
    if count != len(rows.digests) or (segment.last is not None and position[:2] != segment.last[:2]):
        return None
    newest = rows.shards.newest(changes.times)
    if newest is None:
        return None
    # The same objects in both, so that each name is sent once from a worker process.
    names = {key: (_namespace(key[0]), key[1][_BEFORE_SHARD:-1].decode()) for key in newest}
    claims = {names[key]: state for key, state in rows.shards.claims.items()}
    newest_states = {names[key]: state for key, state in newest.items()}
    return SegmentVerdict(position, Findings(), changes.count, count, claims, newest_states, [], changes.namespaces, [])


@dataclass(slots=True)
class _Changes:
    """How far the chain has been followed, the newest revision of each namespace that it touched, and when each row
    was committed, in microseconds since 1970."""

    rows: WireRows
    position: ChainPosition
    count: int = 0
    times: list[int] = field(default_factory=list)
    namespaces: dict[str, int] = field(default_factory=dict)

    def follow(self, change: WireChange) -> bool:
        """False unless the change follows from the one before it, and its rows are its own."""
        rows, position = self.rows, self.position
        first = position.revision + 1 - rows.first
        own = slice(first, first + change.shard_count)
        digests = rows.digests[own]
        touched = set(map(_namespace, set(rows.namespaces[own])))
        right = (
            change.id == position.change_id + 1
            and change.shard_count == len(digests) == change.head_revision - position.revision
            and rows.changes[own].count(change.id) == len(digests)
            and set(rows.created[own]) <= {None, change.committed_at}
            and namespaces_match(change.namespaces, change.configuration, touched, complete=True)
            and hash_chain.digest_of_change(change.header, digests) == change.content_digest
            and hash_chain.hash_of_position(position.hash, change.position) == change.hash
        )
        if right:
            self.position = ChainPosition(change.id, change.head_revision, change.hash)
            self.namespaces.update(dict.fromkeys(touched, change.head_revision))
            self.times.extend([change.committed_at] * len(digests))
            self.count += 1
        return right


@lru_cache(maxsize=4_096)
def _namespace(member: bytes) -> str:
    """`namespace":"billing"` names billing. The rows are of few namespaces."""
    return member[_BEFORE_NAMESPACE:-1].decode()
