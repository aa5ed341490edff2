"""Values of the change stream: its head and pages, as they are read, and the batches that subscribers get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from persistence.model.records import Change, ChangeMark, Shard, ShardDiff, StreamPosition


@dataclass(frozen=True, slots=True)
class StreamHead:
    """The stream's epoch, its newest revision, and the oldest position that can still be served.

    `mark` is of the change that made the newest revision, `newest` of the newest change, which may have made none and
    was committed at `committed_at`: null before the first one, and where it was not read.
    """

    epoch: str
    revision: int
    floor: int
    mark: ChangeMark
    newest: ChangeMark
    committed_at: datetime | None = field(default=None, compare=False)

    @property
    def position(self) -> StreamPosition:
        return StreamPosition(self.epoch, self.revision, self.mark)


class StreamPage(NamedTuple):
    """Rows of the stream and its head, in one snapshot. `known`: the mark that the page follows is in that history."""

    head: StreamHead
    diffs: Sequence[ShardDiff]
    known: bool


@dataclass(frozen=True, slots=True)
class OmittedRange:
    """Revisions `first` to `last`, which one change made in these namespaces, and which the feed does not hold: its
    subscribers read them from history. `mark` is that change's.

    A subscriber of another namespace skips them at once, however many they are.
    """

    first: int
    last: int
    namespaces: frozenset[str]
    mark: ChangeMark


class ChangedShard(NamedTuple):
    """What one row of history has come to: as much of a ShardDiff as keeping a table takes."""

    revision: int
    namespace: str
    shard_id: str
    current: Shard | None


class CommittedChange(NamedTuple):
    """A change as an item of the stream of changes: what is sent of it as of a diff. Its revision there is its id."""

    change: Change

    @property
    def revision(self) -> int:
        return self.change.id

    def position_in(self, epoch: str) -> StreamPosition:
        """Right after this change."""
        return StreamPosition(epoch, self.change.id, self.change.mark)


@dataclass(frozen=True, slots=True)
class DiffBatch:
    """Diffs in order, and the position they lead to. No diffs: a bookmark. `newest` is the newest revision that was
    known then, `caught_up` whether the position has come to it; the newest change was committed at `committed_at`.
    """

    position: StreamPosition
    diffs: Sequence[ShardDiff]
    caught_up: bool
    newest: int = field(default=0, compare=False)
    committed_at: datetime | None = field(default=None, compare=False)
