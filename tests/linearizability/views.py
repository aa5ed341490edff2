"""What is promised, as histories of one shard that must be linearizable. Pure.

The register itself: writes, refusals, and reads of at least the newest revision any client has seen. A read without a
revision, or with one that only its client has seen, may miss what others have written just now, so it is no read of
that register. It is one of a register to which the writes of others may come late: the shard as one server shows it, to
which a write comes by the time that this server acknowledges it; and the shard as one client's session shows it, to
which the client's own writes come by the time they are acknowledged. Of each of these, too, the history must be
linearizable: what a write made is seen at once or later, in the order of the writes, and never unseen again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from tests.linearizability.checker import Operation
from tests.linearizability.journal import Acknowledged, Journal, ReadMode, ReadRecord, Refused, Told, WriteRecord
from tests.linearizability.register import Action, Read, Refusal, Seen, Write, WriteKind

Histories: TypeAlias = Mapping[str, list[Operation[Action]]]
"""By shard."""

Placed: TypeAlias = tuple[str, Operation[Action]]


def of_register(journal: Journal) -> Histories:
    reads = (read for read in journal.reads if read.mode is ReadMode.LATEST)
    return _by_shard([*_entries(journal, lambda _: True), *_refusals(journal), *_read(reads)])


def of_server(journal: Journal, server: int) -> Histories:
    """Every read that it answered, whatever revision was required."""
    writes = _entries(journal, lambda write: write.attempts[-1].server == server)
    return _by_shard([*writes, *_read(read for read in journal.reads if read.server == server)])


def of_session(journal: Journal, client: int) -> Histories:
    """A read of one shard that finds it absent has no revision, so it is none that later reads could be held to."""
    writes = _entries(journal, lambda write: write.client == client)
    reads = (
        read
        for read in journal.reads
        if read.client == client
        and read.mode is not ReadMode.DEFAULT
        and (read.stamp is not None or None not in read.shards.values())
    )
    return _by_shard([*writes, *_read(reads)])


def _entries(journal: Journal, in_time: Callable[[WriteRecord], bool]) -> Iterator[Placed]:
    """Each write once, if it may have happened. Those that were acknowledged `in_time` must have by then."""
    seen = _first_seen(journal)
    for write in journal.writes:
        action = Write(write.kind, write.expected, write.owner)
        if write.kind is WriteKind.CREATE:
            action = replace(action, answer=seen.get((write.shard, write.owner)))
        match write.answer:
            case Acknowledged(told=told):
                yield _placed(
                    write, replace(action, answer=told.seen), write.invoked, write.returned if in_time(write) else None
                )
            case _ if write.unanswered:
                yield _placed(write, action, write.invoked, None)


def _first_seen(journal: Journal) -> Mapping[tuple[str, str | None], Seen]:
    """By shard and owner, the lowest version that any answer showed.

    A creation gives the shard an owner that no other write has, so this is what it made, even if its own answer was
    lost. Without that, each creation that was lost could be any of those that no client has seen, in a history that has
    few reads, and all their combinations would have to be looked at.
    """
    shown = [(shard, told) for read in journal.reads for shard, told in read.shards.items()]
    shown += [(write.shard, write.answer.told) for write in journal.writes if write.answer is not None]
    first: dict[tuple[str, str | None], Seen] = {}
    for shard, told in shown:
        if told is not None:
            key = (shard, told.seen.owner)
            first[key] = min(first.get(key, told.seen), told.seen)
    return first


def _refusals(journal: Journal) -> Iterator[Placed]:
    for write in journal.writes:
        if isinstance(write.answer, Refused):
            last = write.attempts[-1]
            yield _placed(write, Refusal(write.expected, _seen(write.answer.told)), last.sent, last.ended)


def _read(reads: Iterable[ReadRecord]) -> Iterator[Placed]:
    for read in reads:
        for shard, told in read.shards.items():
            of_shard = replace(read, shards={shard: told})
            yield shard, Operation(Read(_seen(told)), read.invoked, read.returned, of_shard)


def _placed(write: WriteRecord, action: Action, invoked: int, returned: int | None) -> Placed:
    return write.shard, Operation(action, invoked, returned, write)


def _seen(told: Told | None) -> Seen | None:
    return None if told is None else told.seen


def _by_shard(placed: Iterable[Placed]) -> Histories:
    histories: dict[str, list[Operation[Action]]] = {}
    for shard, operation in placed:
        histories.setdefault(shard, []).append(operation)
    return histories
