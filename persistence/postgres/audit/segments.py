"""Is a segment of the chain all right? Answered quickly, and without a word about what is not.

Nearly every segment of nearly every log is. Yes is final: looked at row by row, nothing would be found in it. Anything
else means that somebody has to look with care, who can say what is wrong and where (`chain.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from persistence import audit
from persistence.auditing.chain import ChainPlace, names_what_it_touched
from persistence.auditing.findings import Findings
from persistence.postgres.auditing.reading import AuditReader
from persistence.postgres.auditing.segments import Segment, SegmentVerdict
from persistence.postgres.auditing.wire_changes import WireChange, copied_changes
from persistence.postgres.auditing.wire_rows import WireRows, copied_rows

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
    changes = _Changes(rows, start)
    last_change = _HIGHEST if segment.last is None else segment.last.change_id
    if not await copied_changes(reader.connection, start.change_id, last_change, changes.follow):
        return None
    place = changes.place
    count = place.revision - start.revision
    if count != len(rows.digests) or (segment.last is not None and place[:2] != segment.last[:2]):
        return None
    links = rows.shards.links(changes.times)
    if links is None:
        return None
    # The same names in both, so that each is sent once to another process.
    names = {key: (_namespace(key[0]), key[1][_BEFORE_SHARD:-1].decode()) for key in links}
    claimed = {names[key]: link for key, link in rows.shards.claims.items()}
    left = {names[key]: link for key, link in links.items()}
    return SegmentVerdict(place, Findings(), changes.count, count, claimed, left, [], changes.namespaces, [])


@dataclass(slots=True)
class _Changes:
    """How far the chain has been followed, the newest revision of each namespace that it touched, and when each row
    was committed, in microseconds since 1970."""

    rows: WireRows
    place: ChainPlace
    count: int = 0
    times: list[int] = field(default_factory=list)
    namespaces: dict[str, int] = field(default_factory=dict)

    def follow(self, change: WireChange) -> bool:
        """False unless the change follows from the one before it, and its rows are its own."""
        rows, place = self.rows, self.place
        first = place.revision + 1 - rows.first
        own = slice(first, first + change.shard_count)
        digests = rows.digests[own]
        touched = set(map(_namespace, set(rows.namespaces[own])))
        right = (
            change.id == place.change_id + 1
            and change.shard_count == len(digests) == change.head_revision - place.revision
            and rows.changes[own].count(change.id) == len(digests)
            and set(rows.created[own]) <= {None, change.committed_at}
            and names_what_it_touched(change.namespaces, change.configuration, touched, whole=True)
            and audit.digest_of_change(change.said, digests) == change.content_digest
            and audit.hash_of_place(place.hash, change.place) == change.hash
        )
        if right:
            self.place = ChainPlace(change.id, change.head_revision, change.hash)
            self.namespaces.update(dict.fromkeys(touched, change.head_revision))
            self.times.extend([change.committed_at] * len(digests))
            self.count += 1
        return right


@lru_cache(maxsize=4_096)
def _namespace(member: bytes) -> str:
    """`namespace":"billing"` says billing. Rows of few namespaces come again and again."""
    return member[_BEFORE_NAMESPACE:-1].decode()
