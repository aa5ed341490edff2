"""Compaction, as a function from the tables before to the tables after."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import TypeVar

from persistence.codec import hash_chain
from persistence.codec.images import image_of
from persistence.commands.command import ChangeRequest
from persistence.commands.write_set import WriteSet
from persistence.errors import FutureCursor
from persistence.model.outcomes import Committed, ShardsChanged
from persistence.model.records import AsOf, ChangeKind, Compaction, ShardDiff
from persistence.ports.writes import Forecast, HistoryCompacted
from tests.reference.commit import committed
from tests.reference.tables import Memory, Tables

K = TypeVar("K")


class MemoryRetention:
    """Retention."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def foresee(self, before: AsOf) -> Forecast:
        tables = self._memory.tables
        revision = tables.revision_at(before.time) if before.time is not None else before.revision or 0
        _require_past(tables, revision)
        if revision <= tables.floor:
            return Forecast(revision, tables.floor, 0, 0)
        rows, kept = tables.between(0, revision), _newest(tables, revision)
        return Forecast(revision, tables.floor, len(rows) - len(kept), len(kept))

    async def compact(self, floor: int, change: ChangeRequest) -> HistoryCompacted | None:
        change.validate()
        tables = self._memory.tables
        _require_past(tables, floor)
        if floor <= tables.floor:
            return None
        kept = _newest(tables, floor)
        removed = len(tables.between(0, floor)) - len(kept)
        digest = hash_chain.compacted_digest(map(_kept_row, kept)).hex()
        compaction = Compaction(floor, tables.floor, removed, len(kept), digest)
        write_set = WriteSet(ChangeKind.COMPACT_HISTORY, change, None, (), compaction=compaction)
        after, _ = committed(_compacted(tables, floor, kept), write_set, self._memory.clock())
        self._memory.publish(after)
        return HistoryCompacted(after.changes[-1], compaction, 0)


def _require_past(tables: Tables, revision: int) -> None:
    if revision > tables.revision:
        raise FutureCursor(revision, tables.revision)


def _newest(tables: Tables, revision: int) -> Sequence[ShardDiff]:
    """The newest row of each shard, up to a revision."""
    newest = {row.key: row for row in tables.between(0, revision)}
    return sorted(newest.values(), key=attrgetter("revision"))


def _compacted(tables: Tables, floor: int, kept: Sequence[ShardDiff]) -> Tables:
    history = (*kept, *tables.between(floor, tables.revision))
    answers = _answers(tables.answers, {row.revision for row in history})
    return replace(tables, floor=floor, history=history, answers=answers)


def _answers(
    answers: Mapping[K, tuple[bytes, Committed]], revisions: Collection[int]
) -> Mapping[K, tuple[bytes, Committed]]:
    """Answered again, it has only the shards that history still has."""
    return {key: (digest, _retold(answer, revisions)) for key, (digest, answer) in answers.items()}


def _retold(answer: Committed, revisions: Collection[int]) -> Committed:
    if not isinstance(answer, ShardsChanged):
        return answer
    last = answer.change.last_revision or 0
    numbered = enumerate(answer.shards, last - len(answer.shards) + 1)
    return replace(answer, shards=tuple(shard for revision, shard in numbered if revision in revisions))


def _kept_row(row: ShardDiff) -> bytes:
    before, after = row.previous, row.current
    digest = hash_chain.row_digest(
        row.kind,
        image_of(before) if before else None,
        before.revision if before else None,
        before.updated_at if before else None,
        before.created_at if before else None,
        image_of(after) if after else None,
        row.move_reason,
    )
    return hash_chain.compacted_row(row.revision, row.change.id, digest)
