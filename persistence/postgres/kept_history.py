"""The tables that a compaction puts in the place of history: the newest row of each shard, and what came after.

They are filled in transactions of a second or so, each committed by itself: a long one would keep PostgreSQL from
removing the old versions of the head row, of which every commit makes one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.codec import hash_chain
from persistence.errors import StoreError
from persistence.postgres.partitions import Partition, create_indexes, create_table

_UNFINISHED: Final = "omnirelay: unfinished compaction"

_LEFT_OVER: Final = text(
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND pg_table_is_visible(oid)"
    " AND obj_description(oid, 'pg_class') = :mark"
)

DIGESTED: Final = 5_000
"""Rows read at a time for their digests."""

CHUNK: Final = 50_000
"""Shards or revisions that one transaction copies: half a second."""

# In SQL, as all of this file: the tables are made here, under names that the declared ones do not have.
# Every shard there ever was is in one of the two, so a probe for each finds its row, however long history is.
_KNOWN: Final = """
    (SELECT namespace, shard_id FROM shards UNION ALL SELECT namespace, shard_id FROM shard_tombstones) AS known
"""

# A shard is in one of the two at all times, and none that a row up to the floor is of leaves both.
_NEWEST: Final = f"""
    FROM (
        SELECT namespace, shard_id FROM {_KNOWN}
        WHERE (namespace, shard_id) > (:namespace, :shard_id)
            AND (namespace, shard_id) <= (:last_namespace, :last_shard_id)
    ) AS known CROSS JOIN LATERAL (
        SELECT {{columns}} FROM shard_history AS h
        WHERE h.namespace = known.namespace AND h.shard_id = known.shard_id AND h.revision <= :floor
        ORDER BY h.revision DESC LIMIT 1
    ) AS newest
"""  # noqa: S608 - constants

_KEPT_COUNT: Final = text(f"SELECT count(*) {_NEWEST.format(columns='1')}")

_END_OF_CHUNK: Final = text(
    f"SELECT namespace, shard_id FROM (SELECT namespace, shard_id FROM {_KNOWN}"  # noqa: S608 - constants
    " WHERE (namespace, shard_id) > (:namespace, :shard_id) ORDER BY namespace, shard_id LIMIT :chunk) AS chunk"
    " ORDER BY namespace DESC, shard_id DESC LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a compaction cuts: `old` partitions go, `kept` replaces them, and `rest` if one was cut in two."""

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
    rows = 0
    async for chunk in _chunks(session):
        rows += (await session.execute(statement, {"floor": floor, **chunk})).rowcount  # type: ignore[attr-defined]  # it has one
        await session.commit()
    await _finish(session, kept)
    return rows


async def kept_count(session: AsyncSession, floor: int) -> int:
    """How many rows `fill_kept` would copy."""
    count = 0
    async for chunk in _chunks(session):
        count += (await session.execute(_KEPT_COUNT, {"floor": floor, **chunk})).scalar_one()
    return count


async def _chunks(session: AsyncSession) -> AsyncIterator[dict[str, str]]:
    """Ranges of keys in which all shards are that there are or were."""
    after = ("", "")
    while True:
        values = {"namespace": after[0], "shard_id": after[1]}
        last = (await session.execute(_END_OF_CHUNK, {**values, "chunk": CHUNK})).one_or_none()
        if last is None:
            return
        yield {**values, "last_namespace": last[0], "last_shard_id": last[1]}
        after = (last[0], last[1])


async def fill_rest(session: AsyncSession, rest: Partition, head: int) -> None:
    """Make the table of the rows up to the head of a partition that is cut in two."""
    await _make(session, rest)
    await copy_rows(session, rest, (rest.first or 0) - 1, head)
    await _finish(session, rest)


async def copy_rows(session: AsyncSession, rest: Partition, after: int, head: int) -> None:
    """Those after one revision and up to another. Commits."""
    for start in range(after, min(head, rest.after_last - 1), CHUNK):
        await session.execute(text(copying(rest, start, min(start + CHUNK, head))))
        await session.commit()


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
    """`hash_chain.compacted_digest` of them."""
    columns = (
        "revision, change_id, kind, previous::text, previous_revision, previous_updated_at, created_at, current::text"
    )
    statement = text(
        f"SELECT {columns}, move_reason FROM {kept.name}"  # noqa: S608 - a name of ours
        f" WHERE revision > :after ORDER BY revision LIMIT :limit"
    )
    digests: list[bytes] = []
    after = -1
    while rows := (await session.execute(statement, {"after": after, "limit": DIGESTED})).all():
        chunk = bytearray()
        for revision, change_id, kind, previous, previous_revision, updated_at, created_at, current, reason in rows:
            created = None if previous is None else created_at
            row = hash_chain.row_digest(kind, previous, previous_revision, updated_at, created, current, reason)
            chunk += hash_chain.compacted_row(revision, change_id, row)
            after = revision
        digests.append(bytes(chunk))
    return hash_chain.compacted_digest(digests).hex()


def adding_foreign_key(name: str) -> str:
    """The statement, without a look at the rows: for that, changes would be locked as long as it takes."""
    return (
        f"ALTER TABLE {name} ADD CONSTRAINT fk_shard_history_change_id_changes"
        " FOREIGN KEY (change_id) REFERENCES changes (id) NOT VALID"
    )


async def validate(session: AsyncSession, name: str) -> None:
    """Check the rows now, while nothing waits: attaching then need not. New tables have no statistics either."""
    await session.execute(text(f"ALTER TABLE {name} VALIDATE CONSTRAINT fk_shard_history_change_id_changes"))
    await session.execute(text(f"ANALYZE {name}"))


def adopting(name: str) -> list[str]:
    """Statements for a table that is attached and needs its marks no more."""
    return [f"ALTER TABLE {name} DROP CONSTRAINT ck_{name}_bounds", f"COMMENT ON TABLE {name} IS NULL"]


async def _make(session: AsyncSession, partition: Partition) -> None:
    for statement in create_table(partition.name):
        await session.execute(text(statement))
    await session.execute(text(f"COMMENT ON TABLE {partition.name} IS '{_UNFINISHED}'"))
    await session.commit()


async def _finish(session: AsyncSession, partition: Partition) -> None:
    """Indexes once the rows are there, which is faster; and the bounds as a constraint, so that attaching trusts it."""
    for statement in create_indexes(partition.name):
        await session.execute(text(statement))
        await session.commit()
    first = 0 if partition.first is None else partition.first
    await session.execute(
        text(
            f"ALTER TABLE {partition.name} ADD CONSTRAINT ck_{partition.name}_bounds"
            f" CHECK (revision >= {first} AND revision < {partition.after_last})"
        )
    )
    await session.commit()
