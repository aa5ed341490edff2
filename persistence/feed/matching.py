"""What each filter wants of a stretch of the stream: worked out once, however many subscribers share the filter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from persistence.ports import DiffFilter
from persistence.records import ChangeMark, ShardDiff

_REMEMBERED: Final = 256
"""Stretches. Subscribers who keep up ask for the newest one only, each filter once."""

_EVERYTHING: Final = DiffFilter()


class Matching:
    """For diffs of one stream; made anew when that is replaced."""

    def __init__(self) -> None:
        self._wanted: OrderedDict[tuple[DiffFilter, int, int, ChangeMark], Sequence[ShardDiff]] = OrderedDict()

    def wanted(self, where: DiffFilter, diffs: Sequence[ShardDiff]) -> Sequence[ShardDiff]:
        """Those of a gapless stretch that the filter matches, in order."""
        if not diffs or where == _EVERYTHING:
            return diffs
        # Revisions alone do not tell a stretch from one that took its place in a failover.
        key = (where, diffs[0].revision, diffs[-1].revision, diffs[-1].change.mark)
        wanted = self._wanted.get(key)
        if wanted is None:
            wanted = self._wanted[key] = [diff for diff in diffs if where.matches(diff)]
            if len(self._wanted) > _REMEMBERED:
                self._wanted.popitem(last=False)
        return wanted
