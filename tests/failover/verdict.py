"""Holds what clients were sent through promotions against the histories that primaries had. Pure.

Times are those of `time.monotonic`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Final

from tests.chaos.history import History
from tests.chaos.records import Acknowledged, Ledger, Listing, Record, Segment
from tests.chaos.verdict import segment_findings
from tests.failover.history import Branch

WRITES_AGAIN_SECONDS: Final = 15.0
"""After a promotion, the bound that is promised for each server."""


LEFT_BEHIND_SECONDS: Final = 8.0
"""Where the old primary answers as if nothing had happened: a heartbeat, and what the look at other hosts may take."""


class Flaw(StrEnum):
    LOST_WRITE = "lost write"
    DOUBLED_WRITE = "doubled write"
    UNASKED_WRITE = "unasked write"
    HISTORY = "history"
    WRONG_DIFF = "wrong diff"
    WRONG_TABLE = "wrong table"
    TOLD_TOO_EARLY = "told before a standby had it"
    NEEDLESS_MISMATCH = "cursor refused, although nothing was lost"
    KEPT_CURSOR = "lost cursor served"
    SLOW = "slow"
    STUCK = "stuck"
    REFUSED = "refused"
    STALE_READ = "stale read"
    BACKWARDS = "backwards"
    NOTHING_LOST = "nothing lost"
    NOTHING_REPLAYED = "nothing replayed"
    DIED = "server died"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Finding:
    flaw: Flaw
    sentence: str

    def __str__(self) -> str:
        return f"{self.flaw}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Read:
    """An answer of one server, exact at `revision`. `known` is the newest revision that had been acknowledged when it
    was asked for; None where the answer may be older than that.
    """

    server: int
    what: str
    asked_at: float
    answered_at: float
    revision: int
    known: int | None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a subscriber was when the primary that told it died."""

    subscriber: int
    revision: int


@dataclass(frozen=True, slots=True)
class Promotion:
    """One round: what happens from `begun_at` to `over_at` is due to it; at `serves_at` there was a primary again.

    `writes_after` is, for each server, how many seconds later it acknowledged a write; None if it did not. `fork` is
    the last revision that survived, None where nothing was told that did not; `positions` are from then. Where an old
    primary goes on, reads until `fresh_at` may be of it; else that is never.
    """

    name: str
    begun_at: float
    serves_at: float
    over_at: float
    promoted: bool
    writes_after: Sequence[float | None]
    fork: int | None = None
    positions: Sequence[Position] = ()
    fresh_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Told:
    """All that clients were sent."""

    ledger: Ledger
    records: Sequence[Record]
    reads: Sequence[Read]
    listings: Sequence[Listing]


def judge(told: Told, branches: Sequence[Branch], promotions: Sequence[Promotion]) -> list[Finding]:
    """Nothing, if every promise was kept. The last branch is the final history."""
    allowed = [branch for branch in branches if branch.told]
    return [
        *_of_history(branches),
        *_of_writes(told.ledger, allowed),
        *_of_listings([*told.listings, *_listings(told.records)], branches),
        *(finding for record in told.records for finding in _of_record(record, branches)),
        *_of_reads(told.reads, promotions),
        *(finding for promotion in promotions for finding in _of_promotion(promotion, told.records)),
    ]


def mismatches(promotion: Promotion, records: Sequence[Record]) -> int:
    """How many subscribers it cost their cursor."""
    return sum(any(_during(promotion, moment) for moment in record.mismatches) for record in records)


def _during(promotion: Promotion, moment: float) -> bool:
    return promotion.begun_at <= moment < promotion.over_at


def _listings(records: Iterable[Record]) -> Iterator[Listing]:
    return (listing for record in records for listing in record.listings)


def _of_history(branches: Sequence[Branch]) -> Iterator[Finding]:
    for branch in branches:
        for contradiction in branch.history.contradictions[:3]:
            yield Finding(Flaw.HISTORY, contradiction)
        keys = Counter((change.actor, change.key) for change in branch.history.changes if change.key is not None)
        for (actor, key), times in keys.items():
            if times > 1:
                yield Finding(Flaw.DOUBLED_WRITE, f"{actor} asked for {key} once, and history has it {times} times")


def _of_writes(ledger: Ledger, allowed: Sequence[Branch]) -> Iterator[Finding]:
    """What was acknowledged is in the final history, whole, or in one that was lost where losses are allowed."""
    for complaint in ledger.complaints:
        yield Finding(Flaw.REFUSED, complaint)
    written = {
        Acknowledged("", change.actor, change.key or "", change.id, change.head_revision, change.shards)
        for branch in allowed
        for change in branch.history.changes
    }
    missing = [write for write in ledger.acknowledged if write._replace(epoch="") not in written]
    if missing:
        yield Finding(Flaw.LOST_WRITE, f"{len(missing)} acknowledged changes are nowhere, the first is {missing[0]}")
    known = {(write.actor, write.key) for write in ledger.acknowledged}
    for change in allowed[-1].history.changes:
        if change.actor.startswith("writer-") and (change.actor, change.key) not in known:
            yield Finding(Flaw.UNASKED_WRITE, f"history has {change}, which no writer was told of")
            return


def _of_listings(listings: Sequence[Listing], branches: Sequence[Branch]) -> Iterator[Finding]:
    wrong = [listing for listing in listings if not any(_shows(branch, listing) for branch in branches if branch.told)]
    for listing in wrong[:3]:
        if any(_shows(branch, listing) for branch in branches):
            yield Finding(Flaw.TOLD_TOO_EARLY, f"a list at revision {listing.revision} had what no standby had")
        else:
            reason = branches[-1].history.refuted.get(listing, f"the head is {_head(branches[-1].history)}")
            yield Finding(Flaw.WRONG_TABLE, f"a list at revision {listing.revision}: {reason}")


def _shows(branch: Branch, listing: Listing) -> bool:
    return listing.revision <= _head(branch.history) and listing not in branch.history.refuted


def _of_record(record: Record, branches: Sequence[Branch]) -> Iterator[Finding]:
    for complaint in record.complaints:
        yield Finding(Flaw.REFUSED, complaint)
    for wait in record.stuck:
        yield Finding(Flaw.STUCK, wait)
    for segment in record.segments:
        if any(_agrees(record, segment, branch.history) for branch in branches if branch.told):
            continue
        if any(_agrees(record, segment, branch.history) for branch in branches):
            sentence = f"{record.name} was told of all up to revision {segment.end}, which no standby had"
            yield Finding(Flaw.TOLD_TOO_EARLY, sentence)
        else:
            yield Finding(Flaw.WRONG_DIFF, _difference(record, segment, branches[-1].history))
    head = _head(branches[-1].history)
    end = record.segments[-1].end if record.segments else None
    if end != head:
        yield Finding(Flaw.STUCK, f"{record.name} ended at {end}; the head is {head}")


def _agrees(record: Record, segment: Segment, history: History) -> bool:
    return segment.end <= _head(history) and not any(segment_findings(record, segment, history))


def _difference(record: Record, segment: Segment, final: History) -> str:
    for finding in segment_findings(record, segment, final):
        return str(finding)
    return f"{record.name} was told of all up to revision {segment.end}; the head is {_head(final)}"


def _head(history: History) -> int:
    return int(history.revisions[-1]) if len(history.revisions) else 0


def _of_reads(reads: Sequence[Read], promotions: Sequence[Promotion]) -> Iterator[Finding]:
    """Each kind of read of each server goes forwards, save where something was lost."""
    losses = [promotion for promotion in promotions if promotion.fork is not None]
    ordered = sorted(reads, key=lambda read: (read.server, read.what, read.answered_at))
    for (server, what), group in groupby(ordered, lambda read: (read.server, read.what)):
        newest: Read | None = None
        for read in group:
            if any(loss.begun_at <= read.answered_at and read.asked_at < loss.over_at for loss in losses):
                newest = None
                continue
            if newest is not None and read.revision < newest.revision:
                sentence = f"server {server} answered {what} of revision {read.revision} after {newest.revision}"
                yield Finding(Flaw.BACKWARDS, sentence + _when(read, promotions))
            elif read.known is not None and read.revision < read.known and not _of_one_left_behind(read, promotions):
                sentence = f"server {server} answered {what} of revision {read.revision}; {read.known} was acknowledged"
                yield Finding(Flaw.STALE_READ, sentence + _when(read, promotions))
            newest = read


def _of_one_left_behind(read: Read, promotions: Sequence[Promotion]) -> bool:
    return any(promotion.begun_at <= read.asked_at < promotion.fresh_at for promotion in promotions)


def _when(read: Read, promotions: Sequence[Promotion]) -> str:
    for promotion in promotions:
        if _during(promotion, read.answered_at):
            after = read.answered_at - promotion.serves_at
            return f", in round {promotion.name}, {after:+.1f} s from when there was a primary again"
    return ""


def _of_promotion(promotion: Promotion, records: Sequence[Record]) -> Iterator[Finding]:
    for server, seconds in enumerate(promotion.writes_after):
        if seconds is None or seconds > WRITES_AGAIN_SECONDS:
            took = "did not write again" if seconds is None else f"wrote again after {seconds:.1f} s"
            yield Finding(Flaw.SLOW, f"round {promotion.name}: server {server} {took}")
    if promotion.fork is None:
        if lost := mismatches(promotion, records):
            yield Finding(Flaw.NEEDLESS_MISMATCH, f"round {promotion.name}: {lost} of {len(records)} subscribers")
        return
    beyond = [position for position in promotion.positions if position.revision > promotion.fork]
    if not beyond:
        sentence = f"round {promotion.name}: no subscriber was beyond revision {promotion.fork}, so it shows nothing"
        yield Finding(Flaw.NOTHING_LOST, sentence)
    for position in beyond:
        record = records[position.subscriber]
        # With any other answer than EPOCH_MISMATCH it has complained.
        if not record.complaints and not any(_during(promotion, moment) for moment in record.mismatches):
            sentence = f"round {promotion.name}: {record.name} was at {position.revision}, the fork is {promotion.fork}"
            yield Finding(Flaw.KEPT_CURSOR, sentence)
