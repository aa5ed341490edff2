"""Jump consistent hash in exact integers, and nodes in natural order as its buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import islice, pairwise
from math import floor
from random import Random
from typing import Final

import numpy as np
import pytest

from strategies.hashing import MASK, shard_key, splitmix64, splitmix64_block
from strategies.jump import MAX_BUCKETS, Jump, jump_hash, jump_hashes, natural_key
from strategies.model import Infeasible, Movement, Node, Placement, Shard, Shards
from strategies.parameters import MAX_WEIGHT

SHARDS: Final = Shards.named("orders", [f"shard-{at}" for at in range(3_000)])
MULTIPLIER: Final = 2862933555777941757


def prepared(weights: Mapping[str, int]) -> Placement:
    nodes = [Node(node_id, weight) for node_id, weight in weights.items()]
    return Jump().prepare(Random(7).sample(nodes, len(nodes)), {})


def owners_of(weights: Mapping[str, int]) -> list[str]:
    placement = prepared(weights)
    return [placement.nodes[place].node_id for place in placement.assign(SHARDS)]


def leading_to(state: int) -> int:
    """The key whose first state is this one."""
    return (state - 1) * pow(MULTIPLIER, -1, 2**64) & MASK


# States whose upper 31 bits are the least and the greatest, for which the first quotients are 2^31 and 1.
EDGES: Final = [0, 1, MASK, *(leading_to(state) for state in (0, 2**33 - 1, 2**33, MASK, MASK - 2**33, 48 << 33))]
KEYS: Final = np.concatenate([np.array(EDGES, np.uint64), splitmix64_block(5, 2_000)])


def defined(key: int, buckets: int) -> int:
    """As the paper's Figure 1, with fractions for its doubles."""
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        key = (key * MULTIPLIER + 1) % 2**64
        following = floor((bucket + 1) * Fraction(2**31, (key >> 33) + 1))
    return bucket


@pytest.mark.parametrize("buckets", [1, 2, 3, 100, 2**20, 200 * 2**20, 2**31 + 1, MAX_BUCKETS])
def test_one_key_and_many_have_the_bucket_that_fractions_give(buckets: int) -> None:
    found = jump_hashes(KEYS, buckets)
    assert found.tolist() == [jump_hash(key, buckets) for key in KEYS.tolist()]
    assert found[:400].tolist() == [defined(key, buckets) for key in KEYS[:400].tolist()]
    assert found.min() >= 0
    assert found.max() < buckets


@pytest.mark.parametrize(
    ("key", "buckets", "bucket", "rounded"),
    [
        (13595752343854711162, 200 * 2**20, 205_470_764, 205_470_765),
        (17283099473757908265, MAX_BUCKETS, 5_697_208_149, 5_697_208_151),
    ],
)
def test_a_quotient_that_a_double_rounds_up_is_not_rounded(key: int, buckets: int, bucket: int, rounded: int) -> None:
    assert jump_hash(key, buckets) == defined(key, buckets) == bucket
    assert jump_hashes(np.array([key], np.uint64), buckets).tolist() == [bucket]
    assert as_in_the_paper(key, buckets) == rounded


def as_in_the_paper(key: int, buckets: int) -> int:
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        key = (key * MULTIPLIER + 1) % 2**64
        following = int((bucket + 1) * (float(2**31) / float((key >> 33) + 1)))
    return bucket


def test_one_bucket_more_takes_its_share_from_all_and_nothing_else_moves() -> None:
    keys = splitmix64_block(9, 60_000)
    for before, after in pairwise([(n, jump_hashes(keys, n)) for n in (9, 10, 11)]):
        moved = before[1] != after[1]
        assert (after[1][moved] == before[0]).all()
        assert abs(np.count_nonzero(moved) / len(keys) - 1 / after[0]) < 0.005


def test_no_keys_have_no_buckets() -> None:
    assert len(jump_hashes(np.empty(0, np.uint64), 5)) == 0


@pytest.mark.parametrize(
    "line",
    [
        ["node-1", "node-2", "node-9", "node-10", "node-100"],
        ["7", "70", "N8", "n", "n1", "n2b9", "n2b10", "n09", "n9", "n10", "n100"],
        ["n0", "n00", "n000", "n1"],
        ["a", "a-1", "a.1", "a1", "a1-", "a1.", "a1:", "a1A", "a1_", "a1a", "a:1", "aA", "a_", "aa"],
        ["r2.n9", "r2.n10", "r10.n1"],
        ["a-b", "a.b", "a0a", "a:b"],
        ["a" + "9" * 30, "a1" + "0" * 30],
    ],
)
def test_natural_order_counts(line: Sequence[str]) -> None:
    assert sorted(Random(1).sample(line, len(line)), key=natural_key) == line


WEIGHTS: Final[Sequence[Mapping[str, int]]] = [
    {"only": 3},
    {"node-2": 1, "node-10": 1, "node-1": 1},
    {"node-2": 2, "node-10": 5, "node-1": 1, "node-9": 3},
    {f"n{at}": 1 + at % 4 for at in range(30)},
]


@pytest.mark.parametrize("weights", WEIGHTS, ids=len)
def test_nodes_have_as_many_buckets_as_they_weigh_in_natural_order(weights: Mapping[str, int]) -> None:
    buckets = [name for name in sorted(weights, key=natural_key) for _ in range(weights[name])]
    placement, owners = prepared(weights), owners_of(weights)
    for at in range(60):
        shard = Shard(SHARDS.ids[at])
        key = shard_key("orders", shard.shard_id)
        draws = [key, *islice(splitmix64(key), 16 * len(weights))]
        met = [buckets[jump_hash(draw, len(buckets))] for draw in draws] + sorted(weights, key=natural_key)
        rank = list(dict.fromkeys(met))
        assert placement.rank("orders", shard) == rank
        assert placement.place("orders", shard) == owners[at] == rank[0]


def test_nodes_that_are_never_drawn_follow_in_natural_order() -> None:
    placement = prepared({"n10": 1, "n9": 1, "n1": MAX_WEIGHT, "n100": 1})
    assert placement.rank("orders", Shard("shard-1")) == ["n1", "n9", "n10", "n100"]


@pytest.mark.parametrize(
    ("shard_id", "first_drawn", "rank"), [("shard-289", 48, ["n1", "n3", "n2"]), ("shard-384", 49, ["n1", "n2", "n3"])]
)
def test_sixteen_draws_for_each_node_count_and_no_more(shard_id: str, first_drawn: int, rank: Sequence[str]) -> None:
    draws = islice(splitmix64(shard_key("orders", shard_id)), first_drawn)
    light = [jump_hash(draw, 202) >= 200 for draw in draws]
    assert light == [False] * (first_drawn - 1) + [True]
    assert prepared({"n1": 200, "n2": 1, "n3": 1}).rank("orders", Shard(shard_id)) == rank


@pytest.mark.parametrize("weight", [1, 2, 30])
def test_a_change_at_the_end_moves_shards_only_to_or_from_the_last_node(weight: int) -> None:
    nodes = {"n1": 3, "n2": 1, "n9": 2}
    stages = [owners_of(stage) for stage in (nodes, {**nodes, "n10": weight}, {**nodes, "n10": weight + 5})]
    for before, after in pairwise(stages):
        assert {target for source, target in zip(before, after, strict=True) if source != target} == {"n10"}


def test_shares_follow_weight() -> None:
    shards = Shards.named("orders", [f"shard-{at}" for at in range(100_000)])
    placement = prepared({"a": 1, "b": 4, "c": MAX_WEIGHT // 65_536, "d": 11})
    shares = np.array([1, 4, 16, 11]) / 32
    loads = np.bincount(placement.assign(shards)) / len(shards)
    assert (np.abs(loads - shares) <= 5 * np.sqrt(shares * (1 - shares) / len(shards))).all()


def test_reassigning_is_assigning() -> None:
    old, new = prepared({"a": 1, "b": 1}), prepared({"a": 1, "b": 2, "c": 1})
    assert (new.reassign(SHARDS, old.assign(SHARDS), old) == new.assign(SHARDS)).all()


def test_more_buckets_than_sixty_four_bits_can_tell_apart_are_refused() -> None:
    nodes = {f"n{at}": MAX_WEIGHT for at in range(8_192)}
    with pytest.raises(Infeasible, match=r"^the nodes' weights are 8,589,934,592 in all, and may be 8,589,934,591: "):
        prepared(nodes)
    prepared({**nodes, "n0": MAX_WEIGHT - 1})


def test_the_strategy_says_what_it_is() -> None:
    strategy = Jump()
    assert (strategy.name, strategy.algorithm_version, strategy.movement) == ("jump", 1, Movement.AT_THE_END)
    assert not strategy.parameters
