"""Nodes and namespaces as they stood at a point in time: from the changes that configured them, none of which a
compaction removes.

A node's newest change up to then is one probe of an index. Changes of namespaces have no index of their own: those
after that time are walked, at most `WALKED` of them, and the first one of each namespace has what it was before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Text, bindparam, func, literal, literal_column, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.codec.json_documents import configured_namespace, configured_node
from persistence.errors import FieldError, InvalidArgument
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import NodeFilter
from persistence.model.records import AsOf, ChangeKind, Namespace, Node, NodeStatus
from persistence.postgres.database import head_missing
from persistence.postgres.readers.changes import NODE_OF_CHANGE
from persistence.postgres.readers.keyset import (
    CACHED_STATEMENTS,
    PageShape,
    at_most,
    beside,
    each,
    fetch,
    nothing_passed,
    one_of,
    page_beside,
    page_shape,
    page_values,
)
from persistence.postgres.readers.paged_list import PagedList
from persistence.postgres.reads import Read
from persistence.postgres.stream import CURRENT, HEAD, head_of, require_servable
from persistence.postgres.tables.current import NAMESPACES, NODES
from persistence.postgres.tables.history import CHANGES, HISTORY

WALKED: Final = 10_000
"""Changes of namespaces that are looked at."""

_LATER: Final = (
    select(HISTORY.c.change_id)
    .where(HISTORY.c.revision > bindparam("revision", type_=BigInteger))
    .order_by(HISTORY.c.revision)
    .limit(literal_column("1"))
    .scalar_subquery()
)

# A revision stands until the next one is made: by the change after all those that left it the newest.
_AT_REVISION: Final = Read(select(*HEAD, func.coalesce(_LATER - 1, CURRENT.c.change_id)))

_NEWEST_AT: Final = (
    select(CHANGES.c.id, CHANGES.c.head_revision)
    .where(CHANGES.c.committed_at <= bindparam("time", type_=CHANGES.c.committed_at.type))
    .order_by(CHANGES.c.committed_at.desc(), CHANGES.c.id.desc())
    .limit(literal_column("1"))
    .lateral("newest_at")
)

_AT_TIME: Final = Read(
    select(*HEAD, func.coalesce(_NEWEST_AT.c.id, 0), func.coalesce(_NEWEST_AT.c.head_revision, 0))
    .select_from(CURRENT)
    .outerjoin(_NEWEST_AT, true())
)


async def newest_change_at(sessions: async_sessionmaker[AsyncSession], as_of: AsOf) -> int:
    """The id of the newest change there was then, 0 if there was none. Raises FutureCursor, and Compacted for
    a time of which shards are not served any more."""
    if as_of.revision is None:
        rows = await fetch(sessions, _AT_TIME, {"time": as_of.time})
    else:
        rows = await fetch(sessions, _AT_REVISION, {"revision": as_of.revision})
    if not rows:
        raise head_missing()
    head = head_of(rows[0][: len(HEAD)])
    change_id, *found = rows[0][len(HEAD) :]
    require_servable(found[0] if as_of.revision is None else as_of.revision, head)
    return int(change_id)


@dataclass(frozen=True, slots=True)
class _PastNodes:
    """NodeFilter, as of a change."""

    up_to_id: int
    statuses: Sequence[NodeStatus]
    regions: Sequence[str] | None
    zones: Sequence[str] | None


_CONFIGURATION: Final = CHANGES.c.configuration


def _member(name: str) -> ColumnElement[Any]:
    return _CONFIGURATION.op("->", return_type=_CONFIGURATION.type)(literal_column(f"'{name}'"))


_NEWEST: Final = (
    select(CHANGES.c.id, CHANGES.c.change_ticket, CHANGES.c.committed_at, _member("current").label("current"))
    .where(
        # In the collation that the index has: that of the column is another, and PostgreSQL would read all changes.
        NODES.c.node_id.collate("default") == NODE_OF_CHANGE,
        CHANGES.c.id <= bindparam("where_up_to_id", type_=BigInteger),
        nothing_passed(CHANGES.c.id),
    )
    .order_by(CHANGES.c.id.desc())
    .limit(literal_column("1"))
    .lateral("newest")
)


def _now(name: str) -> ColumnElement[Any]:
    return _NEWEST.c.current.op("->>", return_type=Text())(literal_column(f"'{name}'"))


_WITH_NEWEST: Final = NODES.join(_NEWEST, true())

_NODES: Final = PagedList(
    select(
        NODES.c.node_id, NODES.c.created_at, _NEWEST.c.change_ticket, _NEWEST.c.committed_at, _NEWEST.c.current
    ).select_from(_WITH_NEWEST),
    _WITH_NEWEST,
    NODES.c.node_id,
    each(lambda row: configured_node(*row)),
    {
        "up_to_id": at_most(_NEWEST.c.id),
        "statuses": one_of(_now("status")),
        "regions": one_of(_now("region")),
        "zones": one_of(_now("zone")),
    },
    bounds=("up_to_id",),
)

_NOT_REMOVED: Final = tuple(status for status in NodeStatus if status is not NodeStatus.REMOVED)


async def nodes_as_of(
    sessions: async_sessionmaker[AsyncSession], where: NodeFilter, page: PageRequest[str], as_of: AsOf
) -> Page[Node]:
    """As `NodeReader.page_as_of`."""
    change_id = await newest_change_at(sessions, as_of)
    statuses = _NOT_REMOVED if where.statuses is None else where.statuses
    return await _NODES.page(sessions, _PastNodes(change_id, statuses, where.regions, where.zones), page)


@lru_cache(CACHED_STATEMENTS)
def _namespaces(shape: PageShape) -> Read:
    """How many changes were walked, in front of each row: the columns of NAMESPACES now, and its configuration before
    the first later change, null where there is none. One that was created later is left out."""
    later = (
        select(CHANGES.c.id, literal_column("changes.namespaces[1]", Text(collation="C")).label("name"))
        .where(
            CHANGES.c.kind == literal(str(ChangeKind.CONFIGURE_NAMESPACE), Text()),
            CHANGES.c.id > bindparam("change_id", type_=BigInteger),
            nothing_passed(CHANGES.c.id),
        )
        .order_by(CHANGES.c.id)
        .limit(literal_column(str(WALKED)))
        .cte("later")
    )
    first = select(later.c.name, func.min(later.c.id).label("id")).group_by(later.c.name).cte("first")
    source = NAMESPACES.outerjoin(first, first.c.name == NAMESPACES.c.name).outerjoin(
        CHANGES, CHANGES.c.id == first.c.id
    )
    was_there = or_(first.c.id.is_(None), _CONFIGURATION.op("->>")(literal_column("'previous'")).is_not(None))
    columns = (
        NAMESPACES.c.name,
        NAMESPACES.c.created_at,
        NAMESPACES.c.strategy,
        NAMESPACES.c.strategy_parameters,
        NAMESPACES.c.algorithm_version,
        NAMESPACES.c.parameters_digest,
        NAMESPACES.c.policy,
        NAMESPACES.c.version,
        _member("previous").label("previous"),
    )
    walked = select(func.count()).select_from(later).scalar_subquery()
    rows = select(*columns).select_from(source).where(was_there)
    count = select(func.count()).select_from(source).where(was_there)
    return Read(beside((walked,), rows, count, (NAMESPACES.c.name,), shape))


def _namespace(row: Sequence[Any]) -> Namespace:
    name, created_at, *current, previous = row
    members = ("strategy", "strategyParameters", "algorithmVersion", "parametersDigest", "policy", "version")
    configuration = dict(zip(members, current, strict=True)) if previous is None else previous
    return configured_namespace(name, created_at, configuration)


async def namespaces_as_of(
    sessions: async_sessionmaker[AsyncSession], page: PageRequest[str], as_of: AsOf
) -> Page[Namespace]:
    """As `NamespaceReader.page_as_of`."""
    change_id = await newest_change_at(sessions, as_of)
    rows = await fetch(sessions, _namespaces(page_shape(page)), {"change_id": change_id} | page_values(page))
    if rows[0][0] >= WALKED:
        problem = f"is too long ago: namespaces were configured {WALKED:,} times since, or more; ask for a later one"
        raise InvalidArgument(FieldError("asOf", problem))
    return page_beside(rows, page, each(_namespace), 1)
