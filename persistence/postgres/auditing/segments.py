"""The chain in segments that processes verify at the same time: each begins with the hash the one before ends with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from persistence.auditing.chain import ChainPlace
from persistence.auditing.continuity import Key, Link
from persistence.auditing.findings import Findings
from persistence.postgres.auditing.reading import AuditReader

SEGMENT_ROWS: Final = 50_000

_CHANGE_AT: Final = "SELECT change_id FROM shard_history WHERE revision >= $1 ORDER BY revision LIMIT 1"


@dataclass(frozen=True, slots=True)
class Segment:
    """The changes after `start`, up to and including that of `last`; null: up to whatever is the last, and every row
    left."""

    start: ChainPlace
    last: ChainPlace | None
    floor: int
    head_hash: bytes


@dataclass(frozen=True, slots=True)
class SegmentVerdict:
    """What a process found. `claims` are what the first row of each shard says was there before the segment, `links`
    what the newest one left; `gaps` where rows are missing. `kept` are the rows up to the floor, as the digest of a
    compaction covers them."""

    end: ChainPlace
    findings: Findings
    changes: int
    rows: int
    claims: dict[Key, Link]
    links: dict[Key, Link]
    gaps: list[tuple[int, int]]
    namespaces: dict[str, int]
    kept: list[bytes]


async def cut(reader: AuditReader, start: ChainPlace, head: ChainPlace, floor: int) -> Sequence[Segment]:
    """Segments of about `SEGMENT_ROWS`. Rows up to the floor are few, and stay together."""
    places = [start]
    for revision in range(max(start.revision, floor) + SEGMENT_ROWS, head.revision, SEGMENT_ROWS):
        change_id = await reader.connection.fetchval(_CHANGE_AT, revision)
        if change_id is None or not places[-1].change_id < change_id - 1 < head.change_id:
            continue
        place = await _place_of(reader, change_id - 1)
        # Tables that were tampered with may say anything here: then the segment before is the longer one.
        if place is not None and places[-1].revision < place.revision <= revision and place.revision >= floor:
            places.append(place)
    ends = [*places[1:], None]
    return [Segment(place, last, floor, head.hash) for place, last in zip(places, ends, strict=True)]


async def _place_of(reader: AuditReader, change_id: int) -> ChainPlace | None:
    """Where a segment begins. Where the stored hash does not follow, the next change tells whether it is to be used."""
    before, change, after = [await reader.change(number) for number in (change_id - 1, change_id, change_id + 1)]
    if change is None:
        return None
    link = change.hash
    if before is not None and after is not None:
        expected = change.link(before.hash)
        if expected != link and after.link(expected) == after.hash:
            link = expected
    return ChainPlace(change_id, change.head_revision, link)
