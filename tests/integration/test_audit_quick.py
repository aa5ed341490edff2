"""What is verified quickly is what would be verified with care: the same verdict, or none."""

from __future__ import annotations

import dataclasses

import pytest

from persistence.audit.chain import BEGINNING, ChainPosition
from persistence.commands.shards import PinRequest
from persistence.postgres.audit.reader import open_reader
from persistence.postgres.audit.segments import Segment, cut, intact_verdict, verify_row_by_row
from persistence.postgres.compaction import PostgresRetention
from persistence.postgres.store import open_store
from tests.support.audited_mesh import fill_audit_log
from tests.support.mesh import because, new
from tests.support.planned_mesh import PlannedMesh


@pytest.fixture(scope="module")
async def audited(module_database_url: str) -> str:
    """With every kind of row: created, updated, deleted, moved for a reason, pinned, in a group."""
    async with open_store(module_database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.configure()
        await fill_audit_log(mesh)
        shard = await mesh.created("odd", anti_affinity_group="pair", locality_hint="eu/a", leader_id="l")
        shard = await mesh.updated(shard, pin=PinRequest(reason='says ","'), capacity_hint=1e300)
        shard = await mesh.updated(shard, pin=None, anti_affinity_group=None)
        await mesh.delete(await mesh.updated(shard, owner_node_id="node-9"))
    return module_database_url


@pytest.mark.parametrize("rows", [1, 7, 50_000])
async def test_the_verdicts_are_the_same(audited_url: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persistence.postgres.audit.segments.SEGMENT_ROWS", rows)
    async with open_reader(audited_url) as reader:
        heads = await reader.heads()
        assert heads is not None
        for segment in await cut(reader, BEGINNING, heads.end.change, 0):
            verdict = await intact_verdict(reader, segment)
            assert verdict is not None
            assert verdict == await verify_row_by_row(reader, segment)


async def test_a_segment_that_does_not_end_where_it_should_is_not_sound(audited_url: str) -> None:
    async with open_reader(audited_url) as reader:
        heads = await reader.heads()
        assert heads is not None
        head = heads.end.change
        segment = Segment(BEGINNING, head, 0, head.hash)
        assert await intact_verdict(reader, segment) is not None
        for change_id, revision in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            last = ChainPosition(head.change_id + change_id, head.revision + revision, head.hash)
            assert await intact_verdict(reader, dataclasses.replace(segment, last=last)) is None


async def test_what_compaction_left_is_looked_at_with_care(audited_url: str) -> None:
    assert await PostgresRetention(audited_url).compact(16, because("storage")) is not None
    async with open_reader(audited_url) as reader:
        assert await intact_verdict(reader, Segment(BEGINNING, None, 16, b"")) is None


@pytest.mark.parametrize(("namespace", "quickly"), [("annulled", True), ("null", False)])
async def test_a_name_that_postgresql_writes_in_quotes_is_looked_at_with_care(
    database_url: str, namespace: str, *, quickly: bool
) -> None:
    async with open_store(database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.configure(namespace)
        await mesh.create(new("s1", namespace=namespace))
    async with open_reader(database_url) as reader:
        heads = await reader.heads()
        assert heads is not None
        segment = Segment(BEGINNING, None, 0, heads.end.change.hash)
        assert (await intact_verdict(reader, segment) is not None) == quickly
        told = await verify_row_by_row(reader, segment)
        assert not told.findings.count
        assert told.namespaces == {namespace: 1}
