"""The chain in segments that processes verify at the same time: each begins with the hash the one before ends with.

Verifying one segment: quickly, and where that is not enough with care.

Is a segment of the chain all right? Answered quickly, and without a word about what is not.

Nearly every segment of nearly every log is. Yes is final: looked at row by row, nothing would be found in it. Anything
else means that somebody has to look with care, who can say what is wrong and where (`chain.py`).
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
from persistence.postgres.audit.reader import AuditReader, open_reader

SEGMENT_ROWS: Final = 50_000

_CHANGE_AT: Final = "SELECT change_id FROM shard_history WHERE revision >= $1 ORDER BY revision LIMIT 1"


@dataclass(frozen=True, slots=True)
class Segment:
    """The changes after `start`, up to and including that of `last`; null: up to whatever is the last, and every row
    left."""

    start: ChainPosition
    last: ChainPosition | None
    floor: int
    head_hash: bytes


@dataclass(frozen=True, slots=True)
class SegmentVerdict:
    """What a process found. `claims` are what the first row of each shard says was there before the segment, `links`
    what the newest one left; `gaps` where rows are missing. `kept` are the rows up to the floor, as the digest of a
    compaction covers them."""

    end: ChainPosition
    findings: Findings
    changes: int
    rows: int
    claims: dict[Key, ShardState]
    newest: dict[Key, ShardState]
    gaps: list[tuple[int, int]]
    namespaces: dict[str, int]
    retained: list[bytes]


async def cut(reader: AuditReader, start: ChainPosition, head: ChainPosition, floor: int) -> Sequence[Segment]:
    """Segments of about `SEGMENT_ROWS`. Rows up to the floor are few, and stay together."""
    positions = [start]
    for revision in range(max(start.revision, floor) + SEGMENT_ROWS, head.revision, SEGMENT_ROWS):
        change_id = await reader.connection.fetchval(_CHANGE_AT, revision)
        if change_id is None or not positions[-1].change_id < change_id - 1 < head.change_id:
            continue
        position = await _position_of(reader, change_id - 1)
        # Tables that were tampered with may say anything here: then the segment before is the longer one.
        if (
            position is not None
            and positions[-1].revision < position.revision <= revision
            and position.revision >= floor
        ):
            positions.append(position)
    ends = [*positions[1:], None]
    return [Segment(position, last, floor, head.hash) for position, last in zip(positions, ends, strict=True)]


async def _position_of(reader: AuditReader, change_id: int) -> ChainPosition | None:
    """Where a segment begins. Where the stored hash does not follow, the next change tells whether it is to be used."""
    before, change, after = [await reader.change(number) for number in (change_id - 1, change_id, change_id + 1)]
    if change is None:
        return None
    link = change.hash
    if before is not None and after is not None:
        expected = change.link(before.hash)
        if expected != link and after.link(expected) == after.hash:
            link = expected
    return ChainPosition(change_id, change.head_revision, link)


async def verify_segment(reader: AuditReader, segment: Segment) -> SegmentVerdict:
    return await intact_verdict(reader, segment) or await verify_row_by_row(reader, segment)


async def verify_row_by_row(reader: AuditReader, segment: Segment) -> SegmentVerdict:
    continuity = Continuity(segment.floor)
    verifier = ChainVerifier(segment.start, segment.floor, continuity=continuity)
    rows = reader.rows(segment.start.revision if segment.start.change_id else None)
    changes = reader.changes(segment.start.change_id)
    change = await anext(changes, None)
    while change is not None and (segment.last is None or change.id <= segment.last.change_id):
        following: ChangeEntry | None = await anext(changes, None)
        verifier.end(change, await rows.up_to(verifier.begin(change, following)))
        change = following
    left = await rows.up_to(2**63 - 1) if segment.last is None else []
    verifier.finish(left, change, segment.head_hash)
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


def verify_in_process(url: str, snapshot: str, segment: Segment) -> SegmentVerdict:
    """In a process of its own."""

    async def work() -> SegmentVerdict:
        async with open_reader(url, snapshot) as reader:
            return await verify_segment(reader, segment)

    return asyncio.run(work())


_LOWEST: Final = -(2**63) + 1

_HIGHEST: Final = 2**63 - 1

_BEFORE_NAMESPACE: Final = len('namespace":"')

_BEFORE_SHARD: Final = len('shardId":"')


async def intact_verdict(reader: AuditReader, segment: Segment) -> SegmentVerdict | None:
    """The verdict that all is well; null if it may not be, or if compaction left gaps, which is not for here."""
    start = segment.start
    if start.revision < segment.floor:
        return None
    last = _HIGHEST if segment.last is None else segment.last.revision
    rows = await copied_rows(reader.connection, start.revision + 1, last, None if start.change_id else _LOWEST)
    if rows is None:
        return None
    changes = _Changes(rows, start)
    last_change = _HIGHEST if segment.last is None else segment.last.change_id
    if not await copied_changes(reader.connection, start.change_id, last_change, changes.follow):
        return None
    position = changes.position
    count = position.revision - start.revision
    if count != len(rows.digests) or (segment.last is not None and position[:2] != segment.last[:2]):
        return None
    links = rows.shards.links(changes.times)
    if links is None:
        return None
    # The same names in both, so that each is sent once to another process.
    names = {key: (_namespace(key[0]), key[1][_BEFORE_SHARD:-1].decode()) for key in links}
    claimed = {names[key]: link for key, link in rows.shards.claims.items()}
    left = {names[key]: link for key, link in links.items()}
    return SegmentVerdict(position, Findings(), changes.count, count, claimed, left, [], changes.namespaces, [])


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
    """`namespace":"billing"` says billing. Rows of few namespaces come again and again."""
    return member[_BEFORE_NAMESPACE:-1].decode()
