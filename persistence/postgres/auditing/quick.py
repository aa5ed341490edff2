"""Is a segment of the chain all right? Answered quickly, and without a word about what is not.

Nearly every segment of nearly every log is. Yes is final: looked at row by row, nothing would be found in it. Anything
else means that somebody has to look with care, who can say what is wrong and where (`chain.py`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from persistence.auditing.chain import ChainPlace, names_what_it_touched
from persistence.auditing.entries import ChangeEntry
from persistence.auditing.findings import Findings
from persistence.encoding import microseconds
from persistence.postgres.auditing.reading import AuditReader
from persistence.postgres.auditing.segments import Segment, SegmentVerdict
from persistence.postgres.auditing.wire import WireRows, copied_rows

_LOWEST: Final = -(2**63) + 1
_HIGHEST: Final = 2**63 - 1
_BEFORE_NAMESPACE: Final = len('namespace":"')
_BEFORE_SHARD: Final = len('shardId":"')


async def sound(reader: AuditReader, segment: Segment) -> SegmentVerdict | None:
    """The verdict that all is well; null if it may not be, or if compaction left gaps, which is not for here."""
    start = segment.start
    if start.revision < segment.floor:
        return None
    last = _HIGHEST if segment.last is None else segment.last.revision
    rows = await copied_rows(reader.connection, start.revision + 1, last, None if start.change_id else _LOWEST)
    if rows is None:
        return None
    place, changes, namespaces = start, 0, dict[str, int]()
    async for change in reader.changes(start.change_id):
        touched = _touched(change, place, rows)
        if touched is None:
            return None
        place = ChainPlace(change.id, change.head_revision, change.hash)
        namespaces.update(dict.fromkeys(touched, place.revision))
        changes += 1
        if segment.last is not None and change.id >= segment.last.change_id:
            break
    count = place.revision - start.revision
    if count != len(rows.digests) or (segment.last is not None and place[:2] != segment.last[:2]):
        return None
    shards = {
        (_namespace(namespace), shard[_BEFORE_SHARD:-1].decode()): revision
        for (namespace, shard), revision in rows.shards.items()
    }
    return SegmentVerdict(place, Findings(), changes, count, shards, namespaces, [])


def _touched(change: ChangeEntry, place: ChainPlace, rows: WireRows) -> set[str] | None:
    """The namespaces of its rows, if the change follows from the place before it, and its rows are its own."""
    first = place.revision + 1 - rows.first
    own = slice(first, first + change.shard_count)
    digests = rows.digests[own]
    touched = set(map(_namespace, set(rows.namespaces[own])))
    right = (
        change.id == place.change_id + 1
        and change.shard_count == len(digests) == change.head_revision - place.revision
        and rows.changes[own].count(change.id) == len(digests)
        and set(rows.created[own]) <= {None, microseconds(change.committed_at)}
        and names_what_it_touched(change, touched, whole=True)
        and change.content(digests) == change.content_digest
        and change.link(place.hash) == change.hash
    )
    return touched if right else None


@lru_cache(maxsize=4_096)
def _namespace(member: bytes) -> str:
    """`namespace":"billing"` says billing. Rows of few namespaces come again and again."""
    return member[_BEFORE_NAMESPACE:-1].decode()
