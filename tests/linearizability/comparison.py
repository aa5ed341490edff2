"""Holds what clients were told against history, which has every write in the order they took effect in. Pure.

Revisions make it exact where the search for a linearization can only say that there is none: which answer it was.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Final

from tests.linearizability.history import FOREVER, History, contradictions
from tests.linearizability.journal import Acknowledged, Journal, ReadRecord, Told, WriteRecord
from tests.linearizability.register import WriteKind

_ANY: Final = ""
"""Stands for all shards."""


class Flaw(StrEnum):
    NOT_LINEARIZABLE = "not linearizable"
    SERVER_VIEW = "not what one server may show"
    SESSION_VIEW = "not what one session may see"
    LOST_WRITE = "lost write"
    DOUBLE_WRITE = "double write"
    UNASKED_WRITE = "unasked write"
    UNTRUE_ERROR = "untrue error"
    UNTRUE_REFUSAL = "untrue refusal"
    ORDER = "order"
    STAMP = "stamp"
    STALE = "stale"
    NEVER_SO = "never so"
    WENT_BACK = "went back"
    HISTORY = "history"
    COMPLAINT = "complaint"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Finding:
    flaw: Flaw
    sentence: str

    def __str__(self) -> str:
        return f"{self.flaw}: {self.sentence}"


def compare(journal: Journal, history: History) -> Iterator[Finding]:
    """Nothing, if every promise was kept."""
    for contradiction in contradictions(history.rows):
        yield Finding(Flaw.HISTORY, contradiction)
    yield from _writes(journal, history)
    yield from _errors(journal, history)
    yield from _order(journal, history)
    bounds = _Bounds(journal, history)
    yield from _refusals(journal, history, bounds)
    yield from _reads(journal, history, bounds)
    yield from _servers(journal, history, bounds)


def _writes(journal: Journal, history: History) -> Iterator[Finding]:
    """Every acknowledged write is in history once, as it was told, and there is nothing that no client asked for."""
    asked = {write.key: write for write in journal.writes}
    for key, rows in history.by_key.items():
        if key not in asked:
            yield Finding(Flaw.UNASKED_WRITE, f"nobody asked for {rows[0]}")
        elif len(rows) > 1:
            yield Finding(Flaw.DOUBLE_WRITE, f"{asked[key]}; history has {rows}")
    for row in history.rows:
        if row.key is None:
            yield Finding(Flaw.UNASKED_WRITE, f"nobody asked for {row}")
    for write, answer in journal.acknowledged():
        if write.key not in history.by_key:
            yield Finding(Flaw.LOST_WRITE, f"{write}; history does not have it")
            continue
        row = history.by_key[write.key][0]
        told = Told(row.before, answer.told.revision) if write.kind is WriteKind.DELETE and row.before else row.told
        if (answer.change_id, answer.revision, answer.told) != (row.change_id, row.revision, told):
            yield Finding(Flaw.LOST_WRITE, f"{write}; history has {row}")


def _errors(journal: Journal, history: History) -> Iterator[Finding]:
    """Where every attempt was answered with an error that says that nothing was written, nothing was."""
    for write in journal.writes:
        if write.answer is None and not write.unanswered and write.key in history.by_key:
            yield Finding(Flaw.UNTRUE_ERROR, f"{write}; history has {history.by_key[write.key]}")


def _order(journal: Journal, history: History) -> Iterator[Finding]:
    """One order for all shards: what was asked for after an acknowledgement has a higher revision."""
    known = _Newest((_ANY, write.returned, answer.revision) for write, answer in journal.acknowledged())
    for write in journal.writes:
        for row in history.by_key.get(write.key, ()):
            before = known(_ANY, write.invoked)
            if row.revision <= before:
                yield Finding(Flaw.ORDER, f"{write} has revision {row.revision}; {before} had been told before")


class _Bounds:
    """Between which revisions an answer must lie, by what was known before it was sent, and had begun by then."""

    def __init__(self, journal: Journal, history: History) -> None:
        rows = [(write.invoked, row.revision) for write in journal.writes for row in history.by_key.get(write.key, ())]
        rows.sort()
        self._invoked = [invoked for invoked, _ in rows]
        # The lowest revision of each and of all that were invoked later.
        self._lowest = [*accumulate(reversed([revision for _, revision in rows]), min)][::-1]

    def most(self, returned: int) -> int:
        """What was sent after an answer came cannot be in it."""
        place = bisect_left(self._invoked, returned)
        return FOREVER if place == len(self._lowest) else self._lowest[place] - 1


class _Newest:
    """The highest revision of a shard that had been answered before a time, by (shard, time, revision)."""

    def __init__(self, told: Iterable[tuple[str, int, int]]) -> None:
        self._moments: dict[str, list[int]] = {}
        self._highest: dict[str, list[int]] = {}
        for shard, moment, revision in sorted(told, key=lambda each: each[1]):
            highest = self._highest.setdefault(shard, [0])
            highest.append(max(highest[-1], revision))
            self._moments.setdefault(shard, []).append(moment)

    def __call__(self, shard: str, before: int) -> int:
        return self._highest.get(shard, [0])[bisect_left(self._moments.get(shard, []), before)]


def _refusals(journal: Journal, history: History, bounds: _Bounds) -> Iterator[Finding]:
    """The shard was as told at some point between request and answer, and the request was not committed by then."""
    known = _newest_by_shard(journal.acknowledged())
    for write, refused in journal.refused():
        last = write.attempts[-1]
        most = bounds.most(last.ended)
        made = history.by_key.get(write.key)
        if made and not write.unanswered:
            yield Finding(Flaw.UNTRUE_REFUSAL, f"{write}; history has {made}")
        elif made:
            most = min(most, made[0].revision - 1)
        if history.place(write.shard, refused.told, known(write.shard, last.sent), most) is None:
            yield Finding(Flaw.UNTRUE_REFUSAL, f"{write}; {_was(history, write.shard, known(write.shard, last.sent))}")


def _reads(journal: Journal, history: History, bounds: _Bounds) -> Iterator[Finding]:
    """No older than was required, no newer than the answer, and, with a stamp, exact at it."""
    for read in journal.reads:
        least, most = read.at_least or 0, bounds.most(read.returned)
        if read.stamp is not None:
            if not least <= read.stamp <= most:
                yield Finding(Flaw.STALE if read.stamp < least else Flaw.NEVER_SO, str(read))
            for shard, told in read.shards.items():
                if (was := history.at(shard, read.stamp)).told != told:
                    yield Finding(Flaw.STAMP, f"{read}; at that revision {shard} was {was.told or 'absent'}")
        for shard, told in read.shards.items():
            if history.place(shard, told, 0, most) is None:
                yield Finding(Flaw.NEVER_SO, f"{read}; {shard} had not been so by then")
            elif history.place(shard, told, least, most) is None:
                yield Finding(Flaw.STALE, f"{read}; {_was(history, shard, least)}")


def _servers(journal: Journal, history: History, bounds: _Bounds) -> Iterator[Finding]:
    """What a server shows of a shard has what this server acknowledged, and is no older than what it showed before.

    Each answer is taken to be as old as it can be: if that leads to no contradiction, there is none.
    """
    by_server: dict[int, list[ReadRecord]] = {}
    for read in journal.reads:
        by_server.setdefault(read.server, []).append(read)
    for server, reads in by_server.items():
        own = ((write, answer) for write, answer in journal.acknowledged() if write.attempts[-1].server == server)
        acknowledged = _newest_by_shard(own)
        shown: dict[str, list[tuple[int, int, ReadRecord]]] = {}
        for read in sorted(reads, key=lambda each: each.invoked):
            for shard, told in read.shards.items():
                before = [each for each in shown.get(shard, ()) if each[0] < read.invoked]
                newest = max(before, key=lambda each: each[1], default=None)
                least = max(acknowledged(shard, read.invoked), 0 if newest is None else newest[1])
                place = history.place(shard, told, least, bounds.most(read.returned))
                if place is None and history.place(shard, told, 0, bounds.most(read.returned)) is not None:
                    because = f"before that, {newest[2]}" if newest and newest[1] == least else "it had acknowledged it"
                    yield Finding(Flaw.WENT_BACK, f"{read}; {_was(history, shard, least)}; {because}")
                # Who returned before the newest did, and showed less, says nothing more.
                keep = [each for each in shown.get(shard, ()) if each[0] >= read.invoked or each is newest]
                shown[shard] = [*keep, (read.returned, max(place or 0, least), read)]


def _was(history: History, shard: str, revision: int) -> str:
    return f"at revision {revision} {shard} was {history.at(shard, revision).told or 'absent'}"


def _newest_by_shard(acknowledged: Iterable[tuple[WriteRecord, Acknowledged]]) -> _Newest:
    return _Newest((write.shard, write.returned, answer.revision) for write, answer in acknowledged)
