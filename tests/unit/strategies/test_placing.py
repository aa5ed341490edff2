"""A namespace's configuration at work: eligibility, the strategy, bounds and replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from strategies.checking import Checked
from strategies.constraints import CONSTRAINTS
from strategies.model import Infeasible, Node, Placement, Shard, Shards, Strategy
from strategies.placing import Placer
from tests.support.fake_strategies import Mixed, MixedPlacement

NODES = [
    Node("d", 1, "us", "us-1", {"disk": "hdd"}),
    Node("a", 1, "eu", "eu-1", {"disk": "ssd"}),
    Node("c", 1, "eu", "eu-1", {"disk": "ssd"}),
    Node("b", 1, "eu", "eu-2", {"disk": "ssd"}),
]
REPLICAS_OF_MATCHING = "3 replicas need 3 nodes: selector 'zone=eu-1' matches 2 of 3"
SHARDS = Shards.named("ns", [f"shard-{place}" for place in range(100)])


def placer(nodes: Sequence[Node] = NODES, strategy: Strategy | None = None, **given: Any) -> Placer:
    defaults = {name: parameter.default for name, parameter in CONSTRAINTS.items()}
    return Placer(strategy or Mixed(), {"depth": 3, **defaults, **given}, nodes)


def test_without_constraints_it_is_the_strategy_over_all_nodes() -> None:
    strategy, placement = placer(), MixedPlacement(NODES)
    assert [node.node_id for node in strategy.nodes] == ["a", "b", "c", "d"]
    assert strategy.nodes == placement.nodes
    assert np.array_equal(strategy.owners(SHARDS), placement.assign(SHARDS))
    assert strategy.rank("ns", Shard("shard-0")) == placement.rank("ns", Shard("shard-0"))


def test_the_order_of_nodes_means_nothing() -> None:
    one, other = placer(maxLoadPercent=100), placer(NODES[::-1], maxLoadPercent=100)
    assert one.nodes == other.nodes
    assert np.array_equal(one.owners(SHARDS), other.owners(SHARDS))


def test_a_strategy_gets_its_own_parameters_only() -> None:
    strategy = Mixed()
    placer(strategy=strategy, depth=7)
    assert strategy.prepared == {"depth": 7}


def test_only_nodes_that_the_selector_matches_own_shards() -> None:
    on_ssd = placer(selector="disk=ssd,zone!=eu-2")
    assert [node.node_id for node in on_ssd.nodes] == ["a", "c"]
    assert set(on_ssd.owners(SHARDS).tolist()) == {0, 1}
    assert sorted(on_ssd.rank("ns", Shard("shard-0"))) == ["a", "c"]


def test_bounds_hold() -> None:
    assert np.bincount(placer().owners(SHARDS)).max() > 26
    assert np.bincount(placer(maxLoadPercent=104).owners(SHARDS)).max() == 26
    assert np.bincount(placer(maxShardsPerNode=25).owners(SHARDS)).tolist() == [25, 25, 25, 25]


def test_what_stays_is_part_of_the_load() -> None:
    staying = {"a": [1.0] * 20, "c": [1.0] * 5, "gone": [1.0] * 1_000}
    owners = placer(maxLoadPercent=100).owners(SHARDS, staying)
    assert np.add(np.bincount(owners), [20, 0, 5, 0]).max() == 32  # 125 on four nodes: 31.25, rounded up
    assert np.bincount(placer(maxShardsPerNode=33).owners(SHARDS, staying))[0] <= 13
    assert np.array_equal(placer().owners(SHARDS, staying), placer().owners(SHARDS))


@pytest.mark.parametrize("staying", [{}, None, {"gone": [1.0]}, {"a": []}])
def test_where_nothing_stays_owners_are_as_ever(staying: dict[str, list[float]] | None) -> None:
    bounds: dict[str, Any] = {"maxLoadPercent": 104, "maxShardsPerNode": 26}
    assert np.array_equal(placer(**bounds).owners(SHARDS, staying), placer(**bounds).owners(SHARDS))


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, False), ({"loadBy": "capacity"}, False), ({"maxLoadPercent": 10_000}, True), ({"maxShardsPerNode": 9}, True)],
)
def test_it_knows_whether_a_node_can_be_full(given: dict[str, Any], *, expected: bool) -> None:
    assert placer(**given).bounded is expected


@pytest.mark.parametrize(
    ("given", "held", "sentences"),
    [
        ({}, {"a": [1.0] * 99}, {}),
        ({"maxShardsPerNode": 21}, {"a": [1.0] * 21, "b": [0.0] * 24}, {"b": "24 shards, above maxShardsPerNode 21"}),
        ({"maxLoadPercent": 110}, {"a": [1.0] * 3, "b": [1.0] * 2, "c": [1.0] * 2, "d": [1.0] * 2}, {}),
        (
            {"maxLoadPercent": 110},
            {"a": [9.0] * 4, "b": [1.0] * 2, "c": [1.0] * 2, "gone": [1.0] * 99},
            {"a": "4 shards, above its bound of 3 (maxLoadPercent 110)"},
        ),
        (
            {"maxLoadPercent": 110, "loadBy": "capacity"},
            {"b": [20.25, 1.25, 20.0], "c": [20.0, 20.0, 20.0], "d": [2_000.0 / 64]},
            {"c": "a load of 60, above its bound of 36.50625 (maxLoadPercent 110 by capacity)"},
        ),
        (
            {"maxLoadPercent": 100, "maxShardsPerNode": 1},
            {"a": [1.0, 1.0]},
            {"a": "2 shards, above maxShardsPerNode 1, and 2 shards, above its bound of 1 (maxLoadPercent 100)"},
        ),
    ],
)
def test_nodes_above_a_bound_are_named_with_the_numbers(
    given: dict[str, Any], held: dict[str, list[float]], sentences: dict[str, str]
) -> None:
    expected = [(node_id, f"{node_id} holds {sentence}") for node_id, sentence in sentences.items()]
    assert list(placer(**given).exceeded(held)) == expected


def test_plug_ins_hand_on_by_rank_whatever_they_say_of_their_movement() -> None:
    """Mixed is MINIMAL; this one declares it too, and turns the order round if there are fewer nodes."""

    class Turning(MixedPlacement):
        def rank(self, namespace: str, shard: Shard) -> Sequence[str]:
            rank = super().rank(namespace, shard)
            return rank if len(self.nodes) == 4 else rank[::-1]

    class Untrue(Mixed):
        def prepare(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> Placement:  # noqa: ARG002
            return Turning(nodes)

    untrue = placer(strategy=Checked(Untrue()), maxLoadPercent=100)
    assert np.array_equal(untrue.owners(SHARDS), placer(maxLoadPercent=100).owners(SHARDS))


def test_loads_may_be_counted_by_capacity() -> None:
    shards = Shards.of("ns", [Shard(f"shard-{place}", float(place % 7)) for place in range(100)])
    owners = placer(maxLoadPercent=110, loadBy="capacity").owners(shards)
    loads = np.bincount(owners, shards.capacities)
    assert loads.max() < shards.capacities.sum() / 4 * 1.1 + 6
    assert np.bincount(placer().owners(shards), shards.capacities).max() > loads.max()


def test_replicas_are_the_owner_and_the_next_in_rank() -> None:
    three = placer(replicas=3)
    rank = three.rank("ns", Shard("shard-0"))
    assert three.replicas("ns", Shard("shard-0"), rank[0]) == rank[:3]
    assert three.replicas("ns", Shard("shard-0"), rank[3]) == [rank[3], *rank[:2]]


def test_replicas_are_spread() -> None:
    region_of = {node.node_id: node.region for node in NODES}
    two = placer(replicas=2, spread="region")
    for place, owner in enumerate(two.owners(SHARDS).tolist()):
        chosen = two.replicas("ns", Shard(SHARDS.ids[place]), two.nodes[owner].node_id)
        assert {region_of[node_id] for node_id in chosen} == {"eu", "us"}


def test_an_owner_that_is_not_eligible_has_no_replicas() -> None:
    with pytest.raises(ValueError, match=r"^d is not among the nodes that may own shards$"):
        placer(selector="disk=ssd").replicas("ns", Shard("shard-0"), "d")


@pytest.mark.parametrize(
    ("nodes", "given", "reason"),
    [
        ([], {}, "there are no nodes"),
        (NODES, {"selector": "disk=tape"}, "selector 'disk=tape' matches none of 4 nodes"),
        (NODES, {"replicas": 5}, "5 replicas need 5 nodes: there are 4"),
        (NODES, {"selector": "!x", "replicas": 5}, "5 replicas need 5 nodes: there are 4"),
        (NODES, {"selector": "x", "replicas": 5}, "selector 'x' matches none of 4 nodes"),
        (NODES[1:], {"selector": "zone=eu-1", "replicas": 3}, REPLICAS_OF_MATCHING),
    ],
)
def test_too_few_nodes_are_said_in_numbers(nodes: list[Node], given: dict[str, Any], reason: str) -> None:
    with pytest.raises(Infeasible) as raised:
        placer(nodes, **given)
    assert str(raised.value) == reason


def test_bounds_without_room_are_infeasible() -> None:
    with pytest.raises(
        Infeasible, match=r"^100 shards do not fit: with maxShardsPerNode 24 there is room for 96 on 4 nodes$"
    ):
        placer(maxShardsPerNode=24).owners(SHARDS)


@pytest.mark.parametrize("weight", [0, -1, 2**20 + 1, True, 1.0, float("nan"), "1", None])
def test_a_weight_out_of_its_range_is_refused_by_node(weight: Any) -> None:
    with pytest.raises(ValueError, match=r"^b: weight must be a whole number from 1 to 1,048,576, not ") as raised:
        placer([Node("a"), Node("b", weight)])
    assert str(raised.value).endswith(f"not {weight!r}")


def test_the_greatest_weight_is_allowed() -> None:
    assert placer([Node("a", 2**20)]).nodes[0].weight == 1_048_576


def test_two_nodes_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^a: there are two nodes of this id$"):
        placer([Node("a"), Node("b"), Node("a", 2)])
