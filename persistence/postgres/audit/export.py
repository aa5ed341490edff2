"""Exporting the audit log of a database: up to heads that are read first, in order, in constant memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Final

from persistence.audit.chain import BEGINNING, ChainPosition
from persistence.audit.checkpoints import Checkpoint
from persistence.audit.entries import ChangeEntry
from persistence.audit.export import ExportFilter, ExportForm, Manifest, Write
from persistence.postgres.audit.reader import AuditReader, open_reader
from persistence.postgres.database import head_missing

_HAS_NAMESPACE: Final = """
    SELECT EXISTS (SELECT FROM namespaces WHERE name = $1)
        OR EXISTS (SELECT FROM refusals WHERE namespaces @> ARRAY[$1]::text[])
"""

_NAMESPACES: Final = "SELECT name FROM namespaces ORDER BY name LIMIT 10000"

_BEFORE: Final = """
    SELECT id, head_revision, hash FROM changes WHERE committed_at < $1 ORDER BY committed_at DESC, id DESC LIMIT 1
"""

_REFUSED_BEFORE: Final = """
    SELECT id, hash FROM refusals WHERE refused_at < $1 ORDER BY refused_at DESC, id DESC LIMIT 1
"""


async def unless_namespace(url: str, name: str) -> Sequence[str] | None:
    """Null if the log has entries of it: it was configured, or a refused request named it. Else names that there are,
    the first thousands, of which one may have been meant."""
    async with open_reader(url) as reader:
        if await reader.connection.fetchval(_HAS_NAMESPACE, name):
            return None
        return [row["name"] for row in await reader.connection.fetch(_NAMESPACES)]


async def export(
    url: str,
    where: ExportFilter,
    form: ExportForm,
    write: Write,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Manifest:
    """Everything but the manifest goes to `write`. `progress` is called with revisions done and in all.

    Raises StoreError; StaleHeads if a compaction took away rows that were still to be read: then what was
    written is no export.
    """
    async with open_reader(url) as reader:
        return await export_on(reader, where, form, write, progress)


async def export_on(
    reader: AuditReader,
    where: ExportFilter,
    form: ExportForm,
    write: Write,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Manifest:
    """`export` on a reader's connection."""
    heads = await reader.heads()
    if heads is None:
        raise head_missing()
    start = await _start(reader, where.since)
    manifest = Manifest(start)
    write(manifest.add(form.header(heads.epoch, heads.floor, start, where)))
    total = heads.end.change.revision - start.change.revision
    rows = reader.rows(start.change.revision, heads.newest.revision, heads.mark)
    position = start.change
    async for change in _changes(reader, start.change.change_id, heads.newest.change_id, where.until):
        if where.selects(change):
            rows.skip_to(change.head_revision - change.shard_count)
            own = await rows.up_to(change.head_revision) if change.shard_count else []
            write(manifest.add(form.change(change, own)))
            manifest.changes += 1
            manifest.rows += len(own)
        else:
            write(manifest.add(form.omitted_change(change)))
            manifest.omitted_changes += 1
        position = ChainPosition(change.id, change.head_revision, change.hash)
        progress(change.head_revision - start.change.revision, total)
    refusal_id, link = await _export_refusals(reader, start, heads.newest.refusal_id, where, form, write, manifest)
    manifest.end = Checkpoint(position, refusal_id, link)
    return manifest


async def _start(reader: AuditReader, since: datetime | None) -> Checkpoint:
    """The newest change and refusal of before that time: commit times never go back."""
    if since is None:
        return Checkpoint()
    change = await reader.connection.fetchrow(_BEFORE, since)
    refusal = await reader.connection.fetchrow(_REFUSED_BEFORE, since)
    position = BEGINNING if change is None else ChainPosition(*change)
    return Checkpoint(position) if refusal is None else Checkpoint(position, *refusal)


async def _changes(reader: AuditReader, after: int, last: int, until: datetime | None) -> AsyncIterator[ChangeEntry]:
    async for change in reader.changes(after, last):
        if until is not None and change.committed_at >= until:
            return
        yield change


async def _export_refusals(
    reader: AuditReader,
    start: Checkpoint,
    last: int,
    where: ExportFilter,
    form: ExportForm,
    write: Write,
    manifest: Manifest,
) -> tuple[int, bytes]:
    refusal_id, link = start.refusal_id, start.refusal_hash
    async for refusal in reader.refusals(start.refusal_id, last):
        if where.until is not None and refusal.refused_at >= where.until:
            break
        if where.selects(refusal):
            write(manifest.add(form.refusal(refusal)))
            manifest.refusals += 1
        else:
            write(manifest.add(form.omitted_refusal(refusal)))
            manifest.omitted_refusals += 1
        refusal_id, link = refusal.id, refusal.hash
    return refusal_id, link
