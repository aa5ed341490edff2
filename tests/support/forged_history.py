"""History as a faulty writer would have left it: rows that break a rule, in a chain and with tables that agree.

So only the rows themselves, compared with each other, can show it. Done as a superuser, whom no trigger stops.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from persistence.audit.entries import ChangeEntry, RowEntry
from persistence.audit.row_images import expected_columns, parsed_images
from persistence.codec import hash_chain as audit
from persistence.codec.encoding import digest_term
from persistence.codec.images import read_image
from persistence.postgres.audit.reader import AuditReader
from persistence.postgres.rows import HALVES

_UPDATE: Final = """
    UPDATE shard_history SET kind = $2, previous = $3::text::json, previous_revision = $4, previous_updated_at = $5,
        created_at = $6, current = $7::text::json, version = $8, changed_fields = $9, owner_node_id = $10,
        previous_owner_node_id = $11
    WHERE revision = $1
"""
_SHARD: Final = """
    INSERT INTO shards (namespace, shard_id, strategy, owner_node_id, leader_id, capacity_hint, locality_hint, status,
        change_ticket, version, owner_epoch, checksum, revision, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
"""
_HEADS: Final = """
    UPDATE namespace_heads SET digest_high = $2, digest_low = $3, shard_count = $4 WHERE name = $1
"""


@dataclass
class Story:
    """All rows by revision, to be edited before they are written back, and when each was committed. Shards have no
    pins and no groups."""

    rows: dict[int, RowEntry]
    times: dict[int, datetime]

    def of(self, shard_id: str) -> list[int]:
        """The revisions of a shard."""
        return [revision for revision, row in self.rows.items() if row.shard_id == shard_id]

    def replace(self, revision: int, **fields: Any) -> None:
        self.rows[revision] = self.rows[revision]._replace(**fields)

    def edit(self, revision: int, image: str, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change one image of a row; none is left as it is."""
        document = parsed_images(self.rows[revision])[image == "current"]
        if document is not None:
            edit(document)
            self.replace(revision, **{image: orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()})

    def shift(self, shard_id: str, first: int, member: str, by: int) -> None:
        """From a revision on everything counts from another number: the first row breaks a rule, the others go on."""

        def shifted(image: dict[str, Any]) -> None:
            image[member] += by

        for revision in self.of(shard_id):
            if revision > first:
                self.edit(revision, "previous", shifted)
            if revision >= first:
                self.edit(revision, "current", shifted)


@asynccontextmanager
async def forged(connection: asyncpg.Connection, edit: Callable[[Story], None]) -> AsyncIterator[None]:
    """Inside, history is what `edit` made of it; in the end it is as it was."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await forge(connection, edit)
        yield
    finally:
        await transaction.rollback()


async def forge(connection: asyncpg.Connection, edit: Callable[[Story], None]) -> None:
    for (index,) in await connection.fetch("SELECT indexname FROM pg_indexes WHERE indexname ~ '^uq_shard_history'"):
        await connection.execute(f"DROP INDEX {index}")
    await connection.execute("SET session_replication_role = replica")
    reader = AuditReader(connection)
    before = {row.revision: row for row in await reader.rows().up_to(2**63 - 1)}
    changes = [change async for change in reader.changes(0)]
    times = {change.id: change.committed_at for change in changes}
    story = Story(dict(before), {row.revision: times[row.change_id] for row in before.values()})
    edit(story)
    for revision, row in story.rows.items():
        if row != before[revision]:
            story.rows[revision] = await _write(connection, row)
    await _chain_anew(connection, changes, list(story.rows.values()))
    await _fill_tables(connection, list(story.rows.values()), times)


async def _write(connection: asyncpg.Connection, row: RowEntry) -> RowEntry:
    row = row._replace(**expected_columns(*parsed_images(row)))
    fields = row.changed_fields.split(",") if row.changed_fields else []
    images = (row.previous, row.previous_revision, row.previous_updated_at, row.created_at, row.current)
    owners = (row.owner_node_id, row.previous_owner_node_id)
    await connection.execute(_UPDATE, row.revision, row.kind, *images, row.version, fields, *owners)
    return row


async def _chain_anew(connection: asyncpg.Connection, changes: list[ChangeEntry], rows: list[RowEntry]) -> None:
    link = audit.GENESIS
    for change in changes:
        first = change.head_revision - change.shard_count
        own = [row for row in rows if first < row.revision <= change.head_revision]
        digests = [row.digest() for row in own]
        content = change.content(digests) if len(own) == change.shard_count else change.content_digest
        link = change._replace(content_digest=content).link(link)
        await connection.execute(
            "UPDATE changes SET content_digest = $2, hash = $3 WHERE id = $1", change.id, content, link
        )
    await connection.execute("UPDATE stream_head SET hash = $1", link)


async def _fill_tables(connection: asyncpg.Connection, rows: list[RowEntry], times: dict[int, Any]) -> None:
    await connection.execute("DELETE FROM shards; DELETE FROM shard_tombstones")
    digests: dict[str, tuple[int, int]] = {row.namespace: (0, 0) for row in rows}
    for row in {(row.namespace, row.shard_id): row for row in rows}.values():
        if row.current is None:
            epoch = parsed_images(row)[0]["ownerEpoch"]
            statement = "INSERT INTO shard_tombstones VALUES ($1, $2, $3, $4)"
            await connection.execute(statement, row.namespace, row.shard_id, row.version, epoch)
            continue
        shard = read_image(row.current, row.revision, row.created_at, times[row.change_id])
        digest, count = digests[row.namespace]
        digests[row.namespace] = (digest ^ digest_term(shard.shard_id, shard.version, shard.checksum), count + 1)
        content = (shard.strategy, shard.owner_node_id, shard.leader_id, shard.capacity_hint, shard.locality_hint)
        counters = (shard.version, shard.owner_epoch, shard.checksum, shard.revision)
        what = (*content, shard.status, shard.change_ticket, *counters, shard.created_at, shard.updated_at)
        await connection.execute(_SHARD, *shard.key, *what)
    for name, (digest, count) in digests.items():
        await connection.execute(_HEADS, name, *HALVES.unpack(digest.to_bytes(16)), count)
