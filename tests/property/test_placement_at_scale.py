"""Thousands of shards at once against every pair worked out: what small meshes never reach, blocks and shortcuts."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import pytest

from strategies.challenges import Desk, NodeClass
from strategies.hashing import mix_into, node_key, unmix
from strategies.hints import Hint
from strategies.jump import Jump
from strategies.locality import Locality
from strategies.logarithm import scores
from strategies.maglev import Maglev
from strategies.model import Keys, Node, Owners, Shard, Shards
from strategies.parameters import MAX_WEIGHT
from strategies.rendezvous import Rendezvous
from strategies.ring import Ring
from tests.support import second_opinion

WEIGHTS: Mapping[str, Callable[[Random], int]] = {
    "equal": lambda _: 7,
    "mixed": lambda random: round(2 ** random.uniform(0, 20)),
    "similar": lambda random: random.randint(90, 110),
    "extremes": lambda random: random.choice([1, 1, 1, 2, MAX_WEIGHT - 1, MAX_WEIGHT]),
    "one giant": lambda random: MAX_WEIGHT if random.random() < 0.05 else 1,
}
BOOSTS: Mapping[str, Any] = {"regionBoost": 1024, "zoneBoost": 1024, "preferredLabels": "disk", "labelBoost": 1024}
PLACES = [("eu", "a"), ("eu", "b"), ("us", "a"), (None, None)]


def nodes_of(random: Random, count: int, weights: str) -> list[Node]:
    labels: list[dict[str, str]] = [{}, {}, {"disk": "ssd"}]
    return [
        Node(
            f"node-{random.getrandbits(32):x}", WEIGHTS[weights](random), *random.choice(PLACES), random.choice(labels)
        )
        for _ in range(count)
    ]


def changed(random: Random, nodes: Sequence[Node], weights: str) -> list[Node]:
    """Some nodes go, some get another weight, some are relocated, some come."""
    kept = [node for node in nodes if random.random() < 0.9]
    return [
        *(Node(node.node_id, WEIGHTS[weights](random), node.region, node.zone, node.labels) for node in kept[:3]),
        *(Node(node.node_id, node.weight, *random.choice(PLACES), node.labels) for node in kept[3:6]),
        *kept[6:],
        *nodes_of(random, random.randint(1, 3), weights),
    ]


def best_of_every_pair(keys: Keys, nodes: Sequence[Node], weights: Sequence[int]) -> list[str]:
    """Ids of the owners: least score, then greatest hash. Scores are held to the second opinion elsewhere."""
    hashes, spare = np.empty_like(keys), np.empty_like(keys)
    best, best_score = np.zeros_like(keys), np.full_like(keys, 2**64 - 1)
    owners = np.zeros(len(keys), np.intp)
    for place, (node, weight) in enumerate(zip(nodes, weights, strict=True)):
        if weight > 0:
            mix_into(keys, np.uint64(node_key(node.node_id)), hashes, spare)
            score = scores(hashes.copy(), np.uint64(weight))
            wins = (score < best_score) | ((score == best_score) & (hashes > best))
            best[wins], best_score[wins], owners[wins] = hashes[wins], score[wins], place
    return [nodes[place].node_id for place in owners.tolist()]


def ids(nodes: Sequence[Node], owners: Owners) -> list[str]:
    return [nodes[place].node_id for place in owners.tolist()]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("count", "shard_count"), [(2, 9_000), (12, 3_000), (30, 70_000), (150, 5_000)])
def test_rendezvous_gives_every_shard_to_the_best_of_all_nodes(weights: str, count: int, shard_count: int) -> None:
    random = Random(f"{weights} {count}")
    shards = Shards.named("scale", [f"{random.getrandbits(48):x}" for _ in range(shard_count)])
    nodes = nodes_of(random, count, weights)
    before = Rendezvous().prepare(nodes, {})
    owners = before.assign(shards)
    assert ids(before.nodes, owners) == best_of_every_pair(shards.keys, nodes, [node.weight for node in nodes])
    for _ in range(3):
        nodes = changed(random, nodes, weights)
        after = Rendezvous().prepare(nodes, {})
        owners = after.reassign(shards, owners, before)
        expected = best_of_every_pair(shards.keys, nodes, [node.weight for node in nodes])
        assert ids(after.nodes, owners) == expected
        assert ids(after.nodes, after.assign(shards)) == expected
        before = after


@pytest.mark.parametrize("weight", [1, 1_000, MAX_WEIGHT, 2**40])
def test_a_challenger_is_scored_from_the_very_first_hash_that_wins(weight: int) -> None:
    """`challenge` leaves out nodes that cannot win, without scoring them; none that can win must be among those.

    Shards are made up backwards, from the score that is to be beaten and the least hash that does.
    """
    random = Random(weight)
    low = [random.getrandbits(64 - random.randrange(20)) for _ in range(500)]
    high = [2**64 - 1 - random.getrandbits(random.randrange(20, 64)) for _ in range(1_500)]
    held = np.array([second_opinion.score(mixed, weight) for mixed in low + high], np.uint64)
    hashes = np.array([least_hash(score, weight) for score in held.tolist()], np.uint64)
    key = np.uint64(node_key("challenger"))
    shards = unmix(hashes, np.full_like(hashes, key))
    best = np.zeros_like(hashes)
    Desk().challenge(shards, best, held, [NodeClass(weight, np.array([key]))])
    assert best.tolist() == hashes.tolist()


def least_hash(score: int, weight: int) -> int:
    """The least whose score is no more than `score`: greater hashes have no greater scores."""
    low, high = 0, 2**64 - 1
    while low < high:
        middle = (low + high) // 2
        if second_opinion.score(middle, weight) <= score:
            high = middle
        else:
            low = middle + 1
    return low


@pytest.mark.parametrize("mode", ["prefer", "strict"])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_locality_gives_every_shard_to_the_best_of_all_nodes_as_its_hint_weighs_them(weights: str, mode: str) -> None:
    random = Random(f"{weights} {mode}")
    hints = ["eu/a", "eu", "zone:a", None, "us/b", "mars"]
    rows = [Shard(f"{random.getrandbits(48):x}", 1.0, random.choice(hints)) for _ in range(20_000)]
    shards = Shards.of("scale", rows)
    nodes = nodes_of(random, 40, weights)
    before = Locality().prepare(nodes, {**BOOSTS, "mode": mode})
    owners = before.assign(shards)
    for _ in range(3):
        expected = locality_owners(shards, nodes, mode)
        assert ids(before.nodes, owners) == expected
        assert ids(before.nodes, before.assign(shards)) == expected
        nodes = changed(random, nodes, weights)
        after = Locality().prepare(nodes, {**BOOSTS, "mode": mode})
        owners = after.reassign(shards, owners, before)
        before = after


def locality_owners(shards: Shards, nodes: Sequence[Node], mode: str) -> list[str]:
    owners = np.empty(len(shards), object)
    for number, hint in enumerate(shards.hint_table):
        levels = [level(node, hint) for node in nodes]
        least = max(levels) if mode == "strict" else 0
        weights = [
            node.weight * (1024 if near else 1) * (1024 if node.labels else 1) * (near >= least)
            for node, near in zip(nodes, levels, strict=True)
        ]
        at = np.flatnonzero(shards.hints == number)
        owners[at] = best_of_every_pair(shards.keys[at], nodes, weights)
    return owners.tolist()


def level(node: Node, hint: Hint) -> int:
    if hint.zone is not None and (node.zone, hint.region or node.region) == (hint.zone, node.region):
        return 2
    return 1 if hint.region is not None and hint.region == node.region else 0


@pytest.mark.parametrize("virtual_nodes", [1, 2, 40, 700])
@pytest.mark.parametrize("count", [1, 2, 25])
def test_a_ring_gives_every_position_to_the_next_point_also_at_and_beside_points(
    count: int, virtual_nodes: int
) -> None:
    random = Random(count * virtual_nodes)
    nodes = nodes_of(random, count, "similar")
    nodes = [Node(node.node_id, 1 + node.weight % 3) for node in nodes]
    points = second_opinion.ring_points(nodes, virtual_nodes)
    near = [point + offset for point, _ in points for offset in (-1, 0, 1)]
    positions = [*near, 0, 2**64 - 1, *(random.getrandbits(64) for _ in range(10_000))]
    shards = at_positions(positions)
    before = Ring().prepare(nodes, {"virtualNodes": virtual_nodes})
    owners = before.assign(shards)
    assert ids(before.nodes, owners) == successors(points, positions)
    for _ in range(3):
        nodes = [Node(node.node_id, 1 + node.weight % 3) for node in changed(random, nodes, "similar")]
        after = Ring().prepare(nodes, {"virtualNodes": virtual_nodes})
        owners = after.reassign(shards, owners, before)
        assert ids(after.nodes, owners) == successors(second_opinion.ring_points(nodes, virtual_nodes), positions)
        before = after


def at_positions(positions: Sequence[int]) -> Shards:
    """Shards that claim to have these keys: no ids are known whose hashes they are."""
    shards = Shards.named("scale", [str(at) for at in range(len(positions))])
    vars(shards)["keys"] = np.array(positions, np.uint64)
    return shards


def successors(points: Sequence[tuple[int, str]], positions: Sequence[int]) -> list[str]:
    return [points[bisect_left(points, (position, "")) % len(points)][1] for position in positions]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_jump_gives_every_shard_to_the_node_of_its_bucket(weights: str) -> None:
    random = Random(weights)
    nodes = [Node(f"n{at}", WEIGHTS[weights](random)) for at in range(60)]
    shards = Shards.named("scale", [f"{random.getrandbits(48):x}" for _ in range(10_000)])
    placement = Jump().prepare(nodes, {})
    ends = np.cumsum([node.weight for node in nodes]).tolist()
    buckets = [second_opinion.jump(key, ends[-1]) for key in shards.keys.tolist()]
    expected = [nodes[bisect_left(ends, bucket + 1)].node_id for bucket in buckets]
    assert ids(placement.nodes, placement.assign(shards)) == expected


@pytest.mark.parametrize("size", [101, 2_003])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_maglev_gives_all_shards_of_a_slot_to_one_node_and_to_each_node_as_many_slots_as_turns(
    weights: str, size: int
) -> None:
    random = Random(f"{weights} {size}")
    nodes = nodes_of(random, 20, weights)
    placement = Maglev().prepare(nodes, {"tableSize": size})
    table = ids(placement.nodes, placement.assign(at_positions(range(size))))
    positions = [*(random.getrandbits(64) for _ in range(10_000)), 2**64 - 1]
    owners = ids(placement.nodes, placement.assign(at_positions(positions)))
    assert owners == [table[position % size] for position in positions]
    assert Counter(table) == Counter(turns(nodes, size))


def turns(nodes: Sequence[Node], size: int) -> list[str]:
    """Whose turn it is: always that of the least (turns taken + 1) / weight, of equal ones that of the lower id."""
    taken = Counter[str]()
    for _ in range(size):
        following = min(nodes, key=lambda node: (Fraction(taken[node.node_id] + 1, node.weight), node.node_id))
        taken[following.node_id] += 1
    return list(taken.elements())
