"""Pages of history that are read over and over, as long as nothing was added to what they are of.

Rows of history are never written again. The newest of a namespace, with the hash of the change that made it, which
covers all changes before, decides what all pages of the namespace hold; what compaction has left of them, the floor
does. That one row is a tenth of what a page takes to be read. docs/decisions/0066-where-the-time-of-a-read-goes.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import literal_column, select, true

from persistence.model.paging import Page
from persistence.model.queries import ShardHistoryFilter
from persistence.model.records import ShardDiff
from persistence.postgres.readers.keyset import equals, nothing_passed
from persistence.postgres.reads import Read
from persistence.postgres.tables.current import STREAM_HEAD
from persistence.postgres.tables.history import CHANGES, HISTORY

HELD_PAGES: Final = 128

_PLAIN_AFTER_CHANGE: Final = 8
"""Reads of a page that has changed, without a look at what is newest: of one that changes all the time it would be in
vain."""

_COUNTED: Final = 1_024
"""Pages of which reads are counted that are not held."""

Newest: TypeAlias = tuple[Any, ...]
"""Epoch, floor, and what is newest: equal for histories that are the same."""


class _Held(NamedTuple):
    newest: Newest
    page: Page[ShardDiff]


class HeldPages:
    """The last ones that were read more than once. A page that is read for the first time is read and nothing else."""

    def __init__(self, limit: int = HELD_PAGES) -> None:
        self._limit = limit
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()
        self._plain: dict[Hashable, int] = {}
        """Reads that are left without a look at what is newest; of a page that is not in it, one."""

    async def page(
        self,
        key: Hashable,
        newest: Callable[[], Awaitable[Newest]],
        read: Callable[[], Awaitable[Page[ShardDiff]]],
    ) -> Page[ShardDiff]:
        """What `read` returns, or returned while `newest` was what it is now. Raises what they do."""
        held = self._held.get(key)
        if held is None:
            left = self._plain.get(key, 1)
            if left:
                self._leave(key, left - 1)
                return await read()
        now = await newest()
        if held is not None:
            if held.newest == now:
                if key in self._held:
                    self._held.move_to_end(key)
                return held.page
            self._held.pop(key, None)
            self._leave(key, _PLAIN_AFTER_CHANGE)
            return await read()
        page = await read()
        # Each is a snapshot of its own, and what was added between them may be on the page already.
        if await newest() == now:
            self._plain.pop(key, None)
            self._held[key] = _Held(now, page)
            if len(self._held) > self._limit:
                self._held.popitem(last=False)
        return page

    def _leave(self, key: Hashable, reads: int) -> None:
        if len(self._plain) >= _COUNTED:
            self._plain.clear()
        self._plain[key] = reads


@lru_cache(2)
def newest_of(*, namespace: bool) -> Read:
    """Of one, or of all."""
    head = STREAM_HEAD.c
    if not namespace:
        return Read(select(head.epoch, head.floor, head.revision, head.hash))
    newest = (
        select(HISTORY.c.revision, HISTORY.c.change_id)
        .where(equals(HISTORY.c.namespace)("where_namespace"), nothing_passed(HISTORY.c.revision))
        .order_by(HISTORY.c.revision.desc())
        .limit(literal_column("1"))
        .subquery("newest")
    )
    change = select(CHANGES.c.hash).where(CHANGES.c.id == newest.c.change_id).offset(literal_column("0")).lateral()
    return Read(
        select(head.epoch, head.floor, newest.c.revision, change.c.hash)
        .select_from(STREAM_HEAD)
        .outerjoin(newest, true())
        .outerjoin(change, true())
    )


def is_held(where: ShardHistoryFilter) -> bool:
    """Whether pages with this filter depend on nothing but rows of its namespace, or of all."""
    return where == ShardHistoryFilter(namespace=where.namespace, shard_id=where.shard_id)
