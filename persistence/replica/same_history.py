"""Whether what a replica is loaded from is of the history that the feed goes on with."""

from __future__ import annotations

from collections.abc import Sequence

from persistence.model.records import ChangeMark, ShardDiff, StreamPosition
from persistence.model.stream import OmittedRange


class SameHistory:
    """Whether the pages of a table and the feed that brings them up to date are of one history: the database may have
    lost its end between two of them, with neither having seen it. Then they differ in the change of some revision."""

    def __init__(self, begin: StreamPosition) -> None:
        self._begin = begin
        self._passed = {begin.revision: begin.mark}
        self._omitted: list[OmittedRange] = []
        self._read: dict[int, ChangeMark] = {}

    def read(self, position: StreamPosition) -> bool:
        """A page was read there. False if that is not where the feed is, or will come to."""
        if position.epoch != self._begin.epoch or position.revision < self._begin.revision:
            return False
        self._read[position.revision] = position.mark
        return self.is_one

    def passed(self, diffs: Sequence[ShardDiff], omitted: OmittedRange | None) -> None:
        """The feed has come by these."""
        self._passed |= {diff.revision: diff.change.mark for diff in diffs}
        if omitted is not None:
            self._omitted.append(omitted)

    @property
    def is_one(self) -> bool:
        """False once they are known to differ."""
        return all(self._of_feed(revision) in {None, mark} for revision, mark in self._read.items())

    def _of_feed(self, revision: int) -> ChangeMark | None:
        """Null while the feed has not come by."""
        known = self._passed.get(revision)
        return known or next((each.mark for each in self._omitted if each.first <= revision <= each.last), None)
