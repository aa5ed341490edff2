"""`omnirelay` with a feed that breaks one promise, for the test that the harness notices: MUTATION, then the command.

Broken is what the feed hands to its subscribers, past the guards inside it: a gap in the ring, say, would be refused.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from enum import StrEnum
from typing import Final, TypeAlias

import graph.cli
from persistence.feed.live import LiveFeed
from persistence.model.queries import DiffFilter
from persistence.model.records import NO_CHANGE, StreamPosition
from persistence.model.stream import DiffBatch

Batches: TypeAlias = AsyncGenerator[DiffBatch, None]
Follow: TypeAlias = Callable[[LiveFeed, StreamPosition, DiffFilter], Batches]


class Mutation(StrEnum):
    SKIP_REVISION = "skip-revision"
    SWAP_TWO = "swap-two"
    DOUBLE_BATCH = "double-batch"
    DROP_CATCH_UP = "drop-catch-up"
    RESUME_LATE = "resume-late"
    RESUME_EARLY = "resume-early"
    IGNORE_DEPARTURES = "ignore-departures"
    MIX_UP = "mix-up"


def _changed(follow: Follow, change: Callable[[DiffBatch, DiffFilter], list[DiffBatch]]) -> Follow:
    """Each batch becomes what `change` makes of it."""

    async def mutated(feed: LiveFeed, begin: StreamPosition, where: DiffFilter) -> Batches:
        async with aclosing(follow(feed, begin, where)) as batches:
            async for batch in batches:
                for changed in change(batch, where):
                    yield changed

    return mutated


def _moved(follow: Follow, move: Callable[[LiveFeed, StreamPosition], StreamPosition]) -> Follow:
    """A subscriber begins elsewhere than it requested."""

    def mutated(feed: LiveFeed, begin: StreamPosition, where: DiffFilter) -> Batches:
        return follow(feed, move(feed, begin), where)

    return mutated


def _skip(batch: DiffBatch, _: DiffFilter) -> list[DiffBatch]:
    return [replace(batch, diffs=[diff for diff in batch.diffs if diff.revision % 97])]


def _swap(batch: DiffBatch, _: DiffFilter) -> list[DiffBatch]:
    first, rest = batch.diffs[:2], batch.diffs[2:]
    return [replace(batch, diffs=[*reversed(first), *rest])]


def _double(batch: DiffBatch, _: DiffFilter) -> list[DiffBatch]:
    return [batch] * (2 if batch.position.revision % 5 == 0 else 1)


def _stay(batch: DiffBatch, where: DiffFilter) -> list[DiffBatch]:
    """A shard that no longer matches is gone without a word."""
    kept = [diff for diff in batch.diffs if diff.current is None or where.shards.matches(diff.current)]
    return [replace(batch, diffs=kept)]


def _mix(batch: DiffBatch, _: DiffFilter) -> list[DiffBatch]:
    """Each update shows the shard before as the shard after."""
    return [replace(batch, diffs=[replace(diff, current=diff.previous or diff.current) for diff in batch.diffs])]


def _late(feed: LiveFeed, begin: StreamPosition) -> StreamPosition:
    return _at(max(begin.revision, min(begin.revision + 1, feed.position.revision)), feed, begin)


def _early(feed: LiveFeed, begin: StreamPosition) -> StreamPosition:
    return _at(max(begin.revision - 1, 0), feed, begin)


def _at(revision: int, feed: LiveFeed, begin: StreamPosition) -> StreamPosition:
    """With the change that the feed has for the revision, for any other would be noticed; else where it begins."""
    mark = feed._tailer.ring.mark_at(revision) if revision else NO_CHANGE  # noqa: SLF001 - it is to go wrong inside
    return begin if mark is None else StreamPosition(begin.epoch, revision, mark)


_MUTATED: Final[dict[Mutation, Callable[[Follow], Follow]]] = {
    Mutation.SKIP_REVISION: lambda follow: _changed(follow, _skip),
    Mutation.SWAP_TWO: lambda follow: _changed(follow, _swap),
    Mutation.DOUBLE_BATCH: lambda follow: _changed(follow, _double),
    Mutation.IGNORE_DEPARTURES: lambda follow: _changed(follow, _stay),
    Mutation.MIX_UP: lambda follow: _changed(follow, _mix),
    Mutation.DROP_CATCH_UP: lambda follow: _moved(follow, lambda feed, _begin: feed.position),
    Mutation.RESUME_LATE: lambda follow: _moved(follow, _late),
    Mutation.RESUME_EARLY: lambda follow: _moved(follow, _early),
}


def program(mutation: Mutation) -> tuple[str, ...]:
    """What to fork, before the command's own arguments."""
    return (__name__, mutation)


def main() -> None:
    mutate = _MUTATED[Mutation(sys.argv.pop(1))]
    LiveFeed.follow = mutate(LiveFeed.follow)  # type: ignore[method-assign, assignment] # what it is for
    graph.cli.main()
