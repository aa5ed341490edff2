"""Pages of history that are read over and over, as long as nothing was added to what they are of.

Rows of history are never written again. The newest of a namespace, with the hash of the change that made it, which
covers all changes before, decides what all pages of the namespace hold; what compaction has left of them, the floor
does. That one row is a tenth of what a page takes to be read. docs/decisions/0066-where-the-time-of-a-read-goes.md.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import Text, bindparam, func, literal_column, select, true
from sqlalchemy.dialects.postgresql import ARRAY

from persistence.model.paging import Page
from persistence.model.queries import ShardHistoryFilter
from persistence.model.records import ShardDiff
from persistence.postgres.readers.keyset import nothing_passed
from persistence.postgres.reads import Read
from persistence.postgres.tables.current import STREAM_HEAD
from persistence.postgres.tables.history import CHANGES, HISTORY

HELD_ROWS: Final = 8_000
"""On all pages: those that HeldRows holds, mostly."""

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

    def __init__(self, limit: int = HELD_ROWS) -> None:
        """`limit` counts rows; a page counts as one more than it has."""
        self._limit = limit
        self._size = 0
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
        if held is not None:
            return held.page if await self._stands(key, held.newest, newest) else await read()
        now = await newest()
        page = await read()
        # Each is a snapshot of its own, and what was added between them may be on the page already.
        if await newest() == now:
            page = replace(page, stands=partial(self._stands, key, now, newest))
            self._plain.pop(key, None)
            self._drop(key)
            self._held[key] = _Held(now, page)
            self._size += 1 + len(page.items)
            while self._size > self._limit:
                self._drop(next(iter(self._held)))
        return page

    async def _stands(self, key: Hashable, known: Newest, newest: Callable[[], Awaitable[Newest]]) -> bool:
        """Whether the page is what it was when `known` was newest: also of one that is not held any more."""
        if key in self._plain:
            return False
        stands = await newest() == known
        held = self._held.get(key)
        if held is not None and held.newest == known:
            if stands:
                self._held.move_to_end(key)
            else:
                self._drop(key)
                self._leave(key, _PLAIN_AFTER_CHANGE)
        return stands

    def _drop(self, key: Hashable) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._size -= 1 + len(held.page.items)

    def _leave(self, key: Hashable, reads: int) -> None:
        if len(self._plain) >= _COUNTED:
            self._plain.clear()
        self._plain[key] = reads


class NewestRows:
    """What is newest of namespaces, read for all that ask in one turn of the event loop, or while an answer is on its
    way, at once: a round trip costs more than what it brings."""

    def __init__(self, read: Callable[[Mapping[str, Any]], Awaitable[Sequence[Any]]]) -> None:
        """`read` is NEWEST's rows, of a snapshot that is taken after it was called."""
        self._read = read
        self._asked: dict[str | None, _Asked] = {}
        self._under_way: asyncio.Event | None = None
        """Set once the reading has ended; null while nothing is read."""

    async def of(self, namespace: str | None) -> Newest:
        """Of one, or of all. Raises what reading does, for all that it was done for: each by itself would wait as long
        again, one after the other, for a database that does not answer."""
        asked = self._asked.setdefault(namespace, _Asked())
        while asked.newest is None:
            if asked.failure is not None:
                raise asked.failure
            if self._under_way is None:
                await self._answer(namespace, asked)
            else:
                await self._under_way.wait()
        return asked.newest

    async def _answer(self, namespace: str | None, asked: _Asked) -> None:
        """This one, with all that were asked for until it is read. Of one whose reading was cancelled it is the first
        that goes on waiting which does that."""
        self._under_way = ended = asyncio.Event()
        try:
            await asyncio.sleep(0)  # those that were answered in this turn let others in, which ask in the next
            together, self._asked = {**self._asked, namespace: asked}, {}
            names = [name for name in together if name is not None]
            try:
                rows = await self._read({"names": names})
            except Exception as error:
                for each in together.values():
                    each.failure = error
                raise
            for epoch, floor, revision, hash_, name, *newest in rows:
                if name is not None:
                    together[name].newest = epoch, floor, *newest
                if None in together:
                    together[None].newest = epoch, floor, revision, hash_
            for each in together.values():
                each.newest = each.newest or ()
        finally:
            self._under_way = None
            ended.set()


class _Asked:
    newest: Newest | None = None
    failure: Exception | None = None


def _newest() -> Any:
    head = STREAM_HEAD.c
    asked = func.unnest(bindparam("names", type_=ARRAY(Text))).table_valued("name", name="asked").render_derived()
    newest = (
        select(HISTORY.c.revision, HISTORY.c.change_id)
        .where(HISTORY.c.namespace == asked.c.name, nothing_passed(HISTORY.c.revision))
        .order_by(HISTORY.c.revision.desc())
        .limit(literal_column("1"))
        .lateral("newest")
    )
    change = select(CHANGES.c.hash).where(CHANGES.c.id == newest.c.change_id).offset(literal_column("0")).lateral()
    return select(
        head.epoch, head.floor, head.revision, head.hash, asked.c.name, newest.c.revision, change.c.hash
    ).select_from(STREAM_HEAD.outerjoin(asked, true()).outerjoin(newest, true()).outerjoin(change, true()))


NEWEST: Final = Read(_newest())
"""The head, and of each of `names` the newest row, with the hash of its change."""


def is_held(where: ShardHistoryFilter) -> bool:
    """Whether pages with this filter depend on nothing but rows of its namespace, or of all."""
    return where == ShardHistoryFilter(namespace=where.namespace, shard_id=where.shard_id)
