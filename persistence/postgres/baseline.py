"""Tables that will take the place of old partitions: what a compaction keeps, built beside history while it is used.

Until they are attached they are marked as unfinished, so that whoever compacts next can clear away what was left by one
that was killed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from persistence import audit
from persistence.errors import StoreError
from persistence.postgres.partitions import Partition, making_indexes, making_table

_UNFINISHED: Final = "omnirelay: unfinished compaction"
_LEFT_OVER: Final = text(
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND pg_table_is_visible(oid)"
    " AND obj_description(oid, 'pg_class') = :mark"
)
_CHUNK: Final = 1_000

# In SQL, as all of this file: the tables are made here, under names that the declared ones do not have.
# Every shard there ever was is in one of the two, so a probe for each finds its row, however long history is.
_NEWEST: Final = """
    FROM (
        SELECT namespace, shard_id FROM shards UNION ALL SELECT namespace, shard_id FROM shard_tombstones
    ) AS known CROSS JOIN LATERAL (
        SELECT {columns} FROM shard_history AS h
        WHERE h.namespace = known.namespace AND h.shard_id = known.shard_id AND h.revision <= :floor
        ORDER BY h.revision DESC LIMIT 1
    ) AS newest
"""
KEPT_COUNT: Final = text(f"SELECT count(*) {_NEWEST.format(columns='1')}")


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a compaction cuts: `old` partitions go, `kept` comes in their place, and `rest` if one was cut in two."""

    old: tuple[Partition, ...]
    kept: Partition
    rest: Partition | None

    @property
    def new(self) -> tuple[Partition, ...]:
        return (self.kept,) if self.rest is None else (self.kept, self.rest)


def cut_at(floor: int, existing: list[Partition]) -> Cut:
    first = floor + 1
    old = tuple(partition for partition in existing if (partition.first or 0) <= floor)
    end = old[-1].after_last
    rest = Partition(f"shard_history_{first}", first, end) if first < end else None
    return Cut(old, Partition(f"shard_history_below_{first}", None, first), rest)


async def left_over(session: AsyncSession) -> list[str]:
    """Unfinished tables of a compaction that did not end."""
    return list((await session.execute(_LEFT_OVER, {"mark": _UNFINISHED})).scalars())


async def fill_kept(session: AsyncSession, kept: Partition, floor: int) -> int:
    """Make the table of the newest row of each shard up to the floor. How many rows there are."""
    await _make(session, kept)
    newest = _NEWEST.format(columns="h.*")
    statement = text(f"INSERT INTO {kept.name} SELECT newest.* {newest} ORDER BY newest.revision")
    rows = (await session.execute(statement, {"floor": floor})).rowcount  # type: ignore[attr-defined]  # it has one
    await _finish(session, kept)
    return int(rows)


async def fill_rest(session: AsyncSession, rest: Partition, head: int) -> None:
    """Make the table of the rows up to the head of a partition that is cut in two."""
    await _make(session, rest)
    await copy_rows(session, rest, (rest.first or 0) - 1, head)
    await _finish(session, rest)


async def copy_rows(session: AsyncSession, rest: Partition, after: int, head: int) -> None:
    await session.execute(text(copying(rest, after, head)))


def copying(rest: Partition, after: int, head: int | None = None) -> str:
    """The statement for the rows that came after, up to the head or (null) all."""
    last = rest.after_last - 1 if head is None else min(head, rest.after_last - 1)
    return (
        f"INSERT INTO {rest.name} SELECT * FROM shard_history"  # noqa: S608 - a name and numbers of ours
        f" WHERE revision > {after:d} AND revision <= {last:d} ORDER BY revision"
    )


async def require_all_known(session: AsyncSession, kept: Partition, floor: int) -> None:
    """Raises StoreError if rows up to the floor are of a shard of which none is kept: with them would go what is left
    of its counters, and its versions and owner epochs would be given again."""
    statement = text(
        "SELECT h.namespace, h.shard_id FROM shard_history AS h WHERE h.revision <= :floor AND NOT EXISTS ("  # noqa: S608 - a name of ours
        f" SELECT FROM {kept.name} AS k WHERE k.namespace = h.namespace AND k.shard_id = h.shard_id) LIMIT 1"
    )
    forgotten = (await session.execute(statement, {"floor": floor})).one_or_none()
    if forgotten is not None:
        raise StoreError(
            f"history has rows of {'/'.join(forgotten)}, which is neither in shards nor in shard_tombstones; "
            "nothing was compacted: run 'omnirelay mesh audit verify', and restore what is missing"
        )


async def kept_digest(session: AsyncSession, kept: Partition) -> str:
    """See `audit.kept_digest`."""
    columns = (
        "revision, change_id, kind, previous::text, previous_revision, previous_updated_at, created_at, current::text"
    )
    statement = text(f"SELECT {columns}, move_reason FROM {kept.name} ORDER BY revision")  # noqa: S608 - a name of ours
    digests: list[bytes] = []
    async for rows in (await session.stream(statement)).partitions(_CHUNK):
        chunk = bytearray()
        for revision, change_id, kind, previous, previous_revision, updated_at, created_at, current, reason in rows:
            created = None if previous is None else created_at
            row = audit.row_digest(kind, previous, previous_revision, updated_at, created, current, reason)
            chunk += audit.kept_row(revision, change_id, row)
        digests.append(bytes(chunk))
    return audit.kept_digest(digests).hex()


def adding_foreign_key(name: str) -> str:
    """The statement, without a look at the rows: for that, changes would be locked as long as it takes."""
    return (
        f"ALTER TABLE {name} ADD CONSTRAINT fk_shard_history_change_id_changes"
        " FOREIGN KEY (change_id) REFERENCES changes (id) NOT VALID"
    )


async def validate(session: AsyncSession, name: str) -> None:
    """Look at the rows now, while nobody waits: attaching then need not. New tables have no statistics either."""
    await session.execute(text(f"ALTER TABLE {name} VALIDATE CONSTRAINT fk_shard_history_change_id_changes"))
    await session.execute(text(f"ANALYZE {name}"))


def adopting(name: str) -> list[str]:
    """Statements for a table that is attached and needs its marks no more."""
    return [f"ALTER TABLE {name} DROP CONSTRAINT ck_{name}_bounds", f"COMMENT ON TABLE {name} IS NULL"]


async def _make(session: AsyncSession, partition: Partition) -> None:
    await _execute(session, making_table(partition.name))
    await session.execute(text(f"COMMENT ON TABLE {partition.name} IS '{_UNFINISHED}'"))


async def _finish(session: AsyncSession, partition: Partition) -> None:
    """Indexes once the rows are there, which is faster; and the bounds as a constraint, so that attaching trusts it."""
    await _execute(session, making_indexes(partition.name))
    first = 0 if partition.first is None else partition.first
    await session.execute(
        text(
            f"ALTER TABLE {partition.name} ADD CONSTRAINT ck_{partition.name}_bounds"
            f" CHECK (revision >= {first} AND revision < {partition.after_last})"
        )
    )


async def _execute(session: AsyncSession, statements: list[str]) -> None:
    for statement in statements:
        await session.execute(text(statement))
