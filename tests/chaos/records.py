"""What took part keeps for the verdict: subscribers what they got, writers what was acknowledged."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.watches import Watch


@dataclass(frozen=True, slots=True)
class Listing:
    """The table as one subscriber read it before it subscribed: how many shards, and the sum of their fingerprints."""

    watch: Watch
    epoch: str
    revision: int
    shards: int
    digest: int


@dataclass(slots=True)
class Segment:
    """What one subscriber got of one epoch, after `start`: sixteen bytes a diff. It has dealt with all up to `end`."""

    epoch: str
    start: int
    end: int
    revisions: array[int] = field(default_factory=lambda: array("q"))
    fingerprints: array[int] = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class Record:
    """All of one subscriber. `complaints` are answers it should never have had, `stuck` says when it got none for too
    long, `mismatches` when its cursor was refused with EPOCH_MISMATCH, on the clock of `time.monotonic`.
    """

    name: str
    watch: Watch
    segments: list[Segment] = field(default_factory=list)
    listings: list[Listing] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    mismatches: list[float] = field(default_factory=list)


class Acknowledged(NamedTuple):
    """One answer to a writer: this change, with so many shards, up to this revision of this epoch."""

    epoch: str
    actor: str
    key: str
    change_id: int
    revision: int
    shards: int


@dataclass(slots=True)
class Ledger:
    """The answers of all writers."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    conflicts: int = 0
    repeated: int = 0
    replayed: int = 0
