"""Reading the shard table, as it is and as of a revision."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Subquery,
    Text,
    bindparam,
    cast,
    func,
    literal,
    select,
    true,
    union,
)
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.codec.images import read_image
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, Shard, ShardKey, StreamPosition
from persistence.ports import Stamped, holds_none
from persistence.postgres.database import head_missing
from persistence.postgres.engine import translated
from persistence.postgres.readers.keyset import (
    CACHED_STATEMENTS,
    AnySelect,
    PageShape,
    Restriction,
    beside,
    conditions,
    contains_text,
    each,
    equals,
    filter_values,
    one_of,
    page_beside,
    page_shape,
    page_values,
    planned_for_parameters,
    used_fields,
)
from persistence.postgres.readers.scan import scan
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
                rows = await self._rows(_page(used, shape), values)
                return Stamped(page_beside(rows, page, each(shard_of), _HEAD), head_of(rows[0][:_HEAD]).position)
            revision = await read_revision(self._read, as_of)
            rows = await self._rows(_page_as_of(used, shape), values | {"as_of": revision})
        position = _position_as_of(rows[0], revision)
        return Stamped(page_beside(rows, page, each(_shard_as_of), _HEAD + 1), position)

    def scan(self) -> AsyncGenerator[Stamped[Sequence[Shard]], None]:
        return scan(self._read)

    async def _rows(self, read: Read, values: Mapping[str, Any]) -> Sequence[Any]:
        """Rows that begin with the head. Raises SchemaOutOfDate without one."""
        rows = await read.rows(self._read, values)
        if not rows:
            raise head_missing()
        return rows


_HEAD: Final = len(HEAD)

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
    }


_NOW: Final = _restrictions(SHARDS.c)


@lru_cache(CACHED_STATEMENTS)
def _page(used: tuple[str, ...], shape: PageShape) -> Read:
    restricted = conditions(_NOW, used)
    count = select(func.count()).select_from(SHARDS).where(*restricted)
    columns = (SHARDS.c.namespace, SHARDS.c.shard_id)
    return Read(beside(HEAD, _planned(select(*SHARD).where(*restricted), used), count, columns, shape))


@lru_cache(CACHED_STATEMENTS)
def _page_as_of(used: tuple[str, ...], shape: PageShape) -> Read:
    # Two subqueries: the page needs only the beginning of one, the count no images of the other.
    table, counted = _as_of(_known(used)), _as_of(_known(used))
    columns = (table.c.namespace, table.c.shard_id)
    restricted = _planned(select(*_images(table)).where(*conditions(_restrictions(table.c), used)), used)
    count = select(func.count()).select_from(counted).where(*conditions(_restrictions(counted.c), used))
    return Read(beside((*HEAD, mark_after(_AS_OF)), restricted, count, columns, shape))


def _planned(statement: AnySelect, used: tuple[str, ...]) -> AnySelect:
    """A namespace, with ids or without, is a range of the primary key, however many shards it has."""
    return statement if {"namespace", "shard_ids"}.issuperset(used) else planned_for_parameters(statement)


def _known(used: tuple[str, ...]) -> Subquery:
    """Every shard that ever existed is in the current table or among the tombstones. A filter of identities restricts
    which."""
    identity = tuple(name for name in used if name in _identity(SHARDS.c))
    return union(
        select(SHARDS.c.namespace, SHARDS.c.shard_id).where(*conditions(_identity(SHARDS.c), identity)),
        select(TOMBSTONES.c.namespace, TOMBSTONES.c.shard_id).where(*conditions(_identity(TOMBSTONES.c), identity)),
    ).subquery()


def _as_of(known: FromClause) -> Subquery:
    """Those of the shards that there were at the revision `as_of`: one index probe into history for each finds its
    state, however long its history is."""
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
            cast(image, Text).label("image"),
            newest.c.revision,
            newest.c.created_at,
            CHANGES.c.committed_at.label("updated_at"),
        )
        .select_from(known)
        .join(newest, true())
        .join(CHANGES, CHANGES.c.id == newest.c.change_id)
        .where(newest.c.kind != literal("DELETED"))
        .subquery()
    )


def _images(table: Subquery) -> tuple[ColumnElement[Any], ...]:
    """Columns of `_as_of` for `_shard_as_of`."""
    return tuple(table.c[name] for name in ("namespace", "shard_id", "image", "revision", "created_at", "updated_at"))


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

_OF_KEYS_AS_OF: Final = Read(_beside_head(mark_after(_AS_OF), found=select(*_images(_as_of(KEYS))).subquery()))
