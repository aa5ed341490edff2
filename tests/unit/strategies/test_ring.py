"""The ring: the next point clockwise owns, for one shard, for many, and after changes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from itertools import islice
from math import sqrt
from random import Random
from typing import Final

import numpy as np
import pytest

from strategies import ring as ring_module
from strategies.circle import Circle
from strategies.hashing import node_key, shard_key, splitmix64
from strategies.model import Infeasible, Keys, Movement, Node, Owners, Placement, Shard, Shards
from strategies.ring import Ring

SHARDS: Final = Shards.named("orders", [f"shard-{at}" for at in range(3_000)])
MANY: Final = Shards.named("orders", [f"shard-{at}" for at in range(100_000)])


def prepared(weights: Mapping[str, int], virtual_nodes: int = 20) -> Placement:
    nodes = [Node(node_id, weight) for node_id, weight in weights.items()]
    return Ring().prepare(Random(7).sample(nodes, len(nodes)), {"virtualNodes": virtual_nodes})


def defined_rank(weights: Mapping[str, int], virtual_nodes: int, key: int) -> list[str]:
    """By how far a node's nearest point is clockwise: the same as walking along the ring."""
    nearest = [
        (min((point - key) % 2**64 for point in islice(splitmix64(node_key(name)), virtual_nodes * weight)), name)
        for name, weight in weights.items()
    ]
    return [name for _, name in sorted(nearest)]


def keys_of(*values: int) -> Keys:
    return np.array(values, np.uint64)


def ids(placement: Placement, owners: Owners) -> list[str]:
    return [placement.nodes[place].node_id for place in owners]


@pytest.mark.parametrize(
    ("weights", "virtual_nodes"),
    [
        ({"a": 1}, 1),
        ({"a": 1, "b": 1}, 1),
        ({"a": 1, "b": 3, "c": 2}, 5),
        ({f"n{at}": 1 + at % 3 for at in range(12)}, 9),
    ],
)
def test_the_owner_is_the_node_of_the_next_point_clockwise(weights: Mapping[str, int], virtual_nodes: int) -> None:
    placement = prepared(weights, virtual_nodes)
    owners = ids(placement, placement.assign(SHARDS))
    for at in range(300):
        shard = Shard(SHARDS.ids[at])
        rank = defined_rank(weights, virtual_nodes, shard_key("orders", shard.shard_id))
        assert placement.rank("orders", shard) == rank
        assert placement.place("orders", shard) == owners[at] == rank[0]


def test_a_rank_of_a_large_ring_does_not_list_its_points() -> None:
    """1,600,000 points as Python's integers took seconds, and 100 MB."""
    placement = prepared({f"n{at:02}": 100 for at in range(100)}, 160)
    tracemalloc.start()
    try:
        rank = placement.rank("orders", Shard("shard-0"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sorted(rank) == sorted(node.node_id for node in placement.nodes)
    assert peak < 1_000_000


def test_past_the_last_point_the_first_one_comes() -> None:
    circle = Circle(keys_of(10, 2**63, 2**64 - 2))
    positions = keys_of(0, 9, 10, 11, 2**63, 2**63 + 1, 2**64 - 3, 2**64 - 2, 2**64 - 1)
    assert circle.successors(positions).tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 0]


def test_a_point_at_either_end_of_the_circle_is_found() -> None:
    circle = Circle(keys_of(0, 2**64 - 1))
    assert circle.successors(keys_of(0, 1, 2**64 - 1)).tolist() == [0, 1, 1]


def test_of_points_that_collide_the_first_is_found() -> None:
    circle = Circle(keys_of(5, 5, 9, 9, 9, 9, 9, 9, 12))
    assert circle.successors(keys_of(0, 5, 6, 9, 10, 12, 13)).tolist() == [0, 0, 2, 2, 8, 8, 0]


@pytest.mark.parametrize("bits", [64, 40, 8, 1])
def test_however_points_are_spread_what_is_found_is_what_a_search_finds(bits: int) -> None:
    random = Random(bits)
    points = np.sort(keys_of(*(random.getrandbits(bits) for _ in range(700))))
    positions = keys_of(*(random.getrandbits(bits) for _ in range(2_000)), 0, 2**64 - 1, *points.tolist())
    assert (Circle(points).successors(positions) == np.searchsorted(points, positions) % len(points)).all()


@pytest.mark.parametrize("count", [1, 2, 40])
def test_all_that_has_a_point_as_successor_is_among_what_its_arc_covers(count: int) -> None:
    random = Random(count)
    points = np.sort(keys_of(*(random.getrandbits(64) for _ in range(count))))
    circle = Circle(points)
    positions = keys_of(*(random.getrandbits(64) for _ in range(3_000)))
    for place in range(0, count, 7):
        covered = circle.among(positions, *circle.arcs_to(points[place : place + 1]))
        theirs = np.flatnonzero(circle.successors(positions) == place)
        assert np.isin(theirs, covered).all()
        assert len(covered) <= len(theirs) + 3_000 / count


@pytest.fixture
def twins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes whose ids begin alike have equal keys, so that all their points collide."""
    monkeypatch.setattr(ring_module, "node_key", lambda node_id: node_key(node_id[0]))


@pytest.mark.usefixtures("twins")
def test_of_nodes_whose_points_collide_the_lower_id_owns_and_the_other_comes_next() -> None:
    placement = prepared({"a2": 1, "a1": 1, "b1": 1, "a3": 2})
    assert set(ids(placement, placement.assign(SHARDS))) == {"a1", "a3", "b1"}
    for shard_id in SHARDS.ids[:200]:
        rank = placement.rank("orders", Shard(shard_id))
        assert rank.index("a1") + 1 == rank.index("a2") or rank[0] == "a3"


CHANGES: Final[Sequence[tuple[str, Mapping[str, int], Mapping[str, int]]]] = [
    ("nothing", {"a1": 1, "b1": 2}, {"a1": 1, "b1": 2}),
    ("one added", {"a1": 1, "b1": 2}, {"a1": 1, "b1": 2, "c1": 1}),
    ("one added before the others", {"b1": 1, "c1": 2}, {"a1": 1, "b1": 1, "c1": 2}),
    ("one removed", {"a1": 1, "b1": 2, "c1": 1}, {"a1": 1, "c1": 1}),
    ("one heavier", {"a1": 1, "b1": 2}, {"a1": 5, "b1": 2}),
    ("one lighter", {"a1": 5, "b1": 2}, {"a1": 1, "b1": 2}),
    ("all at once", {"a1": 1, "b1": 4, "c1": 2, "d1": 1}, {"b1": 2, "c1": 3, "d1": 1, "e1": 2, "f1": 1}),
    ("all others", {"a1": 1, "b1": 1}, {"c1": 1, "d1": 1}),
    ("down to one", {"a1": 1, "b1": 1}, {"b1": 1}),
    ("a twin added below", {"a2": 1, "b1": 1}, {"a1": 1, "a2": 1, "b1": 1}),
    ("a twin added above", {"a1": 1, "b1": 1}, {"a1": 1, "a2": 1, "b1": 1}),
    ("a twin removed below", {"a1": 1, "a2": 1, "b1": 1}, {"a2": 1, "b1": 1}),
    ("a twin heavier", {"a1": 2, "a2": 1, "b1": 1}, {"a1": 2, "a2": 3, "b1": 1}),
    ("a twin for a twin", {"a1": 2, "b1": 1}, {"a2": 2, "b1": 1}),
    ("twins alone", {"a1": 1}, {"a0": 1, "a1": 1}),
]
of_changes = pytest.mark.parametrize(
    ("before", "after"), [change[1:] for change in CHANGES], ids=[c[0] for c in CHANGES]
)


@of_changes
@pytest.mark.parametrize("virtual_nodes", [1, 30])
@pytest.mark.usefixtures("twins")
def test_reassigning_is_assigning(before: Mapping[str, int], after: Mapping[str, int], virtual_nodes: int) -> None:
    old, new = prepared(before, virtual_nodes), prepared(after, virtual_nodes)
    owners = old.assign(SHARDS)
    given = owners.copy()
    found = new.reassign(SHARDS, owners, old)
    assert (found == new.assign(SHARDS)).all()
    assert found.dtype == np.int32
    assert (owners == given).all()


@of_changes
def test_shards_move_only_to_nodes_that_gained_and_from_nodes_that_lost(
    before: Mapping[str, int], after: Mapping[str, int]
) -> None:
    old, new = prepared(before), prepared(after)
    for source, target in zip(ids(old, old.assign(SHARDS)), ids(new, new.assign(SHARDS)), strict=True):
        gained = after.get(target, 0) > before.get(target, 0)
        lost = before.get(source, 0) > after.get(source, 0)
        assert source == target or gained or lost


def test_reassigning_looks_up_little_more_than_what_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = prepared({f"n{at}": 1 for at in range(50)}), prepared({f"n{at}": 1 for at in range(1, 51)})
    owners = old.assign(MANY)
    looked_up = []

    def counting(circle: Circle, positions: Keys) -> Owners:
        looked_up.append(len(positions))
        return original(circle, positions)

    original = Circle.successors
    monkeypatch.setattr(Circle, "successors", counting)
    found = new.reassign(MANY, owners, old)
    moved = np.count_nonzero(np.array(ids(old, owners)) != np.array(ids(new, found)))
    assert moved > 2_000
    assert sum(looked_up) < 2 * moved


def test_no_shards_have_no_owners() -> None:
    old, new = prepared({"a": 1}), prepared({"a": 1, "b": 1})
    nobody = Shards.named("orders", [])
    assert len(new.reassign(nobody, old.assign(nobody), old)) == 0


def test_after_another_kind_of_placement_all_is_looked_up() -> None:
    new, old = prepared({"a": 1, "b": 1}), prepared({"a": 1})
    foreign: Placement = type("Foreign", (), {"nodes": old.nodes})()
    assert (new.reassign(SHARDS, old.assign(SHARDS), foreign) == new.assign(SHARDS)).all()


@pytest.mark.parametrize(("nodes", "virtual_nodes"), [(5, 40), (5, 640), (50, 40), (50, 160), (200, 160)])
def test_loads_differ_as_much_as_so_many_points_make_them(nodes: int, virtual_nodes: int) -> None:
    squares = []
    for mesh in range(6):
        placement = prepared({f"mesh-{mesh}-{at}": 1 for at in range(nodes)}, virtual_nodes)
        loads = np.bincount(placement.assign(MANY), minlength=nodes)
        squares.append(float(np.var(loads) / np.mean(loads) ** 2))
    assert sqrt(sum(squares) / len(squares)) <= 1.15 * sqrt(1 / virtual_nodes + nodes / len(MANY))


def test_shares_follow_weight() -> None:
    weights = {"a": 1, "b": 4, "c": 1, "d": 10}
    loads = np.bincount(prepared(weights, 1_000).assign(MANY)) / len(MANY)
    shares = np.array(list(weights.values())) / 16
    assert (np.abs(loads - shares) <= 4 * shares / np.sqrt(shares * 16_000)).all()


def test_more_points_than_a_ring_may_have_are_refused_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "MAX_POINTS", 3_000)
    prepared({"a": 100, "b": 50})
    with pytest.raises(Infeasible) as refusal:
        prepared({"a": 100, "b": 51})
    assert str(refusal.value) == (
        "the ring would have 3,020 points, virtualNodes 20 times weights of 151 in all, and may have 3,000: "
        "lower virtualNodes or the nodes' weights"
    )


def test_a_ring_may_have_four_million_points() -> None:
    with pytest.raises(Infeasible, match=r"would have 4,198,400 points.*may have 4,194,304"):
        prepared({"a": 1_025}, 4_096)


def test_the_strategy_says_what_it_is() -> None:
    strategy = Ring()
    assert (strategy.name, strategy.algorithm_version, strategy.movement) == ("ring", 1, Movement.MINIMAL)
    assert {name: rule.default for name, rule in strategy.parameters.items()} == {"virtualNodes": 160}
