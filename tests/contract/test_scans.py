"""Scans of the shard table: every shard once, in order, in slices that are exact at their positions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from persistence.commands.shards import PinRequest
from persistence.model.records import Pin, Shard, ShardStatus
from persistence.ports.readers import Stamped
from tests.contract.conftest import Backend
from tests.support.mesh import BILLING, SEARCH, Mesh, new, patch
from tests.support.planned_mesh import PlannedMesh


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persistence.postgres.readers.scan.PAGE", 4)
    monkeypatch.setattr("persistence.postgres.readers.scan.SLICE", 2)


async def scanned(mesh: Mesh) -> Sequence[Stamped[Sequence[Shard]]]:
    return [found async for found in mesh.store.shards.scan()]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9])
async def test_every_shard_is_in_it_once_and_in_order(mesh: Mesh, count: int) -> None:
    """Also where a slice or a page ends with the table, and within a namespace as well as between two."""
    await mesh.configure(SEARCH)
    await mesh.create(*(new(f"s{number}", namespace=(BILLING, SEARCH)[number % 2]) for number in range(count)))
    slices = await scanned(mesh)
    assert [shard for found in slices for shard in found.value] == list((await mesh.table()).values())
    assert {found.position for found in slices} == {(await mesh.store.stream.head()).position}


async def test_a_scan_of_nothing_is_one_slice_with_a_position(mesh: Mesh) -> None:
    (found,) = await scanned(mesh)
    assert (list(found.value), found.position) == ([], (await mesh.store.stream.head()).position)


async def test_a_record_has_every_field(mesh: PlannedMesh, backend: Backend) -> None:
    await mesh.registered("node-a")
    until = datetime(2999, 1, 31, 9, 30, 0, 123_456, tzinfo=UTC)
    plain, full, for_good = (
        await mesh.create(
            new("s1"),
            new(
                "s2",
                leader_id="node-b",
                capacity_hint=0.25,
                locality_hint="eu/eu-1",
                status=ShardStatus.PAUSED,
                anti_affinity_group="pair",
            ),
            new("s3"),
        )
    ).shards
    (full,) = (await mesh.update(patch(full, pin=PinRequest("audit", until)))).shards
    await backend.pin(for_good.key, Pin("ops", "hot tenant", None))
    stored = list((await mesh.table()).values())
    assert [shard for found in await scanned(mesh) for shard in found.value] == stored
    assert [shard.pinned for shard in stored] == [None, full.pinned, Pin("ops", "hot tenant", None)]
    assert plain in stored


async def test_a_slice_of_a_later_page_is_as_of_a_later_position(mesh: Mesh) -> None:
    """What was deleted ahead of it is not in it, and what was created behind it neither."""
    shards = (await mesh.create(*(new(f"s{number}") for number in range(4, 12)))).shards
    before = (await mesh.store.stream.head()).position
    async with aclosing(mesh.store.shards.scan()) as slices:
        found = [await anext(slices)]
        await mesh.delete(next(shard for shard in shards if shard.shard_id == "s9"))
        await mesh.create(new("s0"))
        found += [each async for each in slices]
    assert [shard.shard_id for each in found for shard in each.value] == ["s10", "s11", "s4", "s5", "s6", "s7", "s8"]
    assert found[0].position == before
    assert found[-1].position == (await mesh.store.stream.head()).position
    revisions = [each.position.revision for each in found]
    assert revisions == sorted(revisions)
