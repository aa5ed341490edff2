"""Whose changes brought shards and nodes to where they are: of any number by one statement, with an index probe or two
for each. A change of many is read once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    Text,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.model.records import Change
from persistence.ports.readers import OWNER_SEARCHED, ShardAt
from persistence.postgres.readers.keyset import fetch
from persistence.postgres.reads import Read
from persistence.postgres.rows import CHANGE, change_of
from persistence.postgres.tables.history import CHANGES, HISTORY


def _changes(wanted: Any, change_id: ColumnElement[int]) -> Read:
    """For each change the numbers of what it made among `wanted`, and its columns. `change_id` is a subquery for each
    of `wanted`; LIMIT keeps PostgreSQL from reading all of a table in place of a probe for each."""
    found = select(wanted.c.number, change_id.label("change_id")).select_from(wanted).cte("found")
    made = (
        select(found.c.change_id, func.array_agg(found.c.number, type_=ARRAY(BigInteger)).label("numbers"))
        .where(found.c.change_id.is_not(None))
        .group_by(found.c.change_id)
        .subquery("made")
    )
    change = select(*CHANGE).where(CHANGES.c.id == made.c.change_id).limit(literal_column("1")).lateral("change")
    return Read(select(made.c.numbers, *(change.c[column.key] for column in CHANGE)).join_from(made, change, true()))


def _unnested(**columns: Any) -> Any:
    """The arrays of these names, of these types, side by side, with a `number` from 1 for each row."""
    arrays = [bindparam(name, type_=ARRAY(type_)) for name, type_ in columns.items()]
    return func.unnest(*arrays).table_valued(*columns, with_ordinality="number", name="wanted").render_derived()


_REVISIONS: Final = _unnested(revision=BigInteger)

_OF_REVISIONS: Final = _changes(
    _REVISIONS,
    select(HISTORY.c.change_id).where(HISTORY.c.revision == _REVISIONS.c.revision).scalar_subquery(),
)

_NODES: Final = _unnested(node_id=String, version=BigInteger)

_CONFIGURATION: Final = CHANGES.c.configuration

# Newest first: it is the first one but for a change that came after the node was read.
_OF_NODES: Final = _changes(
    _NODES,
    select(CHANGES.c.id)
    .where(
        _CONFIGURATION.op("->>", return_type=Text())(literal_column("'node'")) == _NODES.c.node_id,
        cast(
            _CONFIGURATION.op("->")(literal_column("'current'")).op("->>", return_type=Text())(
                literal_column("'version'")
            ),
            BigInteger,
        )
        == _NODES.c.version,
    )
    .order_by(CHANGES.c.id.desc())
    .limit(literal_column("1"))
    .scalar_subquery(),
)

_SHARDS: Final = _unnested(namespace=String, shard_id=String, revision=BigInteger)


def _owner_change() -> ColumnElement[Any]:
    """Rows are read newest first, and no further than the change of the owner."""
    row = HISTORY.c
    recent = (
        select(row.revision, row.change_id, row.kind, row.owner_node_id, row.previous_owner_node_id)
        .where(
            row.namespace == _SHARDS.c.namespace,
            row.shard_id == _SHARDS.c.shard_id,
            row.revision <= _SHARDS.c.revision,
        )
        .order_by(row.revision.desc())
        .limit(literal_column(str(OWNER_SEARCHED), Integer))
        .correlate(_SHARDS)
        .subquery("recent")
    )
    moved = or_(recent.c.kind == literal("CREATED"), recent.c.owner_node_id != recent.c.previous_owner_node_id)
    newest: Select[Any] = select(recent.c.change_id).where(moved).order_by(recent.c.revision.desc())
    return newest.limit(literal_column("1")).correlate(_SHARDS).scalar_subquery()


_OF_OWNERS: Final = _changes(_SHARDS, _owner_change())


async def changes_of_revisions(
    sessions: async_sessionmaker[AsyncSession], revisions: Collection[int]
) -> Mapping[int, Change]:
    """As `ChangeReader.of_revisions`."""
    wanted = list(revisions)
    return {wanted[at]: change for at, change in await _read(sessions, _OF_REVISIONS, {"revision": wanted})}


async def changes_of_nodes(
    sessions: async_sessionmaker[AsyncSession], versions: Mapping[str, int]
) -> Mapping[str, Change]:
    """As `ChangeReader.of_nodes`."""
    wanted = list(versions)
    values = {"node_id": wanted, "version": list(versions.values())}
    return {wanted[at]: change for at, change in await _read(sessions, _OF_NODES, values)}


async def owner_changes(
    sessions: async_sessionmaker[AsyncSession], shards: Collection[ShardAt]
) -> Mapping[ShardAt, Change]:
    """As `HistoryReader.owner_changes`."""
    wanted = list(shards)
    values = {name: [getattr(shard, name) for shard in wanted] for name in ShardAt._fields}
    return {wanted[at]: change for at, change in await _read(sessions, _OF_OWNERS, values)}


async def _read(
    sessions: async_sessionmaker[AsyncSession], read: Read, values: Mapping[str, Any]
) -> list[tuple[int, Change]]:
    """Where in `values`, from 0, with the change of it. Raises StoreError."""
    found: list[tuple[int, Change]] = []
    for numbers, *columns in await fetch(sessions, read, values):
        change = change_of(columns)
        found += ((number - 1, change) for number in numbers)
    return found
