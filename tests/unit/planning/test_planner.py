"""From a snapshot to a plan: which shards move, why, in which order, and what cannot be put right."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from random import Random
from typing import Any

import pytest

from persistence.model.policy import NamespacePolicy
from persistence.model.records import MoveReason, NodeStatus
from persistence.planning.planner import PlacementImpossible, propose
from persistence.planning.proposal import NodeLoad, PlannedNamespace, PlannedNode, Proposal, placement_digest
from persistence.planning.snapshot import PlacedShard, PlacementSnapshot
from persistence.planning.waves import peak_loads
from strategies.model import Node, Shard
from tests.support.snapshots import STRATEGIES, namespace, node, nodes, shard, shards, snapshot


def planned(there: PlacementSnapshot, **options: Any) -> Proposal:
    return propose(there, STRATEGIES, **options)


def owners(there: PlacementSnapshot, proposal: Proposal, name: str = "billing") -> dict[str, str]:
    """Who owns each shard once the plan has been applied."""
    owned = {one.shard_id: one.owner_node_id for one in there.shards[name]}
    return owned | {move.shard_id: move.to_node_id for move in proposal.moves if move.namespace == name}


def applied(there: PlacementSnapshot, proposal: Proposal, name: str = "billing") -> list[PlacedShard]:
    after = owners(there, proposal, name)
    return [one._replace(owner_node_id=after[one.shard_id]) for one in there.shards[name]]


@pytest.mark.parametrize("strategy", ["rendezvous", "ring", "locality", "maglev", "jump"])
def test_every_shard_comes_to_where_its_strategy_wants_it(strategy: str) -> None:
    there = snapshot(nodes("node-a", "node-b", "node-c"), shards(60), namespace(strategy=strategy))
    proposal = planned(there)
    placer = STRATEGIES.placer(strategy, {}, [Node(one.node_id) for one in there.nodes])
    wanted = {one.shard_id: placer.rank("billing", Shard(one.shard_id))[0] for one in there.shards["billing"]}
    assert owners(there, proposal) == wanted
    assert {move.from_node_id for move in proposal.moves} == {"node-a"}
    assert all(move.from_node_id != move.to_node_id for move in proposal.moves)


def test_a_mesh_at_rest_has_nothing_to_move() -> None:
    there = snapshot(nodes("node-a", "node-b"), shards(50))
    at_rest = snapshot(there.nodes, applied(there, planned(there)))
    assert planned(at_rest).moves == ()


REASONS = {
    "gone": MoveReason.OWNER_REMOVED,
    "down": MoveReason.OWNER_DOWN,
    "draining": MoveReason.OWNER_DRAINING,
    "hdd": MoveReason.OWNER_INELIGIBLE,
}


def test_a_move_says_why_and_the_most_urgent_come_first() -> None:
    ssd = {"disk": "ssd"}
    there = [
        node("node-a", labels=ssd),
        node("node-b", labels=ssd),
        node("hdd", labels={"disk": "hdd"}),
        node("down", NodeStatus.DOWN, labels=ssd),
        node("draining", NodeStatus.DRAINING, labels=ssd),
    ]
    space = namespace(parameters={"selector": "disk=ssd"})
    placed = [shard(owner, owner) for owner in REASONS]
    placed += [shard(f"old-{number}", strategy="ring") for number in range(9)]
    placed += [shard(f"new-{number}") for number in range(9)]
    moves = planned(snapshot(there, placed, space)).moves
    assert {move.shard_id: move.reason for move in moves if move.shard_id in REASONS} == REASONS
    assert [move.reason for move in moves] == sorted((move.reason for move in moves), key=list(MoveReason).index)
    assert {move.reason for move in moves if move.shard_id.startswith("old")} == {MoveReason.STRATEGY_CHANGED}
    assert {move.reason for move in moves if move.shard_id.startswith("new")} == {MoveReason.PLACEMENT_CHANGED}


def test_moves_of_equal_urgency_are_in_order_of_their_shards() -> None:
    there = snapshot(nodes("node-a"), {"search": shards(3, "gone"), "billing": shards(2, "gone")})
    keys = [move.key for move in planned(there).moves]
    assert keys == sorted(keys)
    assert len(keys) == 5


@pytest.mark.parametrize("bound", [{"maxLoadPercent": 100}, {"maxShardsPerNode": 10}])
def test_a_shard_whose_owner_is_full_says_so(bound: dict[str, int]) -> None:
    there = nodes("node-a", "node-b", "node-c")
    free = snapshot(there, shards(30))
    placed = applied(free, planned(free))
    moves = planned(snapshot(there, placed, namespace(parameters=bound))).moves
    assert moves
    assert {move.reason for move in moves} == {MoveReason.OWNER_OVERLOADED}
    bounded = snapshot(there, shards(30), namespace(parameters=bound))
    assert {load.shards_after for load in planned(bounded).loads} == {10}


def test_a_pinned_shard_stays() -> None:
    placed = [one._replace(pinned=True) for one in shards(20)]
    proposal = planned(snapshot(nodes("node-a", "node-b"), placed))
    assert (proposal.moves, proposal.violations) == ((), ())


@pytest.mark.parametrize("status", [NodeStatus.DOWN, NodeStatus.DRAINING, NodeStatus.REMOVED])
def test_a_pin_to_a_node_that_is_to_be_vacated_is_a_violation(status: NodeStatus) -> None:
    there = [node("node-b"), *([] if status is NodeStatus.REMOVED else [node("node-a", status)])]
    proposal = planned(snapshot(there, [shard("s1", pinned=True), shard("s2")]))
    assert [move.shard_id for move in proposal.moves] == ["s2"]
    (violation,) = proposal.violations
    assert (violation.code, violation.namespace, violation.shard_id, violation.node_id) == (
        "PINNED_TO_UNAVAILABLE",
        "billing",
        "s1",
        "node-a",
    )
    assert violation.message == f"billing/s1 is pinned to node-a, which is {status}: unpin it to move it"


def test_a_cordoned_node_takes_nothing_and_gives_nothing_away() -> None:
    there = [node("node-a", NodeStatus.CORDONED), node("node-b"), node("node-c")]
    placed = shards(20) + [one._replace(shard_id=f"t{one.shard_id}", owner_node_id="node-b") for one in shards(20)]
    proposal = planned(snapshot(there, placed))
    assert proposal.moves
    assert {(move.from_node_id, move.to_node_id) for move in proposal.moves} == {("node-b", "node-c")}


def settled(there: list[Any], placed: list[PlacedShard], parameters: dict[str, Any]) -> list[PlacedShard]:
    """The shards where their plan leaves them."""
    unsettled = snapshot(there, placed, namespace(parameters=parameters))
    return applied(unsettled, planned(unsettled))


@pytest.mark.parametrize(
    "parameters", [{"maxShardsPerNode": 40}, {"maxLoadPercent": 110}, {"maxLoadPercent": 105, "loadBy": "capacity"}]
)
def test_cordoning_one_of_three_bounded_nodes_moves_nothing(parameters: dict[str, Any]) -> None:
    """What stays on the cordoned node takes no room on the others, which could not hold it."""
    there = nodes("node-a", "node-b", "node-c")
    placed = settled(there, shards(100), parameters)
    cordoned = [*there[:2], node("node-c", NodeStatus.CORDONED)]
    proposal = planned(snapshot(cordoned, placed, namespace(parameters=parameters)))
    assert (proposal.moves, proposal.violations) == ((), ())


def test_pins_on_a_bounded_node_take_its_room() -> None:
    there, parameters = nodes("node-a", "node-b"), {"maxShardsPerNode": 10}
    pinned = [shard(f"p{number}", "node-a", pinned=True) for number in range(8)]
    proposal = planned(snapshot(there, [*pinned, *shards(12, "gone")], namespace(parameters=parameters)))
    assert {load.node_id: load.shards_after for load in proposal.loads} == {"gone": 0, "node-a": 10, "node-b": 10}
    assert proposal.violations == ()


def test_pins_that_are_more_than_a_bound_allows_are_a_violation() -> None:
    there, parameters = nodes("node-a", "node-b"), {"maxShardsPerNode": 6}
    pinned = [shard(f"p{number}", "node-a", pinned=True) for number in range(8)]
    proposal = planned(snapshot(there, [*pinned, *shards(4, "gone")], namespace(parameters=parameters)))
    assert {move.to_node_id for move in proposal.moves} == {"node-b"}
    (violation,) = proposal.violations
    assert (violation.code, violation.namespace, violation.shard_id, violation.node_id) == (
        "BOUND_EXCEEDED",
        "billing",
        None,
        "node-a",
    )
    assert violation.message == "node-a holds 8 shards, above maxShardsPerNode 6: 8 of its shards are pinned"


def test_a_pin_on_a_node_that_takes_no_part_takes_no_room() -> None:
    there = [node("node-a"), node("node-b", NodeStatus.CORDONED), node("node-c", NodeStatus.DOWN)]
    pinned = [shard(f"p{owner}", owner, pinned=True) for owner in ("node-b", "node-c", "gone")]
    proposal = planned(snapshot(there, [*pinned, *shards(5, "gone")], namespace(parameters={"maxShardsPerNode": 5})))
    assert len(proposal.moves) == 5
    assert {violation.code for violation in proposal.violations} == {"PINNED_TO_UNAVAILABLE"}


def test_a_plan_that_is_cut_leaves_no_node_above_a_bound() -> None:
    """Node-b gives away what it has no room for before it is given the shards of a node that is gone."""
    there, parameters = nodes("node-a", "node-b"), {"maxShardsPerNode": 10}
    rest = settled(there, shards(20), parameters)
    gone = {one.shard_id for one in rest if one.owner_node_id == "node-b"}
    gone = set(sorted(gone)[:4])
    owned = [one._replace(owner_node_id="gone") if one.shard_id in gone else one for one in rest]
    for_a = sorted(one.shard_id for one in rest if one.owner_node_id == "node-a")[:4]
    owned = [one._replace(owner_node_id="node-b") if one.shard_id in for_a else one for one in owned]
    mesh = snapshot(there, owned, namespace(parameters=parameters))
    whole = planned(mesh)
    assert (len(whole.moves), whole.violations, whole.together) == (8, (), None)
    assert max(peak_loads(whole).values()) == 10
    for most in range(1, 9):
        cut = planned(mesh, max_moves=most)
        assert (cut.moves, cut.violations) == (whole.moves[:most], ())
    # The most urgent comes as soon as there is room for it.
    reasons = [move.reason for move in whole.moves]
    assert reasons == [MoveReason.PLACEMENT_CHANGED, MoveReason.OWNER_REMOVED] * 4


def test_waves_of_a_table_made_by_hand_stay_within_the_bound() -> None:
    """The peak was 423."""
    random = Random(7)
    owners = [f"node-{number % 4}" for number in range(1_000)]
    random.shuffle(owners)
    placed = [shard(f"s{number:04}", owner) for number, owner in enumerate(owners)]
    there = snapshot(nodes(*set(owners)), placed, namespace(parameters={"maxShardsPerNode": 270}))
    plan = planned(there)
    assert len(plan.moves) > 700
    assert plan.violations == ()
    assert max(peak_loads(plan).values()) <= 270
    assert plan.waves == ceil(len(plan.moves) / 100)


def test_nodes_that_are_full_change_shards_in_batches() -> None:
    """Each of 40 nodes has room for no more than it has."""
    owners = [f"node-{number % 40:02}" for number in range(400)]
    Random(3).shuffle(owners)
    placed = [shard(f"s{number:04}", owner) for number, owner in enumerate(owners)]
    there = snapshot(nodes(*set(owners)), placed, namespace(parameters={"maxShardsPerNode": 10}))
    plan = planned(there)
    assert plan.together
    assert plan.violations == ()
    assert set(peak_loads(plan).values()) == {10}
    assert all(count <= 40 for _, count in plan.together)


def test_a_circle_that_the_budget_cannot_hold_lifts_a_node_by_one_and_says_so() -> None:
    there, parameters = nodes("node-a", "node-b"), {"maxShardsPerNode": 10}
    rest = settled(there, shards(20), parameters)
    swapped = [min(one.shard_id for one in rest if one.owner_node_id == owner) for owner in ("node-a", "node-b")]
    owned = [
        one._replace(owner_node_id="node-b" if one.owner_node_id == "node-a" else "node-a")
        if one.shard_id in swapped
        else one
        for one in rest
    ]
    within = namespace(parameters=parameters, policy=NamespacePolicy(move_budget_percent=10))
    assert planned(snapshot(there, owned, within)).together == ((0, 2),)
    plan = planned(
        snapshot(there, owned, namespace(parameters=parameters, policy=NamespacePolicy(move_budget_percent=5)))
    )
    assert (len(plan.moves), plan.together, plan.waves) == (2, None, 2)
    (violation,) = plan.violations
    assert (violation.code, violation.node_id) == ("PEAK_EXCEEDED", plan.moves[0].to_node_id)
    assert violation.message == (
        f"{violation.node_id} holds 11 shards, above maxShardsPerNode 10, before all moves are made: 2 moves make room "
        "for each other in a circle, and the move budget of 5 % allows 1"
    )
    assert sorted(peak_loads(plan).values()) == [10, 11]


def test_moves_that_no_policy_limits_wait_for_no_others_that_it_does() -> None:
    """A freeze holds up what comes after the first move that it is about."""
    there, parameters = nodes("node-a", "node-b", "node-c"), {"maxShardsPerNode": 10}
    rest = settled(there, shards(30), parameters)
    on_c = [one.shard_id for one in rest if one.owner_node_id == "node-c"]
    for_a = [one.shard_id for one in rest if one.owner_node_id == "node-a"][:5]
    # Node-b has five shards of node-a, and five of its own and three of node-c are on a node that is gone.
    gone = {*[one.shard_id for one in rest if one.owner_node_id == "node-b"][:5], *on_c[-3:]}
    owned = [
        one._replace(owner_node_id="gone" if one.shard_id in gone else "node-b" if one.shard_id in for_a else one[1])
        for one in rest
    ]
    reasons = [move.reason for move in planned(snapshot(there, owned, namespace(parameters=parameters))).moves]
    urgent, other = MoveReason.OWNER_REMOVED, MoveReason.PLACEMENT_CHANGED
    assert reasons == [urgent] * 3 + [other, urgent] * 5
    limited = namespace(parameters=parameters, policy=NamespacePolicy(involuntary_moves_limited=True))
    assert sorted(planned(snapshot(there, owned, limited)).moves, key=lambda move: move.shard_id) == sorted(
        planned(snapshot(there, owned, namespace(parameters=parameters))).moves, key=lambda move: move.shard_id
    )


def test_a_node_that_was_above_its_bound_before_is_not_the_plans_doing() -> None:
    there = snapshot(nodes("node-a", "node-b"), shards(20), namespace(parameters={"maxShardsPerNode": 10}))
    cut = planned(there, max_moves=3)
    assert (len(cut.moves), cut.remaining_moves, cut.violations) == (3, 7, ())


def test_a_plan_names_the_nodes_its_moves_rely_on() -> None:
    there = [
        node("node-a", version=3),
        node("node-b", version=5),
        node("idle", NodeStatus.CORDONED),
        node("down", NodeStatus.DOWN),
    ]
    placed = [*shards(9), shard("t", "gone"), shard("u", "down")]
    proposal = planned(snapshot(there, placed))
    a, b, _, down = there
    assert proposal.nodes == tuple(PlannedNode(one.node_id, one.version, placement_digest(one)) for one in (down, a, b))
    assert [one.version for one in proposal.nodes] == [1, 3, 5]
    assert planned(snapshot(there, placed), max_moves=1).nodes[-1] in proposal.nodes
    assert len(planned(snapshot(there, placed), max_moves=1).nodes) == 1


def test_loads_are_those_before_and_after() -> None:
    placed = [*shards(3, "gone", capacity_hint=0.25), shard("t", "node-a", capacity_hint=5.0)]
    proposal = planned(snapshot(nodes("node-a"), placed))
    assert proposal.loads == (NodeLoad("gone", 3, 0, 0.75, 0.0), NodeLoad("node-a", 1, 4, 5.0, 5.75))


def test_a_load_beyond_every_number_is_the_largest_one() -> None:
    proposal = planned(snapshot(nodes("node-a"), shards(3, capacity_hint=1.7e308)))
    (load,) = proposal.loads
    assert load.capacity_before == load.capacity_after == 1.7976931348623157e308
    assert proposal.document


def test_a_plan_names_the_configurations_it_was_made_of() -> None:
    spaces = [
        namespace("billing", version=4, revision=12),
        namespace("search", "ring", {"virtualNodes": 7}, revision=31),
    ]
    placed = {"billing": shards(2, "gone"), "search": shards(5, "gone", strategy="ring")}
    proposal = planned(snapshot(nodes("node-a"), placed, *spaces), max_moves=3)
    assert proposal.base_revision == 31
    assert proposal.namespaces == tuple(
        PlannedNamespace(
            space.name,
            space.version,
            space.strategy,
            space.algorithm_version,
            space.parameters_digest,
            space.digest,
            count,
            moved,
        )
        for space, count, moved in zip(spaces, (2, 5), (2, 1), strict=True)
    )
    assert (proposal.shard_count, len(proposal.moves), proposal.remaining_moves) == (7, 3, 4)
    assert proposal.moved_percent == pytest.approx(300 / 7)


def test_a_mesh_of_nothing_has_a_plan_of_nothing() -> None:
    proposal = planned(snapshot([], {}))
    assert (proposal.base_revision, proposal.moves, proposal.loads, proposal.moved_percent) == (0, (), (), 0.0)


def test_a_namespace_that_cannot_be_placed_is_left_alone() -> None:
    placed = {"billing": shards(2, "gone"), "search": shards(2, "gone")}
    proposal = planned(snapshot(nodes("node-a"), placed, namespace("search", parameters={"selector": "disk=ssd"})))
    assert {move.namespace for move in proposal.moves} == {"billing"}
    (violation,) = proposal.violations
    assert (violation.code, violation.namespace, violation.shard_id) == ("NO_PLACEMENT", "search", None)
    assert "selector 'disk=ssd' matches none" in violation.message
    assert {load.node_id: load.shards_after for load in proposal.loads} == {"gone": 2, "node-a": 2}


@pytest.mark.parametrize(
    ("space", "why"),
    [
        (namespace(strategy="plug-in"), "there is no strategy 'plug-in'"),
        (namespace(algorithm_version=99), "it was configured for version 99 of rendezvous, this server has version 1"),
        (namespace(parameters={"replicas": 3}), "3 replicas need 3 nodes"),
        (namespace(parameters={"selector": "disk in ("}), "strategyParameters.selector"),
    ],
)
def test_nothing_that_can_be_placed_is_no_plan(space: Any, why: str) -> None:
    with pytest.raises(PlacementImpossible) as caught:
        planned(snapshot(nodes("node-a"), shards(2), space))
    (violation,) = caught.value.violations
    assert why in violation.message
    assert str(caught.value) == f"billing: {violation.message}"


def test_a_mesh_without_a_usable_node_cannot_be_placed() -> None:
    for there in ([], [node("node-a", NodeStatus.DOWN), node("node-b", NodeStatus.CORDONED)]):
        with pytest.raises(PlacementImpossible, match="there are no nodes"):
            planned(snapshot(there, shards(2)))


def test_the_same_inputs_give_the_same_plan_byte_for_byte() -> None:
    there = snapshot(nodes("node-a", "node-b", "node-c"), shards(40))
    again = replace(there, position=there.position._replace(revision=99))
    assert planned(there).document == planned(again).document


@pytest.mark.parametrize(
    "other",
    [
        snapshot([*nodes("node-a"), node("node-b", weight=2)], shards(4)),
        snapshot([*nodes("node-a"), node("node-b", version=2)], shards(4)),
        snapshot([*nodes("node-a"), node("node-b", labels={"a": "b"})], shards(4)),
        snapshot([*nodes("node-a", "node-b"), node("node-c", NodeStatus.DOWN)], shards(4)),
        snapshot(nodes("node-a", "node-b"), shards(4), namespace(version=2)),
        snapshot(nodes("node-a", "node-b"), shards(4), namespace(digest="1" * 32)),
        snapshot(nodes("node-a", "node-b"), [*shards(3), shard("s0003", pinned=True)]),
    ],
)
def test_other_inputs_give_a_plan_of_another_name(other: PlacementSnapshot) -> None:
    plan = planned(snapshot(nodes("node-a", "node-b"), shards(4)))
    assert planned(other).inputs_digest != plan.inputs_digest
    assert planned(other).id != plan.id


def test_a_limit_is_an_input() -> None:
    there = snapshot(nodes("node-a"), shards(4, "gone"))
    assert planned(there, max_moves=4).id != planned(there, max_moves=5).id
