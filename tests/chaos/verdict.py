"""Compares what all clients were sent with history, and names the first difference of each kind of promise. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tests.chaos.history import History, Integers
from tests.chaos.records import Acknowledged, Ledger, Record, Segment


class Flaw(StrEnum):
    MISSING = "missing"
    DOUBLE = "double"
    OUT_OF_ORDER = "out of order"
    ALTERED = "altered"
    UNWANTED = "unwanted"
    STUCK = "stuck"
    REFUSED = "refused"
    UNKNOWN_EPOCH = "unknown epoch"
    HISTORY = "history"
    LOST_WRITE = "lost write"
    UNASKED_WRITE = "unasked write"
    NODE_TABLE = "table of a node"


@dataclass(frozen=True, slots=True)
class Finding:
    flaw: Flaw
    sentence: str

    def __str__(self) -> str:
        return f"{self.flaw}: {self.sentence}"


def judge(records: Sequence[Record], ledger: Ledger, histories: Sequence[History]) -> list[Finding]:
    """Nothing, if every promise was kept. `histories` are those of all epochs, the last one last."""
    by_epoch = {history.epoch: history for history in histories}
    return [
        *_of_history(histories),
        *_of_writes(ledger, histories, by_epoch),
        *(finding for record in records for finding in _of_record(record, by_epoch, histories[-1])),
    ]


def _of_history(histories: Sequence[History]) -> Iterator[Finding]:
    for history in histories:
        for contradiction in [*history.contradictions[:3], *[*history.refuted.values()][:3]]:
            yield Finding(Flaw.HISTORY, f"epoch {history.epoch}: {contradiction}")


def _of_writes(ledger: Ledger, histories: Sequence[History], by_epoch: Mapping[str, History]) -> Iterator[Finding]:
    """Every acknowledged write is in history once, whole; and in the last epoch, nothing else is."""
    for complaint in ledger.complaints:
        yield Finding(Flaw.REFUSED, complaint)
    written = {epoch: {change.id: change for change in history.changes} for epoch, history in by_epoch.items()}
    for acknowledged in ledger.acknowledged:
        change = written.get(acknowledged.epoch, {}).get(acknowledged.change_id)
        found = change and (change.actor, change.key, change.head_revision, change.shards)
        if found != (acknowledged.actor, acknowledged.key, acknowledged.revision, acknowledged.shards):
            yield Finding(Flaw.LOST_WRITE, f"{acknowledged} was acknowledged; history has {change}")
            break
    yield from _of_keys(ledger.acknowledged, histories)


def _of_keys(acknowledged: Sequence[Acknowledged], histories: Sequence[History]) -> Iterator[Finding]:
    for history in histories:
        keys = [(change.actor, change.key) for change in history.changes if change.key is not None]
        if len(keys) != len(set(keys)):
            yield Finding(Flaw.UNASKED_WRITE, f"epoch {history.epoch} has one request as two changes")
    # What was committed before the last restore may have been on its way to be acknowledged when it was undone.
    known = {write.key for write in acknowledged}
    first = min((write.change_id for write in acknowledged if write.epoch == histories[-1].epoch), default=0)
    for change in histories[-1].changes:
        if change.id >= first and change.actor.startswith("writer-") and change.key not in known:
            yield Finding(Flaw.UNASKED_WRITE, f"history has {change}, which nobody was told of")
            return


def _of_record(record: Record, by_epoch: Mapping[str, History], last: History) -> Iterator[Finding]:
    for complaint in record.complaints:
        yield Finding(Flaw.REFUSED, complaint)
    for wait in record.stuck:
        yield Finding(Flaw.STUCK, wait)
    for segment in record.segments:
        history = by_epoch.get(segment.epoch)
        if history is None:
            yield Finding(Flaw.UNKNOWN_EPOCH, f"{record.name} was told of epoch {segment.epoch}; nothing bears it")
        else:
            yield from segment_findings(record, segment, history)
    head = int(last.revisions[-1]) if len(last.revisions) else 0
    end = record.segments[-1] if record.segments else None
    if end is None or (end.epoch, end.end) != (last.epoch, head):
        at = "nowhere" if end is None else f"{end.epoch}/{end.end}"
        yield Finding(Flaw.STUCK, f"{record.name} ended at {at}; the head is {last.epoch}/{head}")


def segment_findings(record: Record, segment: Segment, history: History) -> Iterator[Finding]:
    """Nothing, if it is what history has between its start and its end."""
    start, end = np.searchsorted(history.revisions, [segment.start, segment.end], side="right")
    wanted = history.wanted[record.watch][start:end]
    expected = history.revisions[start:end][wanted]
    got = np.frombuffer(segment.revisions, np.int64) if segment.revisions else np.empty(0, np.int64)
    where = f"{record.name}, epoch {segment.epoch}, after {segment.start}"
    if not np.array_equal(expected, got):
        yield _first_difference(where, expected, got)
        return
    fingerprints = np.frombuffer(segment.fingerprints, np.int64) if segment.fingerprints else got
    altered = np.flatnonzero(history.fingerprints[start:end][wanted] != fingerprints)
    if len(altered):
        yield Finding(Flaw.ALTERED, f"{where}: revision {got[altered[0]]} is not what history has")


def _first_difference(where: str, expected: Integers, got: Integers) -> Finding:
    """What went wrong first, as far as the rest of the record tells."""
    common = min(len(expected), len(got))
    differing = np.flatnonzero(expected[:common] != got[:common])
    place = int(differing[0]) if len(differing) else common
    before = f"after {got[place - 1]}" if place else "first"
    if place == len(got):
        return Finding(Flaw.MISSING, f"{where}: revision {expected[place]} never came {before}")
    came = int(got[place])
    if came in got[:place]:
        return Finding(Flaw.DOUBLE, f"{where}: revision {came} came again {before}")
    if place == len(expected) or came not in expected[place:]:
        return Finding(Flaw.UNWANTED, f"{where}: revision {came} came {before}, and should not have")
    due = int(expected[place])
    if due in got[place:]:
        return Finding(Flaw.OUT_OF_ORDER, f"{where}: revision {came} came {before}, and only then {due}")
    return Finding(Flaw.MISSING, f"{where}: revision {came} came {before}, and {due} never did")
