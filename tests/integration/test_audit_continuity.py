"""Rows that do not go on from each other, as a faulty writer would have left them: their chain holds, and so do tables.

No unique index sees them either: what is written lies in several partitions.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from persistence.audit.chain import ChainPosition
from persistence.audit.checkpoints import Checkpoint
from persistence.audit.compliance import ComplianceChecker
from persistence.audit.entries import Finding
from persistence.audit.export import ExportFilter, JsonLines, line
from persistence.audit.export_verification import verify_lines
from persistence.postgres.audit import segments
from persistence.postgres.audit.export import export_on
from persistence.postgres.audit.reader import AuditReader
from persistence.postgres.audit.verify import verify, verify_on
from persistence.postgres.compaction import PostgresRetention
from persistence.postgres.store import open_store
from tests.support.audited_mesh import shown
from tests.support.forged_history import Story, forge, forged
from tests.support.mesh import SEARCH, Mesh, because, new, patch
from tests.support.partitions import repartition

SPAN: Final = 10
SCRIPT: Final = Path(__file__).parents[2] / "docs" / "verify_audit.py"
DELETED, CREATED_AGAIN = 5, 14
"""Revisions of x, on two sides of a partition's boundary."""


@pytest.fixture(scope="module")
async def audited(module_database_url: str) -> str:
    """x is created, given to another owner, changed, given on, deleted; after the boundary created again, given to
    another owner, changed, deleted; and created a third time."""
    await repartition(module_database_url, SPAN)
    async with open_store(module_database_url, history_span=SPAN) as store:
        mesh = Mesh(store)
        await mesh.configure()
        await mesh.configure(SEARCH)
        x = await mesh.created("x", "node-1")
        x = await mesh.updated(x, owner_node_id="node-2")
        x = await mesh.updated(x, leader_id="leader")
        x = await mesh.updated(x, owner_node_id="node-3")
        await mesh.delete(x)
        await fill(mesh, CREATED_AGAIN - 1, namespace=SEARCH)
        x = await mesh.created("x", "node-4")
        x = await mesh.updated(x, owner_node_id="node-5")
        x = await mesh.updated(x, capacity_hint=2.0)
        await mesh.delete(x)
        await fill(mesh, 23)
        await mesh.created("x", "node-6")
        await fill(mesh, 25)
    return module_database_url


async def fill(mesh: Mesh, last: int, **fields: Any) -> None:
    """Other shards, up to a revision."""
    first = (await mesh.store.stream.head()).revision + 1
    (shard,) = (await mesh.create(new(f"filler-{first}", **fields))).shards
    while shard.revision < last:
        shard = await mesh.updated(shard, owner_node_id=f"node-{shard.version}")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def twice(story: Story, first: int, version: int, epoch: int) -> None:
    """From a creation on, x counts on from other numbers than it should."""
    story.shift("x", first, "version", version)
    story.shift("x", first, "ownerEpoch", epoch)


def created_while_there(story: Story) -> None:
    before = dict.fromkeys(("previous", "previous_revision", "previous_updated_at"))
    story.replace(4, kind="CREATED", created_at=story.times[4], **before)
    story.replace(5, created_at=story.times[4])


def updated_while_gone(story: Story) -> None:
    last, created_at = story.rows[DELETED], story.rows[1].created_at
    story.replace(
        CREATED_AGAIN,
        kind="UPDATED",
        previous=last.previous,
        previous_revision=last.previous_revision,
        previous_updated_at=last.previous_updated_at,
        created_at=created_at,
    )
    story.edit(CREATED_AGAIN, "current", lambda image: image.update(version=5, ownerEpoch=4))
    for revision in (15, 16, 17):
        story.replace(revision, created_at=created_at)
    story.edit(15, "previous", lambda image: image.update(version=5, ownerEpoch=4))
    twice(story, 15, -1, 0)


def lost_update(story: Story) -> None:
    """Two updates of what the same row left: the second writer did not see the first."""
    second = story.rows[2]
    story.replace(
        3,
        previous=second.previous,
        previous_revision=second.previous_revision,
        previous_updated_at=second.previous_updated_at,
    )
    story.edit(3, "current", lambda image: image.update(version=2, ownerEpoch=2, ownerNodeId="node-other"))
    for revision in (4, 5):
        story.edit(revision, "previous", lambda image: image.update(version=image["version"] - 1))
    story.edit(4, "previous", lambda image: image.update(ownerNodeId="node-other"))
    story.edit(4, "current", lambda image: image.update(version=3))
    twice(story, 14, -1, 0)


def created_at_another_time(story: Story) -> None:
    for revision in (16, 17):
        story.replace(revision, created_at=story.times[15])


EDITS: Final[dict[str, tuple[int, Callable[[Story], None]]]] = {
    "a version given twice": (3, lambda story: story.shift("x", 3, "version", -1)),
    "a version left out": (2, lambda story: story.shift("x", 2, "version", 1)),
    "an owner epoch given twice": (4, lambda story: story.shift("x", 4, "ownerEpoch", -1)),
    "an owner epoch left out": (15, lambda story: story.shift("x", 15, "ownerEpoch", 1)),
    "an owner epoch without another owner": (16, lambda story: story.shift("x", 16, "ownerEpoch", 1)),
    "version and owner epoch given twice across a boundary": (14, lambda story: twice(story, 14, -2, -1)),
    "a second life that begins anew": (14, lambda story: twice(story, 14, -5, -3)),
    "a first life that does not begin with 1": (1, lambda story: twice(story, 1, 1, 1)),
    "another image before": (15, lambda story: story.edit(15, "previous", lambda image: image.update(leaderId="l"))),
    "another row before": (3, lambda story: story.replace(3, previous_revision=1)),
    "another time before": (
        16,
        lambda story: story.replace(16, previous_updated_at=story.times[15] - timedelta(seconds=1)),
    ),
    "another time of creation": (16, created_at_another_time),
    "a deletion of something else": (5, lambda story: story.edit(5, "previous", lambda one: one.update(leaderId="l"))),
    "a creation of what is there": (4, created_while_there),
    "an update of what is gone": (14, updated_while_gone),
    "an update that another one lost": (3, lost_update),
}


async def found_by_verifying(reader: AuditReader, since: Checkpoint | None = None) -> Sequence[Finding]:
    return (await verify_on(reader, since)).findings.listed


async def found_in_an_export(reader: AuditReader, lines: list[bytes], where: ExportFilter) -> Sequence[Finding]:
    manifest = await export_on(reader, where, JsonLines(), lines.append)
    lines.append(line(manifest.document()))
    return verify_lines(b"".join(lines).splitlines(keepends=True)).findings.listed


def by_script(path: Path, lines: Sequence[bytes]) -> tuple[int, str]:
    path.write_bytes(b"".join(lines))
    done = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return done.returncode, done.stdout + done.stderr


async def breaches(reader: AuditReader) -> list[tuple[str, str]]:
    checker, rows = ComplianceChecker(), reader.rows()
    return [
        (breach.rule, breach.subject)
        async for change in reader.changes(0)
        for breach in checker.add(change, await rows.up_to(change.head_revision))
    ]


async def place_before(reader: AuditReader, revision: int) -> Checkpoint:
    """The end of the change before the one that made a row."""
    changes = [change async for change in reader.changes(0) if change.head_revision < revision]
    last = changes[-1]
    return Checkpoint(ChainPosition(last.id, last.head_revision, last.hash))


async def test_a_log_that_was_not_forged_is_in_order(audited_url: str) -> None:
    async with connected(audited_url) as connection, connection.transaction():
        await forge(connection, lambda _: None)
        assert shown(await verify_on(AuditReader(connection))) == []


async def test_a_row_that_does_not_go_on_is_found_once_and_where_it_is(audited_url: str, tmp_path: Path) -> None:
    async with connected(audited_url) as connection:
        reader = AuditReader(connection)
        for name, (revision, edit) in EDITS.items():
            where = [("shard_history", str(revision))]
            async with forged(connection, edit):
                found = await found_by_verifying(reader)
                assert [(finding.table, finding.key) for finding in found] == where, (name, found)
                assert "billing/x" in found[0].problem
                lines: list[bytes] = []
                exported = await found_in_an_export(reader, lines, ExportFilter())
                assert [(finding.table, finding.key) for finding in exported] == where, name
                ended, said = by_script(tmp_path / "export.jsonl", lines)
                assert (ended, f"row {revision} " in said) == (1, True), (name, said)
                filtered = await found_in_an_export(reader, [], ExportFilter(namespace="billing"))
                assert [(finding.table, finding.key) for finding in filtered] == where, name
                assert await breaches(reader) == [("CONTINUITY", "billing/x")], name


async def test_a_row_that_does_not_go_on_is_found_where_segments_are_put_together(
    audited_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of one shard in segments of their own, then some together; and from a checkpoint right before the row."""
    async with connected(audited_url) as connection:
        reader = AuditReader(connection)
        for name, (revision, edit) in EDITS.items():
            async with forged(connection, edit):
                found = await found_by_verifying(reader)
                assert await found_by_verifying(reader, await place_before(reader, revision)) == found, name
                for rows in (1, 7):
                    with monkeypatch.context() as patched:
                        patched.setattr(segments, "SEGMENT_ROWS", rows)
                        assert await found_by_verifying(reader) == found, name


async def scenario(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """x was created as version 3 with owner epoch 2, deleted, and across a boundary created as the same by a writer
    that had read before. What it left is version 3, so version 4 follows."""
    monkeypatch.setattr(segments, "SEGMENT_ROWS", 5)
    await repartition(url, SPAN)
    async with open_store(url, history_span=SPAN) as store:
        mesh = Mesh(store)
        await mesh.configure()
        await mesh.delete(await mesh.created("x", "node-1"))
        await mesh.delete(await mesh.created("x", "node-2"))
        await fill(mesh, 12)
        x = await mesh.created("x", "node-3")
        await fill(mesh, 15)
        await mesh.updated(x, leader_id="l")
        await fill(mesh, 20)
    async with connected(url) as connection, connection.transaction():
        await forge(connection, lambda story: twice(story, 13, -2, -1))
    return url


async def test_one_fencing_token_given_to_two_owners_across_a_boundary_is_found(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await scenario(database_url, monkeypatch)
    for processes in (1, 2):
        verdict = await verify(url, processes=processes)
        (finding,) = verdict.findings.listed
        assert str(finding) == (
            "shard_history 13: billing/x created as version 3, owner epoch 2; "
            "expected version 5, owner epoch 3: revision 4 deleted version 4, owner epoch 2"
        )


async def test_a_history_that_was_compacted_begins_with_what_was_kept(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await scenario(database_url, monkeypatch)
    retention = PostgresRetention(url)
    assert await retention.compact(4, because("storage")) is not None
    assert [finding.key for finding in (await verify(url)).findings.listed] == ["13"]
    assert await retention.compact(14, because("storage")) is not None
    assert shown(await verify(url)) == []


@pytest.mark.parametrize(("by", "is_found"), [(0, False), (-1, False), (-2, True), (1, True)])
async def test_what_a_filter_leaves_out_of_an_export_is_not_taken_for_a_break(
    audited_url: str, by: int, *, is_found: bool
) -> None:
    """Between two changes of alice are two that are left out: of the versions, no more than two can be theirs."""
    async with open_store(audited_url) as store:
        mesh = Mesh(store)
        x = await mesh.shard("x")
        assert x is not None
        for number, actor in enumerate(("alice", "bob", "bob", "alice")):
            change = because("in turn", actor=actor)
            (x,) = (await mesh.update(patch(x, owner_node_id=f"node-{number}"), change=change)).shards
        last = x.revision

    def shift(story: Story) -> None:
        for image in ("previous", "current"):
            story.edit(last, image, lambda document: document.update(version=document["version"] + by))

    async with connected(audited_url) as connection, forged(connection, shift):
        reader = AuditReader(connection)
        found = await found_in_an_export(reader, [], ExportFilter(actor="alice"))
        assert [(finding.table, finding.key) for finding in found] == [("shard_history", str(last))] * is_found
        assert await found_in_an_export(reader, [], ExportFilter(actor="bob")) == []
        since = ExportFilter(since=await reader.connection.fetchval("SELECT max(committed_at) FROM changes"))
        assert await found_in_an_export(reader, [], since) == []


async def test_rows_that_are_missing_are_not_told_again_by_what_follows_from_them(audited_url: str) -> None:
    async with connected(audited_url) as connection, connection.transaction():
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("DELETE FROM shard_history WHERE revision IN (2, 3)")
        found = await found_by_verifying(AuditReader(connection))
    assert [(finding.table, finding.key) for finding in found] == [("shard_history", "2"), ("shard_history", "3")]
