"""Working out a rollback from a store: which changes, what they did, and what is there now."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final, Protocol

from persistence.commands.plans import RollbackTarget
from persistence.errors import Compacted, FieldError, FutureCursor, InvalidArgument
from persistence.model.fields import MAX_FILTER_VALUES
from persistence.model.outcomes import NotFound
from persistence.model.paging import PageRequest
from persistence.model.queries import ChangeFilter, ShardFilter
from persistence.model.records import Change, Shard, ShardDiff, ShardKey
from persistence.planning.proposal import Proposal, Rollback
from persistence.planning.rollback import compensating_moves
from persistence.ports.feed import ChangeStream
from persistence.ports.readers import ChangeReader, PlacementReader, ShardReader
from persistence.ports.writes import UnitOfWorkFactory
from strategies.registry import Registry

MAX_ROWS: Final = 100_000
"""Rows of history that one rollback is worked out from."""

_PAGE: Final = 1_000


class Past(Protocol):
    """The part of a store that rollbacks are worked out from."""

    @property
    def placement(self) -> PlacementReader: ...

    @property
    def shards(self) -> ShardReader: ...

    @property
    def changes(self) -> ChangeReader: ...

    @property
    def stream(self) -> ChangeStream: ...

    @property
    def unit_of_work(self) -> UnitOfWorkFactory: ...


async def propose_rollback(
    store: Past, target: RollbackTarget, strategies: Registry, max_moves: int
) -> Proposal | NotFound:
    """Raises InvalidArgument for what changed no shard, or too many, Compacted where history does not reach back to it,
    and FutureCursor for a revision that is not there yet."""
    rows = await _rows(store, target)
    if isinstance(rows, NotFound):
        return rows
    if target.namespace is not None:
        rows = [row for row in rows if row.namespace == target.namespace]
    if not rows:
        field = "sinceRevision" if target.namespace is None else "namespace"
        raise InvalidArgument(FieldError(field, "leaves nothing to roll back: no shard was changed"))
    newest = {row.key: row for row in rows}
    current = await _current(store.shards, newest)
    changed_since = [key for key, row in newest.items() if key not in current or current[key].version != row.version]
    async with store.unit_of_work() as unit:
        last_changes = await unit.last_changes(changed_since)
    snapshot = await store.placement.snapshot({key.namespace for key in newest})
    what = Rollback(target.change_id, target.change_ticket, target.since_revision, target.namespace)
    work = partial(compensating_moves, what, rows, current, last_changes, snapshot, strategies, max_moves=max_moves)
    return await asyncio.to_thread(lambda: written(work()))


def written(proposal: Proposal) -> Proposal:
    """With its document, which is stored with it: ten thousand moves are a megabyte of JSON, for a thread to write."""
    _ = proposal.document
    return proposal


async def _rows(store: Past, target: RollbackTarget) -> Sequence[ShardDiff] | NotFound:
    """Everything that the changes did to shards, in order."""
    if target.since_revision is not None:
        return await _since(store.stream, target.since_revision)
    changes = await _changes(store.changes, target)
    if isinstance(changes, NotFound):
        return changes
    field = "changeTicket" if target.change_id is None else "changeId"
    made = [change for change in changes if change.first_revision is not None]
    if not made:
        raise InvalidArgument(FieldError(field, "changed no shard: only what was done to shards can be rolled back"))
    _check_size(field, sum(change.shard_count for change in made))
    rows: list[ShardDiff] = []
    for change in made:
        rows += await _after(store.stream, (change.first_revision or 1) - 1, change.shard_count)
    return rows


async def _since(stream: ChangeStream, revision: int) -> Sequence[ShardDiff]:
    head = await stream.head()
    if revision > head.revision:
        raise FutureCursor(revision, head.revision)
    _check_size("sinceRevision", head.revision - revision)
    return await _after(stream, revision, head.revision - revision)


async def _after(stream: ChangeStream, revision: int, count: int) -> Sequence[ShardDiff]:
    """So many rows after the revision, all of them."""
    if count == 0:
        return ()
    page = await stream.after(revision, count)
    if revision < page.head.floor:
        raise Compacted(revision, page.head.floor)
    return page.diffs


async def _changes(reader: ChangeReader, target: RollbackTarget) -> Sequence[Change] | NotFound:
    """Those that the target names, in order."""
    if target.change_id is not None:
        page = await reader.page(ChangeFilter(), PageRequest(1, target.change_id - 1), newest_first=False)
        found = [change for change in page.items if change.id == target.change_id]
        return found or NotFound(changes=(str(target.change_id),))
    where = ChangeFilter(change_ticket=target.change_ticket)
    changes: list[Change] = []
    after: int | None = None
    while True:
        page = await reader.page(where, PageRequest(_PAGE, after), newest_first=False)
        changes += page.items
        if not page.has_next:
            return changes or NotFound(changes=(str(target.change_ticket),))
        after = changes[-1].id


async def _current(reader: ShardReader, keys: Collection[ShardKey]) -> dict[ShardKey, Shard]:
    """Those of the shards that are there."""
    found: dict[ShardKey, Shard] = {}
    for namespace, several in groupby(sorted(keys), attrgetter("namespace")):
        for shard_ids in _chunks([key.shard_id for key in several]):
            where = ShardFilter(namespace, shard_ids=shard_ids)
            page = (await reader.page(where, PageRequest(len(shard_ids)))).value
            found |= {shard.key: shard for shard in page.items}
    return found


def _chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[start : start + MAX_FILTER_VALUES] for start in range(0, len(values), MAX_FILTER_VALUES))


def _check_size(field: str, count: int) -> None:
    if count > MAX_ROWS:
        most = f"at most {MAX_ROWS:,} can be rolled back at a time"
        raise InvalidArgument(FieldError(field, f"names {count:,} changes of shards; {most}"))
