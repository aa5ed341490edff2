"""Verifying one segment: quickly, and where that is not enough with care."""

from __future__ import annotations

import asyncio

from persistence.auditing.chain import ChainVerifier
from persistence.auditing.continuity import Continuity
from persistence.auditing.entries import ChangeEntry
from persistence.postgres.auditing.quick import sound
from persistence.postgres.auditing.reading import AuditReader, reading
from persistence.postgres.auditing.segments import Segment, SegmentVerdict


async def verify_segment(reader: AuditReader, segment: Segment) -> SegmentVerdict:
    return await sound(reader, segment) or await verify_with_care(reader, segment)


async def verify_with_care(reader: AuditReader, segment: Segment) -> SegmentVerdict:
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
        verifier.place,
        verifier.findings,
        verifier.changes,
        verifier.rows,
        continuity.claims,
        continuity.links(),
        continuity.gaps,
        verifier.namespaces,
        verifier.kept_rows,
    )


def verify_apart(url: str, snapshot: str, segment: Segment) -> SegmentVerdict:
    """In a process of its own."""

    async def work() -> SegmentVerdict:
        async with reading(url, snapshot) as reader:
            return await verify_segment(reader, segment)

    return asyncio.run(work())
