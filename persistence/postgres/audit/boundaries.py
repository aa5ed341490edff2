"""Shards from segment to segment, as `audit/continuity.py` follows them from row to row.

Segments are verified in parallel, so each verdict has the state that the first row of a shard follows from, and the
state after its newest row. From one segment to the next the two must be the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from persistence.audit.continuity import ABSENT, Continuity, Key, ShardState
from persistence.audit.entries import Findings, RowEntry, Table
from persistence.audit.row_images import parsed_images
from persistence.postgres.audit.reader import AuditReader, Mark
from persistence.postgres.audit.segments import SegmentVerdict

_BATCH: Final = 2_000
"""Shards read at a time."""

_UNKNOWN: Final = (None, ABSENT)


@dataclass
class Boundaries:
    """`start`: the revision after which the first segment begins. `newest` has the state of each shard that was
    touched after it: some 400 bytes."""

    start: int
    newest: dict[Key, ShardState] = field(default_factory=dict)
    _firsts: dict[Key, ShardState] = field(default_factory=dict)
    _gaps: list[tuple[int, int]] = field(default_factory=list)
    _suspects: list[tuple[int, int]] = field(default_factory=list)

    def add(self, segment: SegmentVerdict) -> None:
        """Add the next segment."""
        for key, claim in segment.claims.items():
            revision, claimed = claim
            before, state = self.newest.get(key, _UNKNOWN)
            if before is None:
                if self.start or claimed != ABSENT:
                    self._firsts[key] = claim
            elif state != claimed:
                self._suspects.append((before, revision))
        self.newest.update(segment.newest)
        self._gaps += segment.gaps

    async def verify(self, reader: AuditReader, mark: Mark, findings: Findings) -> None:
        """Find the rows that do not follow. Only these are read again, and the newest rows before the start.

        Raises StaleHeads if rows that were there are not any more.
        """
        firsts = iter(self._firsts.items())
        while batch := dict(islice(firsts, _BATCH)):
            self._suspects += await self._breaks_at_the_start(reader, batch)
        suspects = iter(sorted(self._suspects, key=lambda pair: pair[1]))
        while pairs := list(islice(suspects, _BATCH)):
            await self._explain(reader, mark, pairs, findings)

    async def _breaks_at_the_start(self, reader: AuditReader, firsts: dict[Key, ShardState]) -> list[tuple[int, int]]:
        known = Continuity()
        if self.start:
            _record(known, await reader.newest_rows(firsts, self.start))
        newest = known.newest()
        suspects = []
        for key, (revision, claimed) in firsts.items():
            before, state = newest.get(key, (0, ABSENT))
            if state != claimed:
                suspects.append((before, revision))
        return suspects

    async def _explain(
        self, reader: AuditReader, mark: Mark, pairs: Sequence[tuple[int, int]], findings: Findings
    ) -> None:
        """Each pair are a row, 0 for none, and the next one of its shard, which does not follow from it."""
        revisions = {revision for pair in pairs for revision in pair}
        rows = {row.revision: (at, row) for at, row in await reader.rows_at(revisions)}
        await reader.require_current(mark)
        for before, revision in pairs:
            continuity = Continuity(checks_first=True, gaps=self._gaps)
            _record(continuity, [rows[before]] if before else [])
            committed_at, row = rows[revision]
            broken = continuity.add(row, *parsed_images(row), committed_at)
            if broken is not None:
                findings.add(Table.HISTORY, revision, str(broken), *broken.columns)


def _record(continuity: Continuity, rows: Collection[tuple[Any, RowEntry]]) -> None:
    """Rows whose images are none are left out: they are reported where they are verified."""
    for committed_at, row in rows:
        try:
            continuity.record(row, *parsed_images(row), committed_at)
        except (KeyError, TypeError):
            continue
