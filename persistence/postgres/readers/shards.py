"""Reading the shard table, as it is and as of a revision."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Subquery,
    Text,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    select,
    true,
    union,
)
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.codec.images import read_image
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, Shard, ShardKey, StreamPosition
from persistence.ports.readers import Stamped, holds_none
from persistence.postgres.database import head_missing
from persistence.postgres.engine import translated
from persistence.postgres.readers.keyset import (
    CACHED_STATEMENTS,
    AnySelect,
    PageShape,
    Restriction,
    beside,
    between_cursors,
    conditions,
    contains_text,
    each,
    equals,
    filter_values,
    nothing_passed,
    one_of,
    ordered,
    page_beside,
    page_shape,
    page_values,
    used_fields,
)
from persistence.postgres.readers.paged_list import EVERYWHERE
from persistence.postgres.readers.scan import scan
from persistence.postgres.readers.search import (
    COUNTED,
    Candidates,
    bounded_count,
    found_rows,
    search,
    share_of,
    with_rows,
)
from persistence.postgres.reads import Read
from persistence.postgres.rows import KEYS, SHARD, as_arrays, shard_of
from persistence.postgres.stream import CURRENT, HEAD, head_of, mark_after, read_mark, read_revision, require_servable
from persistence.postgres.tables.current import SHARDS, TOMBSTONES
from persistence.postgres.tables.history import CHANGES, HISTORY


class PostgresShards:
    """ShardReader. Page, count and the position they are exact at come from one statement, so from one snapshot."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def get(self, key: ShardKey, as_of: AsOf | None = None) -> Stamped[Shard | None]:
        where = ShardFilter(namespace=key.namespace, shard_ids=(key.shard_id,))
        found = await self.page(where, PageRequest(1), as_of)
        return Stamped(next(iter(found.value.items), None), found.position)

    def holder(self) -> Callable[[Shard], bool]:
        return holds_none

    async def get_many(self, keys: Sequence[ShardKey], as_of: AsOf | None = None) -> Stamped[Sequence[Shard | None]]:
        values: dict[str, Any] = as_arrays(keys)
        with translated():
            if as_of is None:
                rows = await self._rows(_OF_KEYS, values)
                position, read, front = head_of(rows[0][:_HEAD]).position, shard_of, _HEAD
            else:
                revision = await read_revision(self._read, as_of)
                rows = await self._rows(_OF_KEYS_AS_OF, values | {"as_of": revision})
                position, read, front = _position_as_of(rows[0], revision), _shard_as_of, _HEAD + 1
        found = [read(row[front:]) for row in rows if row[front] is not None]
        by_key = {shard.key: shard for shard in found}
        return Stamped([by_key.get(key) for key in keys], position)

    async def page(
        self, where: ShardFilter, page: PageRequest[ShardKey], as_of: AsOf | None = None
    ) -> Stamped[Page[Shard]]:
        used, shape = used_fields(where), page_shape(page)
        values = filter_values(where) | page_values(page)
        with translated():
            if as_of is None:
                owners = where.owner_node_ids
                by_owner = owners is not None and where.shard_ids is None and len(owners) <= _MERGED_AT_MOST
                read, searched = _page(used, shape, by_owner=by_owner)
                rows = await self._rows(read, values)
                found = (
                    _found(rows, page, shard_of, _HEAD) if searched else page_beside(rows, page, each(shard_of), _HEAD)
                )
                return Stamped(found, head_of(rows[0][:_HEAD]).position)
            revision = await read_revision(self._read, as_of)
            rows = await self._rows(_page_as_of(used, shape), values | {"as_of": revision})
        position = _position_as_of(rows[0], revision)
        return Stamped(_found(rows, page, _shard_as_of, _HEAD + 1), position)

    def scan(self) -> AsyncGenerator[Stamped[Sequence[Shard]], None]:
        return scan(self._read)

    async def _rows(self, read: Read, values: Mapping[str, Any]) -> Sequence[Any]:
        """Rows that begin with the head. Raises SchemaOutOfDate without one."""
        rows = await read.rows(self._read, values)
        if not rows:
            raise head_missing()
        return rows


_HEAD: Final = len(HEAD)


def _found(
    rows: Sequence[Any], page: PageRequest[ShardKey], read: Callable[[Sequence[Any]], Shard], values: int
) -> Page[Shard]:
    """Of rows of a search, in front of which there are so many values."""
    found, front = found_rows(rows, page, keys=2, values=values), values + page.counted + 1
    return found.page(page, [read(row[front : -found.behind]) for row in found.rows], lambda key: ShardKey(*key))


_AS_OF: Final = bindparam("as_of", type_=BigInteger)


def _position_as_of(row: Sequence[Any], revision: int) -> StreamPosition:
    """From a row that begins with the head and the mark after a revision. Raises FutureCursor, Compacted."""
    *columns, mark = row[: _HEAD + 1]
    head = head_of(columns)
    require_servable(revision, head)
    return StreamPosition(head.epoch, revision, read_mark(mark, revision))


def _shard_as_of(row: Sequence[Any]) -> Shard:
    """From columns of `_as_of`: what identifies the shard, and its image."""
    return read_image(*row[2:])


def _identity(columns: Any) -> dict[str, Restriction]:
    return {
        "namespace": equals(columns.namespace),
        "shard_ids": one_of(columns.shard_id),
        "search": contains_text(columns.shard_id),
    }


def _restrictions(columns: Any) -> dict[str, Restriction]:
    """Over the columns of the current table, or of one as of a revision."""
    return _identity(columns) | {
        "owner_node_ids": one_of(columns.owner_node_id),
        "leader_ids": one_of(columns.leader_id),
        "statuses": one_of(columns.status),
        "strategies": one_of(columns.strategy),
        "change_ticket": equals(columns.change_ticket),
        "pinned": lambda name: columns.pinned_by.is_not(None) == bindparam(name, type_=Boolean),
    }


_NOW: Final = _restrictions(SHARDS.c)


_KEY: Final = (SHARDS.c.namespace, SHARDS.c.shard_id)


@lru_cache(CACHED_STATEMENTS)
def _page(used: tuple[str, ...], shape: PageShape, *, by_owner: bool) -> tuple[Read, bool]:
    """And whether it is a search. A namespace, with ids or without, is a range of the primary key, however many shards
    it has; what matches of it otherwise is looked for, or in what the owners have."""
    if _in_key(used).issuperset(used):
        restricted = conditions(_NOW, used)
        count = bounded_count(Candidates(select(*_KEY).where(*restricted), _KEY))
        return Read(beside(HEAD, select(*SHARD).where(*restricted), count, _KEY, shape)), False
    found = search(_candidates(used, shape, by_owner=by_owner), shape, descending=False)
    this = (SHARDS.c.namespace == found.c.key_0) & (SHARDS.c.shard_id == found.c.key_1)
    rows, order = with_rows(found, select(*SHARD).where(this))
    count = bounded_count(_candidates(used, EVERYWHERE, by_owner=by_owner))
    return Read(beside(HEAD, rows, count, order, _without_cursors(shape))), True


def _candidates(used: tuple[str, ...], shape: PageShape, *, by_owner: bool) -> Candidates:
    """By owner the beginnings of what each of them has, merged."""
    in_key = _in_key(used)
    leading = conditions(_NOW, tuple(name for name in used if name in in_key))
    rest = tuple(name for name in used if name not in in_key and not (by_owner and name == "owner_node_ids"))
    in_order = nothing_passed(SHARDS.c.revision)
    if not by_owner:
        return Candidates(select(*_KEY).where(*leading, in_order), _KEY, conditions(_NOW, rest))
    owners = func.unnest(bindparam("where_owner_node_ids", type_=ARRAY(Text))).table_valued("id").render_derived()
    distinct = select(owners.c.id).distinct().subquery("owners")
    # To be counted they are read one owner after the other, not merged: so many of all of them.
    named = func.cardinality(bindparam("where_owner_node_ids", type_=ARRAY(Text)))
    counted = shape is EVERYWHERE
    of_a_page = share_of(named) if rest else bindparam("page_limit", type_=BigInteger)
    limit = COUNTED if counted else of_a_page
    # What all match is counted in the index alone, without a look at a column that is not in it.
    ordered_by_index = [] if counted and not rest else [in_order]
    of_owner = select(SHARDS).where(SHARDS.c.owner_node_id == distinct.c.id, *leading, *ordered_by_index)
    of_owner = between_cursors(of_owner, _KEY, shape, descending=False)
    beginning = ordered(of_owner, _KEY, shape, descending=False).limit(limit).lateral()
    merged = select(*beginning.c).join_from(distinct, beginning, true()).subquery("merged")
    matches = conditions(_restrictions(merged.c), rest)
    return Candidates(select(merged), () if counted else (merged.c.namespace, merged.c.shard_id), matches, limit)


_MERGED_AT_MOST: Final = 20
"""Owners whose shards are merged."""


def _in_key(used: tuple[str, ...]) -> frozenset[str]:
    """The fields that are a range of the primary key."""
    return frozenset({"namespace", "shard_ids"} if "namespace" in used else ()).intersection(used)


@lru_cache(CACHED_STATEMENTS)
def _page_as_of(used: tuple[str, ...], shape: PageShape) -> Read:
    found = search(_candidates_as_of(used, shape), shape, descending=False)
    row = HISTORY.c
    image = (
        found.c.key_0,
        found.c.key_1,
        cast(row.current, Text),
        row.revision,
        row.created_at,
        CHANGES.c.committed_at,
    )
    of_revision = select(*image).join_from(HISTORY, CHANGES, CHANGES.c.id == row.change_id)
    rows, order = with_rows(found, of_revision.where(row.revision == found.c.found_revision))
    count = bounded_count(_candidates_as_of(used, EVERYWHERE))
    return Read(beside((*HEAD, mark_after(_AS_OF)), rows, count, order, _without_cursors(shape)))


def _candidates_as_of(used: tuple[str, ...], shape: PageShape) -> Candidates:
    """Each of them is looked up in history."""
    table = _as_of(_known(used, shape))
    matches = [table.c.kind != literal("DELETED"), *conditions(_restrictions(table.c), used)]
    key = (table.c.namespace, table.c.shard_id)
    return Candidates(select(table), key, matches, PROBED, (table.c.revision.label("found_revision"),))


PROBED: Final = literal_column("1000", BigInteger)
"""Shards that one page as of a revision looks at, and one count: each takes a look into history."""


def _without_cursors(shape: PageShape) -> PageShape:
    return shape._replace(after=False, before=False)


def _known(used: tuple[str, ...], shape: PageShape) -> Subquery:
    """The first of every shard that ever existed, in order: they are in the current table or among the tombstones. A
    filter of identities restricts which."""

    def beginning(table: Any) -> AnySelect:
        identity = tuple(name for name in used if name in _in_key(used))
        key = (table.c.namespace, table.c.shard_id)
        keys = between_cursors(
            select(*key).where(*conditions(_identity(table.c), identity), nothing_passed(table.c.version)),
            key,
            shape,
            descending=False,
        )
        return select(ordered(keys, key, shape, descending=False).limit(PROBED).subquery())

    return union(beginning(SHARDS), beginning(TOMBSTONES)).subquery("known")


def _as_of(known: FromClause) -> Subquery:
    """Those of the shards that there were up to the revision `as_of`, deleted ones with them: one index probe into
    history for each finds its state, however long its history is."""
    newest = (
        select(HISTORY)
        .where(
            HISTORY.c.namespace == known.c.namespace,
            HISTORY.c.shard_id == known.c.shard_id,
            HISTORY.c.revision <= _AS_OF,
        )
        .order_by(HISTORY.c.revision.desc())
        .limit(1)
        .lateral()
    )
    image = newest.c.current
    member = image.op("->>", return_type=Text())
    return (
        select(
            known.c.namespace,
            known.c.shard_id,
            newest.c.owner_node_id,
            member("leaderId").label("leader_id"),
            member("status").label("status"),
            member("strategy").label("strategy"),
            member("changeTicket").label("change_ticket"),
            member("pinned").label("pinned_by"),
            image.label("image"),
            newest.c.revision,
            newest.c.created_at,
            newest.c.change_id,
            newest.c.kind,
        )
        .select_from(known)
        .outerjoin(newest, true())
        .subquery()
    )


def _beside_head(*more: ColumnElement[Any], found: Subquery) -> AnySelect:
    """The head and more in front of each row, and of nulls where there is none."""
    return select(*HEAD, *more, *found.c).select_from(CURRENT).outerjoin(found, true())


_OF_KEYS: Final = Read(
    _beside_head(
        found=select(*SHARD)
        .join(KEYS, (SHARDS.c.namespace == KEYS.c.namespace) & (SHARDS.c.shard_id == KEYS.c.shard_id))
        .subquery()
    )
)

_NAMED: Final = _as_of(KEYS)

_OF_KEYS_AS_OF: Final = Read(
    _beside_head(
        mark_after(_AS_OF),
        found=select(
            *(_NAMED.c[name] for name in ("namespace", "shard_id")),
            cast(_NAMED.c.image, Text),
            *(_NAMED.c[name] for name in ("revision", "created_at")),
            CHANGES.c.committed_at,
        )
        .join_from(_NAMED, CHANGES, CHANGES.c.id == _NAMED.c.change_id)
        .where(_NAMED.c.kind != literal("DELETED"))
        .subquery(),
    )
)
