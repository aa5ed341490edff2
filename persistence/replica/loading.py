"""The table of a replica, loaded slice by slice while writers go on."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from persistence.errors import EpochMismatch
from persistence.model.records import ChangeMark, ShardDiff, StreamPosition
from persistence.model.stream import OmittedRange
from persistence.ports.readers import ShardReader
from persistence.replica.sorted_table import SortedTable

_WATCHED: Final = 10_000
"""Records that the garbage collector may have to look at while they are loaded: two milliseconds."""


async def load(stored: ShardReader, history: SameHistory, most: int) -> tuple[SortedTable, int]:
    """Every shard, and the newest revision that any slice was read at: from there on, with every diff applied that
    came meanwhile, it is the table as of one revision. The diffs must wait for it: one that deletes a shard would miss
    it, if the slice that still has it came later. Raises EpochMismatch, and Full for more than so many shards."""
    table, revision, watched = SortedTable(), 0, 0
    async with aclosing(stored.scan()) as slices:
        async for found in slices:
            revision = found.position.revision
            if not history.read(found.position):
                raise EpochMismatch(history.epoch, found.position.epoch)
            table.put(found.value)
            if len(table) - watched >= _WATCHED:
                watched = len(table)
                _exempt()
            if len(table) > most:
                raise Full
    return table, revision


class Full(Exception):
    """There are more shards than the replica may hold."""


def _exempt() -> None:
    """Exempt what has been loaded from garbage collection: records are part of no cycle, and a walk through a million
    stops every request for half a second. The collector is off while a server imports its other half; then that does
    it."""
    if gc.isenabled():
        gc.collect(1)
        gc.freeze()


class SameHistory:
    """Whether the pages of a table and the feed that brings them up to date are of one history: the database may have
    lost its end between two of them, with neither having seen it. Then they differ in the change of some revision."""

    def __init__(self, begin: StreamPosition) -> None:
        self._begin = begin
        self._passed = {begin.revision: begin.mark}
        self._omitted: list[OmittedRange] = []
        self._read: dict[int, ChangeMark] = {}

    @property
    def epoch(self) -> str:
        return self._begin.epoch

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
