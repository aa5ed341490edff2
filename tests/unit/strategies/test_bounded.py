"""Bounded loads, held to their definition carried out word by word."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from math import ceil, inf
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import jump as jump_module
from strategies.bounded import Succession, ascending, bounded
from strategies.bounds import Bounds, exceeded, load_bounds, sizes
from strategies.jump import Jump, jump_hash
from strategies.model import Infeasible, Movement, Node, Placement, Shard, Shards, Strategy
from strategies.overflow import Overflowing
from strategies.plug_in import ScalarPlacement
from strategies.registry import BUILT_IN
from tests.support.fake_strategies import MixedPlacement

Held = Mapping[str, Sequence[float]]


def by_definition(
    placement: Placement, shards: Sequence[Shard], bounds: Bounds, staying: Held | None = None
) -> dict[str, str] | None:
    """Owners by shard id; None where a shard finds every node full."""
    kept = {node.node_id: list((staying or {}).get(node.node_id, ())) for node in placement.nodes}
    kept_sizes = {
        node_id: [size_by_definition(capacity) if bounds.by_capacity else 1 for capacity in capacities]
        for node_id, capacities in kept.items()
    }
    columns = Shards.of("ns", shards)
    key_of = dict(zip(columns.ids, columns.keys.tolist(), strict=True))
    size_of = {shard.shard_id: size_by_definition(shard.capacity) if bounds.by_capacity else 1 for shard in shards}
    weights = sum(node.weight for node in placement.nodes)
    bound_of: dict[str, float] = {}
    for node in placement.nodes:
        share = Fraction((sum(size_of.values()) + sum(map(sum, kept_sizes.values()))) * node.weight, weights)
        percent = bounds.max_load_percent
        bound_of[node.node_id] = inf if percent is None else max(1, ceil(share * percent / 100))
    loads = Counter({node_id: sum(own) for node_id, own in kept_sizes.items()})
    counts = Counter({node_id: len(own) for node_id, own in kept.items()})
    owners = {}
    for shard in sorted(shards, key=lambda shard: (key_of[shard.shard_id], shard.shard_id)):
        for node_id in placement.rank("ns", shard):
            if loads[node_id] < bound_of[node_id] and counts[node_id] < (bounds.max_shards or inf):
                owners[shard.shard_id] = node_id
                loads[node_id] += size_of[shard.shard_id]
                counts[node_id] += 1
                break
        else:
            return None
    return owners


class ById(ScalarPlacement):
    """Every shard would go to the first node."""

    def rank(self, namespace: str, shard: Shard) -> Sequence[str]:  # noqa: ARG002
        return [node.node_id for node in self.nodes]


def size_by_definition(capacity: float) -> int:
    return max(1, round(min(capacity * 1_000_000, 2.0**52)))


def placed(
    placement: Placement,
    shards: Shards,
    bounds: Bounds,
    succession: Succession | None = None,
    staying: Held | None = None,
) -> dict[str, str]:
    within = bounded(placement, shards, placement.assign(shards), bounds, succession, staying)
    assert within.dtype == np.int32
    return {
        shard_id: placement.nodes[place].node_id for shard_id, place in zip(shards.ids, within.tolist(), strict=True)
    }


NODES = st.lists(st.integers(1, 9), min_size=1, max_size=6).map(
    lambda weights: [Node(f"node-{place}", weight) for place, weight in enumerate(weights)]
)
SHARDS = st.lists(st.sampled_from([0.0, 1e-9, 0.5, 1.0, 1.0, 3.25, 1e300]), max_size=40).map(
    lambda capacities: [Shard(f"shard-{place}", capacity) for place, capacity in enumerate(capacities)]
)
BOUNDS = st.builds(
    Bounds, st.none() | st.sampled_from([100, 101, 110, 150, 10_000]), st.booleans(), st.none() | st.integers(1, 12)
)


@pytest.mark.parametrize("succession", [None, MixedPlacement], ids=["one by one", "handed on"])
@given(NODES, SHARDS, BOUNDS)
def test_owners_are_those_of_the_definition(
    succession: Succession | None, nodes: list[Node], shards: list[Shard], bounds: Bounds
) -> None:
    placement = MixedPlacement(nodes)
    expected = by_definition(placement, shards, bounds)
    if expected is None:
        with pytest.raises(Infeasible):
            placed(placement, Shards.of("ns", shards), bounds, succession)
    else:
        assert placed(placement, Shards.of("ns", shards), bounds, succession) == expected


STAYING = st.dictionaries(
    st.sampled_from(["node-0", "node-1", "node-3", "elsewhere"]),
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.0, 1e300]), max_size=8),
)


@pytest.mark.parametrize("succession", [None, MixedPlacement], ids=["one by one", "handed on"])
@given(NODES, SHARDS, BOUNDS, STAYING)
def test_what_stays_counts_as_placed_before_all_others(
    succession: Succession | None, nodes: list[Node], shards: list[Shard], bounds: Bounds, staying: Held
) -> None:
    placement = MixedPlacement(nodes)
    expected = by_definition(placement, shards, bounds, staying)
    if expected is None:
        with pytest.raises(Infeasible):
            placed(placement, Shards.of("ns", shards), bounds, succession, staying)
    else:
        assert placed(placement, Shards.of("ns", shards), bounds, succession, staying) == expected


MINIMAL = [
    pytest.param(strategy, given, id=f"{strategy.name} {given}")
    for strategy in BUILT_IN
    if strategy.movement is Movement.MINIMAL
    for given in ([{}, {"mode": "strict"}] if strategy.name == "locality" else [{}])
]
SPREAD_NODES = [Node(f"node-{at}", 1 + at % 3, f"r{at % 2}", f"z{at % 4}", {"a": str(at % 5)}) for at in range(12)]
HINTED = [Shard(f"shard-{at}", at % 7 / 2, [None, "r0", "r1/z3", "zone:z0", "r7"][at % 5]) for at in range(300)]


@pytest.mark.parametrize(("strategy", "given"), MINIMAL)
def test_strategies_of_minimal_movement_hand_on_by_rank(strategy: Strategy, given: dict[str, Any]) -> None:
    """What `succession` relies on."""
    parameters = {name: parameter.default for name, parameter in strategy.parameters.items()} | given
    placement = strategy.prepare(SPREAD_NODES, parameters)
    for shard in HINTED[:40]:
        rank = placement.rank("ns", shard)
        for gone in range(1, len(rank)):
            rest = strategy.prepare([node for node in SPREAD_NODES if node.node_id not in rank[:gone]], parameters)
            assert rest.place("ns", shard) == rank[gone]


@pytest.mark.parametrize(("strategy", "given"), MINIMAL)
@pytest.mark.parametrize(
    "bounds",
    [Bounds(100), Bounds(125, by_capacity=True), Bounds(max_shards=26), Bounds(110, by_capacity=True, max_shards=60)],
)
def test_built_in_strategies_hand_on_as_by_definition(
    strategy: Strategy, given: dict[str, Any], bounds: Bounds
) -> None:
    parameters = {name: parameter.default for name, parameter in strategy.parameters.items()} | given
    placement = strategy.prepare(SPREAD_NODES, parameters)
    within = placed(placement, Shards.of("ns", HINTED), bounds, partial(strategy.prepare, parameters=parameters))
    assert within == by_definition(placement, HINTED, bounds)


OVERFLOWING = [
    pytest.param("ring", {"virtualNodes": 1}, id="ring, few points"),
    pytest.param("ring", {"virtualNodes": 160}, id="ring"),
    pytest.param("maglev", {"tableSize": 101}, id="maglev, nodes without slots"),
    pytest.param("maglev", {"tableSize": 499}, id="maglev"),
    pytest.param("jump", {}, id="jump"),
]


@pytest.mark.parametrize(("name", "parameters"), OVERFLOWING)
@pytest.mark.parametrize("heaviest", [1, 3, 5_000])
@pytest.mark.parametrize("bounds", [Bounds(100), Bounds(130, by_capacity=True), Bounds(max_shards=26)])
@pytest.mark.parametrize("staying", [{}, {"node-0": [0.5] * 26, "node-4": [40.0] * 3}], ids=["none", "some stay"])
def test_walking_to_the_first_node_with_room_is_ranking(
    name: str, parameters: dict[str, Any], heaviest: int, bounds: Bounds, staying: Held
) -> None:
    if name == "ring" and heaviest > 3:
        heaviest = 200
    nodes = [Node(f"node-{at}", heaviest if at % 4 == 0 else 1) for at in range(12)]
    strategy = next(one for one in BUILT_IN if one.name == name)
    placement = strategy.prepare(nodes, parameters)
    assert isinstance(placement, Overflowing)
    rows = HINTED[:280]
    expected = by_definition(placement, rows, bounds, staying)
    if expected is None:
        with pytest.raises(Infeasible):
            placed(placement, Shards.of("ns", rows), bounds, None, staying)
    else:
        assert placed(placement, Shards.of("ns", rows), bounds, None, staying) == expected


@pytest.mark.parametrize("name", ["ring", "maglev", "jump"])
def test_no_shard_is_ranked_for_want_of_room(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank takes milliseconds where there are hundreds of nodes, and most shards of a tight bound are refused."""
    strategy = next(one for one in BUILT_IN if one.name == name)
    parameters = {name: parameter.default for name, parameter in strategy.parameters.items()}
    placement = strategy.prepare([Node(f"node-{at}") for at in range(100)], parameters)

    def prepare_again(_: Sequence[Node]) -> Placement:
        raise AssertionError("a placement over the nodes that are left was prepared")

    monkeypatch.setattr(type(placement), "rank", None)
    within = placed(placement, Shards.named("ns", [f"shard-{at}" for at in range(500)]), Bounds(100), prepare_again)
    assert set(Counter(within.values()).values()) == {5}


def test_jump_draws_no_further_than_to_a_node_with_room(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = Jump().prepare([Node(f"node-{at}") for at in range(500)], {})
    drawn = []

    def drawing(key: int, buckets: int) -> int:
        drawn.append(key)
        return jump_hash(key, buckets)

    monkeypatch.setattr(jump_module, "jump_hash", drawing)
    placed(placement, Shards.named("ns", [f"shard-{at}" for at in range(2_500)]), Bounds(105))
    assert len(drawn) < 10_000


@given(NODES, SHARDS, BOUNDS)
def test_nothing_that_was_placed_by_the_bounds_exceeds_them(
    nodes: list[Node], shards: list[Shard], bounds: Bounds
) -> None:
    placement = MixedPlacement(nodes)
    if by_definition(placement, shards, bounds) is None:
        return
    held = defaultdict(list)
    capacity_of = {shard.shard_id: shard.capacity for shard in shards}
    for shard_id, owner in placed(placement, Shards.of("ns", shards), bounds).items():
        held[owner].append(capacity_of[shard_id])
    assert list(exceeded(placement.nodes, held, bounds)) == []


@given(SHARDS, BOUNDS, st.integers(0, 2**32))
def test_the_order_of_shards_means_nothing(shards: list[Shard], bounds: Bounds, seed: int) -> None:
    placement = MixedPlacement([Node(f"node-{place}") for place in range(40)])
    expected = placed(placement, Shards.of("ns", shards), bounds)
    Random(seed).shuffle(shards)
    assert placed(placement, Shards.of("ns", shards), bounds) == expected


@given(NODES, SHARDS, st.builds(Bounds, st.sampled_from([100, 110, 10_000]), st.booleans()))
def test_a_percentage_of_100_or_more_always_leaves_room(nodes: list[Node], shards: list[Shard], bounds: Bounds) -> None:
    assert len(placed(MixedPlacement(nodes), Shards.of("ns", shards), bounds)) == len(shards)


def test_at_100_per_cent_equal_nodes_get_equal_numbers() -> None:
    nodes = [Node(f"node-{place}") for place in range(7)]
    owners = placed(MixedPlacement(nodes), Shards.named("ns", [f"shard-{place}" for place in range(700)]), Bounds(100))
    assert set(Counter(owners.values()).values()) == {100}


def test_at_100_per_cent_numbers_follow_weights() -> None:
    nodes = [Node("a", 1), Node("b", 2), Node("c", 4)]
    owners = placed(MixedPlacement(nodes), Shards.named("ns", [f"shard-{place}" for place in range(700)]), Bounds(100))
    assert Counter(owners.values()) == {"a": 100, "b": 200, "c": 400}


def test_no_shard_moves_that_finds_room_on_its_first_node() -> None:
    nodes = [Node(f"node-{place}") for place in range(7)]
    placement = MixedPlacement(nodes)
    shards = Shards.named("ns", [f"shard-{place}" for place in range(700)])
    owners = placement.assign(shards)
    within = bounded(placement, shards, owners, Bounds(max_shards=105))
    over = {place for place, count in Counter(owners.tolist()).items() if count > 105}
    assert over
    assert {int(owner) for owner in owners[within != owners]} <= over | set(np.flatnonzero(np.bincount(within) == 105))
    assert np.bincount(within).max() == 105


def test_an_oversized_shard_fills_the_node_it_goes_to() -> None:
    shards = Shards.of("ns", [Shard(f"shard-{place}", 1.0) for place in range(10)])
    third = ascending(shards)[2]
    shards.capacities[third] = 1_000.0
    within = bounded(ById([Node("a"), Node("b")]), shards, np.zeros(10, np.int32), Bounds(100, by_capacity=True))
    assert within[ascending(shards)].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]


def test_shards_of_no_size_find_room_after_one_that_fills_everything() -> None:
    shards = [Shard(f"shard-{place}", 0.0) for place in range(50)] + [Shard("giant", 5.0)]
    owners = placed(MixedPlacement([Node("a")]), Shards.of("ns", shards), Bounds(100, by_capacity=True))
    assert set(owners.values()) == {"a"}
    assert len(owners) == 51


def test_sizes_are_millionths_rounded_half_to_even_and_clipped() -> None:
    capacities = [0.0, 5e-324, 0.0000005, 0.0000015, 0.0000025, 1.0, 0.1, 2.0**32, 4_503_599_627.370497, 1e308]
    assert sizes(capacities) == [1, 1, 1, 2, 2, 1_000_000, 100_000, 2**32 * 10**6, 2**52, 2**52]
    assert sizes(capacities) == [size_by_definition(capacity) for capacity in capacities]


def test_bounds_are_exact_beyond_64_bits() -> None:
    nodes = [Node("a", 2**20), Node("b", 1)]
    total = 10**6 * 2**52
    assert load_bounds(total, nodes, 10_000) == [
        ceil(Fraction(total * 2**20 * 100, 2**20 + 1)),
        ceil(Fraction(total * 100, 2**20 + 1)),
    ]


def test_a_bound_is_at_least_one() -> None:
    assert load_bounds(0, [Node("a")], 100) == [1]


def test_shards_of_equal_keys_follow_each_other_by_id() -> None:
    shards = Shards.named("ns", ["b", "d", "a", "c"])
    shards.__dict__["keys"] = np.array([2**64 - 1, 7, 2**64 - 1, 7], np.uint64)
    assert [shards.ids[place] for place in ascending(shards)] == ["c", "d", "a", "b"]


def test_no_shards_are_placed_within_any_bounds() -> None:
    assert placed(MixedPlacement([Node("a")]), Shards.named("ns", []), Bounds(100, max_shards=1)) == {}


@pytest.mark.parametrize(
    ("bounds", "named", "room"),
    [
        (Bounds(max_shards=2), "maxShardsPerNode 2", 4),
        (Bounds(100, max_shards=5), "maxLoadPercent 100 and maxShardsPerNode 5", 6),
    ],
)
def test_bounds_that_leave_too_little_room_say_how_much_there_is(bounds: Bounds, named: str, room: int) -> None:
    shards = Shards.named("ns", [f"shard-{place}" for place in range(10)])
    with pytest.raises(Infeasible) as raised:
        placed(MixedPlacement([Node("a", 9), Node("b", 1)]), shards, bounds)
    assert str(raised.value) == f"10 shards do not fit: with {named} there is room for {room} on 2 nodes"


def test_what_stays_is_named_where_there_is_too_little_room_beside_it() -> None:
    shards = Shards.named("ns", ["a", "b", "c"])
    with pytest.raises(Infeasible) as raised:
        placed(MixedPlacement([Node("a"), Node("b")]), shards, Bounds(max_shards=2), None, {"b": [1.0] * 5, "x": [1.0]})
    assert str(raised.value) == (
        "3 shards do not fit beside 5 that stay: with maxShardsPerNode 2 there is room for 2 on 2 nodes"
    )


def test_what_stays_alone_is_never_refused() -> None:
    nobody = Shards.named("ns", [])
    assert placed(MixedPlacement([Node("a")]), nobody, Bounds(100, max_shards=1), None, {"a": [1.0] * 5}) == {}


def test_capacity_and_number_together_may_leave_too_little_room() -> None:
    shards = Shards.of("ns", [Shard(f"shard-{place}", 10.0 if place == 5 else 1.0) for place in range(10)])
    bounds = Bounds(100, by_capacity=True, max_shards=5)
    with pytest.raises(
        Infeasible, match=r"^10 shards do not fit: with maxLoadPercent 100 by capacity and maxShardsPer"
    ):
        placed(MixedPlacement([Node("a", 1), Node("b", 9)]), shards, bounds)
