"""What plans are computed from: everything at one revision, however large it is and whatever is written meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from persistence.model.records import NodeStatus, Pin, Shard, ShardDiff, ShardKey
from persistence.planning.snapshot import PlacedShard, PlacementSnapshot
from tests.contract.conftest import Backend
from tests.support.mesh import BILLING, SEARCH, new, patch
from tests.support.model import replay
from tests.support.planned_mesh import PlannedMesh


@pytest.fixture(params=[3, 20_000], ids=["many statements", "one statement"], autouse=True)
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many shards are requested of PostgreSQL at once."""
    monkeypatch.setattr("persistence.postgres.readers.placement._CHUNK", request.param)


def placed(shards: Iterator[Shard] | Sequence[Shard]) -> dict[str, list[PlacedShard]]:
    """What a snapshot must hold of these shards."""
    found: dict[str, list[PlacedShard]] = {}
    for shard in sorted(shards, key=lambda shard: shard.key):
        found.setdefault(shard.namespace, []).append(
            PlacedShard(
                shard.shard_id,
                shard.owner_node_id,
                shard.version,
                shard.strategy,
                shard.capacity_hint,
                shard.locality_hint,
                shard.pinned is not None,
                None,
                shard.leader_id,
            )
        )
    return found


async def spread(mesh: PlannedMesh) -> None:
    """Shards in three of five namespaces, in the middle one exactly as many as fit into two chunks."""
    for name in ("a", SEARCH, "Z", "empty"):
        await mesh.configure(name, strategy="ring", parameters={"virtualNodes": 7})
    names = {BILLING: 7, SEARCH: 2, "a": 6}
    for namespace, count in names.items():
        for number in range(count):
            hint = f"eu/zone-{number}" if number % 2 else None
            shard = new(f"S{number}-_.:"[: 2 + number % 5], "node-a", namespace=namespace, locality_hint=hint)
            await mesh.create(shard)
    shards = list((await mesh.table()).values())
    await mesh.update(*(patch(shard, owner_node_id="node-b", capacity_hint=0.1) for shard in shards[::2]))


async def test_a_snapshot_is_the_whole_table_by_namespace_and_id(mesh: PlannedMesh) -> None:
    await spread(mesh)
    nodes = await mesh.registered("node-b", "node-a", "B", region="eu", labels={"disk": "ssd"}, weight=3)
    await mesh.change_node(nodes[2], status=NodeStatus.DOWN)
    await mesh.change_node((await mesh.register("gone")).node, status=NodeStatus.REMOVED)
    names = ["Z", "a", BILLING, "empty", SEARCH]
    snapshot = await mesh.store.placement.snapshot()
    assert snapshot.position == (await mesh.store.stream.head()).position
    assert snapshot.namespaces == [await mesh.namespace(name) for name in names]
    assert snapshot.nodes == [replace(node, shard_count=0) for node in await mesh.nodes()]
    assert [node.node_id for node in snapshot.nodes] == ["B", "node-a", "node-b"]
    assert snapshot.shards == {name: [] for name in names} | placed(list((await mesh.table()).values()))
    assert list(snapshot.shards) == names
    assert {type(shard) for shard in snapshot.shards["a"]} == {PlacedShard}


async def test_a_snapshot_of_some_namespaces_has_no_others(mesh: PlannedMesh) -> None:
    await spread(mesh)
    whole = await mesh.store.placement.snapshot()
    for names in ([BILLING], ["a", SEARCH], [SEARCH, "nowhere", "a"], {"empty"}, ["nowhere"], []):
        snapshot = await mesh.store.placement.snapshot(names)
        known = [space for space in whole.namespaces if space.name in names]
        assert (snapshot.namespaces, snapshot.nodes) == (known, whole.nodes)
        assert snapshot.shards == {space.name: whole.shards[space.name] for space in known}


async def test_an_empty_store_has_an_empty_snapshot(backend: Backend) -> None:
    head = await backend.store.stream.head()
    assert await backend.store.placement.snapshot() == PlacementSnapshot(head.position, [], [], {})


async def test_a_pin_counts_until_it_ends(backend: Backend, mesh: PlannedMesh) -> None:
    shards = (await mesh.create(new("s0"), new("s1"), new("s2"), new("s3"))).shards
    now = shards[0].created_at
    for shard, until in zip(shards, (None, now + timedelta(days=1), now - timedelta(days=1)), strict=False):
        await backend.pin(shard.key, Pin("alice", "hot tenant", until))
    snapshot = await mesh.store.placement.snapshot()
    assert [shard.pinned for shard in snapshot.shards[BILLING]] == [True, True, False, False]


async def test_a_snapshot_is_of_one_revision_while_others_write(mesh: PlannedMesh) -> None:
    await spread(mesh)
    await mesh.registered("node-a", "node-b", "node-c")
    table = list((await mesh.table()).values())
    enough = asyncio.Event()

    async def write(worker: int) -> None:
        """Moves shards of several namespaces at once, and makes and removes some."""
        number, mine = 0, table[worker::2]
        while not enough.is_set():
            number += 1
            extra = await mesh.create(*(new(f"{worker}-{number}-{one}", namespace=SEARCH) for one in range(4)))
            owner = f"node-{'abc'[number % 3]}"
            updated = await mesh.update(*(patch(shard, owner_node_id=owner) for shard in (*mine, *extra.shards)))
            mine = list(updated.shards[3:])
            await mesh.delete(*updated.shards[:3])
            await asyncio.sleep(0)  # in memory nothing else gives the others their turn

    writers = [asyncio.create_task(write(worker)) for worker in range(2)]
    snapshots: list[PlacementSnapshot] = []
    while len({snapshot.position for snapshot in snapshots}) < 12:
        snapshots.append(await mesh.store.placement.snapshot())
        await asyncio.sleep(0)
    enough.set()
    await asyncio.gather(*writers)
    history = await mesh.history()
    for snapshot in snapshots:
        check(snapshot, history)


async def test_a_snapshot_leaves_others_free_to_write(mesh: PlannedMesh) -> None:
    """The connection it was read on is none that only reads."""
    await mesh.store.placement.snapshot()
    epoch = (await mesh.store.stream.head()).epoch
    await mesh.store.stream.renew(epoch)
    assert (await mesh.store.placement.snapshot()).position.epoch != epoch


def check(snapshot: PlacementSnapshot, history: Sequence[ShardDiff]) -> None:
    """Shards and digests' counts are those of the revision of the snapshot. Nodes' shards are not counted."""
    table: dict[ShardKey, Shard] = replay(history[: snapshot.position.revision])
    expected = placed(list(table.values()))
    assert {name: shards for name, shards in snapshot.shards.items() if shards} == expected
    counts = {space.name: space.shard_count for space in snapshot.namespaces}
    assert counts == {name: len(shards) for name, shards in snapshot.shards.items()}
    assert {node.shard_count for node in snapshot.nodes} <= {0}
