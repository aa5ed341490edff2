"""Nodes: registered, described anew, taken out, and back again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from typing import Final

import pytest

from persistence.commands.command import Command
from persistence.commands.nodes import DrainNode, RegisterNode, UpdateNode
from persistence.commands.read_state import ReadSet
from persistence.errors import InvalidArgument
from persistence.model.outcomes import NodeChanged, NodeInUse, NotFound, Outcome, StaleNode
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import NodeFilter
from persistence.model.records import ChangeKind, ConfigurationChange, Node, NodeStatus
from tests.support.mesh import CHANGE, COUNTED, because, everything, everything_backwards, new, patch
from tests.support.planned_mesh import PlannedMesh, node_changed

# Once more when connections are open and statements prepared: only then do writers really meet.
ROUNDS: Final = ("a", "b", "c")


async def refused(mesh: PlannedMesh, command: Command) -> Outcome:
    """The refusal of a command that must leave no trace."""
    before = await mesh.everything_kept()
    outcome = await mesh.execute(command)
    assert await mesh.everything_kept() == before
    return outcome


async def test_a_new_node_is_at_version_one(mesh: PlannedMesh) -> None:
    labels = {"disk": "ssd", "example.com/rack": "r7"}
    outcome = await mesh.register(
        "node-a",
        region="eu",
        zone="eu-1",
        labels=labels,
        weight=4,
        status=NodeStatus.CORDONED,
        change=because("new hardware", change_ticket="CHG-1"),
    )
    at = outcome.change.committed_at
    assert outcome.node == Node("node-a", "eu", "eu-1", labels, 4, NodeStatus.CORDONED, "CHG-1", 1, 0, at, at)
    assert await mesh.store.nodes.get("node-a") == outcome.node


async def test_a_node_needs_no_more_than_an_id(mesh: PlannedMesh) -> None:
    node = (await mesh.register("node-a")).node
    assert (node.region, node.zone, node.labels, node.weight, node.status) == (None, None, {}, 1, NodeStatus.ACTIVE)
    assert node.change_ticket is None


async def test_a_node_that_was_never_registered_is_none(mesh: PlannedMesh) -> None:
    assert await mesh.store.nodes.get("node-a") is None


async def test_a_change_of_a_node_takes_no_revision_and_names_no_namespace(mesh: PlannedMesh) -> None:
    await mesh.create(new("s1"))
    before = (await mesh.store.stream.head()).position
    change = (await mesh.register("node-a", change=because("why", change_ticket="CHG-7"))).change
    assert (change.kind, change.namespaces, change.shard_count) == (ChangeKind.REGISTER_NODE, (), 0)
    assert (change.first_revision, change.last_revision, change.rebalance) == (None, None, None)
    assert (await mesh.store.stream.head()).position == before
    assert (await mesh.changes())[-1] == change


async def test_a_change_of_a_node_is_audited_with_what_was_before_and_after(mesh: PlannedMesh) -> None:
    node = (await mesh.register("node-a", region="eu", labels={"disk": "ssd"})).node
    node = (await mesh.change_node(node, zone="eu-1", weight=3)).node
    drained = node_changed(await mesh.execute(DrainNode("node-a", node.version, CHANGE)))
    first = {"region": "eu", "zone": None, "labels": {"disk": "ssd"}, "weight": 1, "status": "ACTIVE", "version": 1}
    second = {**first, "zone": "eu-1", "weight": 3, "version": 2}
    third = {**second, "status": "DRAINING", "version": 3}
    changes = (await mesh.changes())[-3:]
    assert [change.configuration for change in changes] == [
        ConfigurationChange(None, "node-a", None, first),
        ConfigurationChange(None, "node-a", first, second),
        ConfigurationChange(None, "node-a", second, third),
    ]
    assert [change.kind for change in changes] == [
        ChangeKind.REGISTER_NODE,
        ChangeKind.UPDATE_NODE,
        ChangeKind.DRAIN_NODE,
    ]
    assert drained.node.status is NodeStatus.DRAINING


async def test_an_update_changes_the_fields_it_names(mesh: PlannedMesh) -> None:
    before = (await mesh.register("node-a", region="eu", zone="eu-1", labels={"disk": "ssd"}, weight=4)).node
    outcome = await mesh.change_node(before, weight=2, change=because("slower", change_ticket="CHG-2"))
    after = outcome.node
    at = outcome.change.committed_at
    assert after == replace(before, weight=2, version=2, change_ticket="CHG-2", updated_at=at)
    after = (await mesh.change_node(after, region=None, labels={"gpu": "yes"})).node
    assert (after.region, after.zone, after.labels, after.weight) == (None, "eu-1", {"gpu": "yes"}, 2)
    assert (after.change_ticket, after.version) == (None, 3)
    assert await mesh.node("node-a") == after


async def test_a_node_counts_the_shards_it_owns(mesh: PlannedMesh) -> None:
    one, two = (await mesh.create(new("s1", "node-a"), new("s2", "node-a"), new("s3", "node-b"))).shards[:2]
    assert (await mesh.register("node-a")).node.shard_count == 2
    await mesh.register("node-c")
    await mesh.update(patch(one, owner_node_id="node-c"))
    await mesh.delete(two)
    counts = {node.node_id: node.shard_count for node in await mesh.nodes()}
    assert counts == {"node-a": 0, "node-c": 1}
    assert (await mesh.mark("node-c", weight=2)).node.shard_count == 1


async def test_a_stale_version_names_the_current_node_and_who_changed_it(mesh: PlannedMesh) -> None:
    first = (await mesh.register("node-a")).node
    second = await mesh.change_node(first, weight=2, change=because("bigger", actor="architect"))
    await mesh.register("node-b")
    expected = StaleNode("node-a", 1, 2, second.node, second.change)
    assert await refused(mesh, UpdateNode("node-a", 1, CHANGE, weight=3)) == expected
    assert await refused(mesh, DrainNode("node-a", 1, CHANGE)) == expected
    assert await refused(mesh, UpdateNode("node-a", 3, CHANGE, weight=3)) == replace(expected, expected=3)
    assert await refused(mesh, RegisterNode("node-a", CHANGE)) == replace(expected, expected=0)


async def test_a_node_that_is_not_there_is_not_found(mesh: PlannedMesh) -> None:
    await mesh.change_node((await mesh.register("gone")).node, status=NodeStatus.REMOVED)
    for node_id in ("node-a", "gone"):
        assert await refused(mesh, UpdateNode(node_id, 2, CHANGE, weight=2)) == NotFound(nodes=(node_id,))
        assert await refused(mesh, DrainNode(node_id, 2, CHANGE)) == NotFound(nodes=(node_id,))


async def test_a_node_that_owns_shards_cannot_be_removed(mesh: PlannedMesh) -> None:
    node = (await mesh.register("node-a")).node
    shard = await mesh.created("s1", "node-a")
    remove = UpdateNode("node-a", node.version, CHANGE, status=NodeStatus.REMOVED)
    assert await refused(mesh, remove) == NodeInUse(replace(node, shard_count=1))
    shard = await mesh.updated(shard, owner_node_id="node-b", leader_id="node-a")
    assert await refused(mesh, remove) == NodeInUse(replace(node, leader_count=1))
    await mesh.updated(shard, leader_id=None)
    removed = node_changed(await mesh.execute(remove)).node
    assert (removed.status, removed.shard_count, removed.leader_count) == (NodeStatus.REMOVED, 0, 0)


async def test_shards_that_a_node_leads_are_counted_in_every_answer(mesh: PlannedMesh) -> None:
    node = (await mesh.register("node-a")).node
    await mesh.create(*(new(f"s{number}", owner="node-b", leader_id="node-a") for number in range(3)), new("own"))
    again = (await mesh.change_node(node, weight=2)).node
    assert (again.shard_count, again.leader_count) == (1, 3)
    assert await mesh.nodes() == [again] == [await mesh.node("node-a")]
    uncounted = await mesh.store.nodes.get("node-a", shards_counted=False)
    assert uncounted == replace(again, shard_count=0, leader_count=0)


async def test_a_removed_node_is_still_known_but_no_longer_listed(mesh: PlannedMesh) -> None:
    node = (await mesh.register("node-a", region="eu")).node
    removed = (await mesh.change_node(node, status=NodeStatus.REMOVED)).node
    assert await mesh.node("node-a") == removed
    assert (await mesh.nodes(), (await mesh.store.nodes.page(NodeFilter(), COUNTED)).total) == ([], 0)
    assert await mesh.nodes(NodeFilter(statuses=[NodeStatus.REMOVED])) == [removed]
    assert await mesh.nodes(NodeFilter(statuses=[NodeStatus.REMOVED], regions=["us"])) == []


async def test_a_node_that_comes_back_goes_on_with_its_version(mesh: PlannedMesh) -> None:
    first = await mesh.register("node-a", region="eu", weight=4, labels={"disk": "ssd"})
    await mesh.change_node(first.node, status=NodeStatus.REMOVED)
    back = await mesh.register("node-a", zone="us-1")
    created, updated = first.node.created_at, back.change.committed_at
    assert back.node == Node("node-a", None, "us-1", {}, 1, NodeStatus.ACTIVE, None, 3, 0, created, updated)
    assert back.change.configuration is not None
    assert back.change.configuration.previous is not None
    assert back.change.configuration.previous["status"] == NodeStatus.REMOVED
    assert await mesh.nodes() == [back.node]


async def test_the_last_change_of_a_node_is_the_newest_of_that_node(mesh: PlannedMesh) -> None:
    node = (await mesh.register("node-a")).node
    second = await mesh.change_node(node, weight=2)
    await mesh.register("node-b")
    await mesh.configure("node-a")
    async with mesh.store.unit_of_work() as unit:
        assert await unit.last_node_change("node-a") == second.change
        assert await unit.last_node_change("billing") is None


FILTERS: Final[dict[str, tuple[NodeFilter, Callable[[Node], bool]]]] = {
    "everything present": (NodeFilter(), lambda node: node.status is not NodeStatus.REMOVED),
    "everything": (NodeFilter(statuses=list(NodeStatus)), lambda _: True),
    "statuses": (
        NodeFilter(statuses=[NodeStatus.DOWN, NodeStatus.REMOVED]),
        lambda node: node.status in {NodeStatus.DOWN, NodeStatus.REMOVED},
    ),
    "no statuses": (NodeFilter(statuses=[]), lambda _: False),
    "regions": (
        NodeFilter(regions=["eu", "nowhere"]),
        lambda node: node.region == "eu" and node.status is not NodeStatus.REMOVED,
    ),
    "zones": (NodeFilter(zones=["z0"]), lambda node: node.zone == "z0" and node.status is not NodeStatus.REMOVED),
    "several at once": (
        NodeFilter(statuses=[NodeStatus.ACTIVE], regions=["eu"], zones=["z0", "z1"]),
        lambda node: (node.status, node.region) == (NodeStatus.ACTIVE, "eu") and node.zone in {"z0", "z1"},
    ),
}


async def test_nodes_are_listed_by_id_bytewise_in_both_directions(mesh: PlannedMesh) -> None:
    statuses = list(NodeStatus)
    ids = ["a-1", "a.1", "a1", "a_1", "ab1", "A1", "B", "b", "c", "d", "e"]
    for number, node_id in enumerate(ids):
        node = (await mesh.register(node_id, region=("eu", "us")[number % 2], zone=(None, "z0", "z1")[number % 3])).node
        await mesh.change_node(node, status=statuses[number % 5])
    known = sorted(await mesh.nodes(NodeFilter(statuses=statuses)), key=attrgetter("node_id"))
    assert [node.node_id for node in known] == sorted(ids)
    for name, (where, matches) in FILTERS.items():

        async def fetch(request: PageRequest[str], where: NodeFilter = where) -> Page[Node]:
            return await mesh.store.nodes.page(where, request)

        selected = [node for node in known if matches(node)]
        for size in (1, 3, 500):
            assert await everything(fetch, attrgetter("node_id"), size=size) == selected, name
            assert await everything_backwards(fetch, attrgetter("node_id"), size=size) == selected, name
        assert (await mesh.store.nodes.page(where, COUNTED)).total == len(selected), name


async def test_nodes_are_read_without_counting_their_shards_where_the_count_is_not_shown(mesh: PlannedMesh) -> None:
    await mesh.register("node-a")
    await mesh.create(new("s1", "node-a"), new("s2", "node-a"))
    nodes = mesh.store.nodes
    counted = await nodes.get("node-a")
    assert counted is not None
    assert counted.shard_count == 2
    uncounted = replace(counted, shard_count=0)
    assert await nodes.get("node-a", shards_counted=False) == uncounted
    assert await nodes.get("node-b", shards_counted=False) is None
    for where in (NodeFilter(), NodeFilter(zones=["z"])):
        found = await nodes.page(where, COUNTED, shards_counted=False)
        expected = [] if where.zones else [uncounted]
        assert (found.items, found.total) == (expected, len(expected))


async def test_of_many_who_register_one_node_one_wins(mesh: PlannedMesh) -> None:
    for name in ROUNDS:
        commands = [RegisterNode(name, CHANGE, weight=1 + number) for number in range(8)]
        outcomes = await asyncio.gather(*map(mesh.execute, commands))
        (winner,) = (outcome for outcome in outcomes if isinstance(outcome, NodeChanged))
        stale = [outcome for outcome in outcomes if outcome is not winner]
        assert stale == [StaleNode(name, 0, 1, winner.node, winner.change)] * 7
        assert await mesh.node(name) == winner.node


async def test_of_many_who_change_one_node_one_wins(mesh: PlannedMesh) -> None:
    await mesh.register("node-a")
    for version, _ in enumerate(ROUNDS, 1):
        commands = [UpdateNode("node-a", version, CHANGE, weight=2 + number) for number in range(8)]
        outcomes = await asyncio.gather(*map(mesh.execute, commands))
        (winner,) = (outcome for outcome in outcomes if isinstance(outcome, NodeChanged))
        stale = [outcome for outcome in outcomes if outcome is not winner]
        assert stale == [StaleNode("node-a", version, version + 1, winner.node, winner.change)] * 7


KEYED = because("once", idempotency_key="key-1")


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (RegisterNode("node-b", KEYED, region="eu", labels={"disk": "ssd"}, weight=2), "node-b"),
        (UpdateNode("node-a", 1, KEYED, zone="z1", status=NodeStatus.DOWN), "node-a"),
        (UpdateNode("node-a", 1, KEYED, status=NodeStatus.REMOVED), "node-a"),
        (DrainNode("node-a", 1, KEYED), "node-a"),
    ],
)
async def test_a_change_of_a_node_made_twice_is_one_change_and_one_answer(
    mesh: PlannedMesh, command: Command, kept: str
) -> None:
    await mesh.register("node-a", region="us", change=because("why", change_ticket="CHG-1"))
    first = node_changed(await mesh.execute(command))
    assert not first.replayed
    assert await mesh.execute(command) == replace(first, replayed=True)
    if first.node.status is NodeStatus.REMOVED:
        await mesh.register(kept, weight=9)
    else:
        await mesh.mark(kept, region=None, zone=None, labels={}, weight=9, status=NodeStatus.CORDONED)
    assert await mesh.execute(command) == replace(first, replayed=True)
    assert len(await mesh.changes()) == 4


BROKEN: Final[list[tuple[Command, list[str]]]] = [
    (RegisterNode("node a", CHANGE, weight=0), ["nodeId", "weight"]),
    (RegisterNode("node-a", CHANGE, weight=2**20 + 1), ["weight"]),
    (RegisterNode("node-a", CHANGE, weight=True), ["weight"]),
    (RegisterNode("node-a", CHANGE, region="eu/z", zone="z:1"), ["region", "zone"]),
    (RegisterNode("node-a", CHANGE, region=""), ["region"]),
    (RegisterNode("node-a", CHANGE, labels={"-x": "1"}), ["labels"]),
    (RegisterNode("node-a", CHANGE, labels={"disk": "a b", "": "x"}), ["labels.disk", "labels"]),
    (RegisterNode("node-a", CHANGE, labels={f"k{number}": "" for number in range(65)}), ["labels"]),
    (RegisterNode("node-a", CHANGE, status=NodeStatus.REMOVED), ["status"]),
    (RegisterNode("node-a", because(" ")), ["change.reason"]),
    (UpdateNode("node-a", 1, CHANGE), ["nodeId"]),
    (
        UpdateNode("node-a", -1, CHANGE, weight=None, labels=None, status=None),
        ["expectedVersion", "labels", "weight", "status"],
    ),
    (
        UpdateNode("node-a", 1, CHANGE, region="a b", zone="", weight=0, labels={"x": "ä"}),
        ["weight", "region", "zone", "labels.x"],
    ),
    (DrainNode("", 2**63, CHANGE), ["nodeId", "expectedVersion"]),
]


async def test_every_field_that_breaks_a_rule_is_named_and_nothing_written(mesh: PlannedMesh) -> None:
    await mesh.register("node-a")
    before = await mesh.everything_kept()
    for command, fields in BROKEN:
        with pytest.raises(InvalidArgument) as caught:
            await mesh.execute(command)
        assert [error.field for error in caught.value.errors] == fields
    assert await mesh.everything_kept() == before


async def test_shards_are_counted_only_for_who_may_refuse_by_the_count(mesh: PlannedMesh) -> None:
    (node,) = await mesh.registered("node-a")
    await mesh.filled(3)
    for configure, count in ((True, 3), (False, 0)):
        async with mesh.store.unit_of_work() as unit:
            state = await unit.read(ReadSet(nodes=("node-a", "nowhere"), configure=configure))
        assert state.nodes == {"node-a": replace(node, shard_count=count)}


async def test_the_statuses_of_some_nodes_are_those_of_nodes_that_were_ever_registered(mesh: PlannedMesh) -> None:
    await mesh.registered("node-a", "node-b")
    gone = (await mesh.register("node-c")).node
    await mesh.execute(UpdateNode("node-c", gone.version, CHANGE, status=NodeStatus.REMOVED))
    assert await mesh.store.nodes.statuses(["node-a", "node-c", "node-x"]) == {
        "node-a": NodeStatus.ACTIVE,
        "node-c": NodeStatus.REMOVED,
    }
    assert await mesh.store.nodes.statuses([]) == {}
    assert list(await mesh.store.nodes.around("node-aa", 5)) == ["node-a", "node-b"]
    assert list(await mesh.store.nodes.around("node-b", 1)) == ["node-a"]
