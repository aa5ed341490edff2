"""The library against a second implementation of what decides, over random pairs of shards and nodes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import mmh3
import numpy as np

from strategies.hashing import mix_into, node_key, shard_keys
from strategies.locality import Locality
from strategies.logarithm import score, scores, table
from strategies.model import Keys, Node, Shard, Shards
from strategies.parameters import MAX_WEIGHT
from strategies.rendezvous import Rendezvous
from tests.support import second_opinion
from tests.support.length import rounds

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
NODES = rounds(1_000, 200)
SHARDS_OF_A_NODE = 1_000


def random_id(random: Random) -> str:
    """As identifiers are: up to 128 letters, digits and `._:-`; short ones more often."""
    length = int(2 ** random.uniform(0, 7))
    return random.choice(LETTERS) + "".join(random.choices(LETTERS + "._:-", k=length))


def random_weight(random: Random) -> int:
    """From 1 to 2^20, evenly over their logarithms."""
    return round(2 ** random.uniform(0, 20))


def edge_weights(random: Random, count: int) -> list[int]:
    return [random.choice([1, 2, 3, MAX_WEIGHT - 1, MAX_WEIGHT]) for _ in range(count)]


def test_the_hash_that_the_second_opinion_uses_is_murmur3() -> None:
    random = Random(1)
    for length in [*range(300), *(random.randrange(300) for _ in range(4_000))]:
        data = random.randbytes(length)
        assert second_opinion.murmur3(data) == mmh3.hash64(data, seed=0, x64arch=True, signed=False)


def test_every_entry_of_the_table_of_logarithms_is_exact() -> None:
    assert list(table()) == list(second_opinion.table())


def test_scores_of_random_shards_nodes_and_weights_agree() -> None:
    random = Random(2)
    mixed, spare = np.empty(SHARDS_OF_A_NODE, np.uint64), np.empty(SHARDS_OF_A_NODE, np.uint64)
    weights_met = set[int]()
    for turn in range(NODES):
        namespace, node_id = random_id(random), random_id(random)
        stem = random_id(random)
        shard_ids = [f"{stem}{random.getrandbits(64):x}" for _ in range(SHARDS_OF_A_NODE)]
        weights = [random_weight(random) for _ in shard_ids]
        if turn % 10 == 0:
            weights = edge_weights(random, SHARDS_OF_A_NODE)
        mix_into(shard_keys(namespace, shard_ids), np.uint64(node_key(node_id)), mixed, spare)
        found = scores(mixed.copy(), np.array(weights, np.uint64)).tolist()
        assert found == expected_scores(namespace, shard_ids, node_id, weights)
        weights_met.update(weights)
    assert min(weights_met) == 1
    assert max(weights_met) == MAX_WEIGHT


def expected_scores(namespace: str, shard_ids: list[str], node_id: str, weights: list[int]) -> list[int]:
    """By the second implementation; only MurmurHash3 is mmh3's, which is checked above."""
    node = mmh3.hash64(node_id.encode(), x64arch=True, signed=False)[0]
    mix, score = second_opinion.mix, second_opinion.score
    prefix = namespace.encode() + b"\0"
    keys = [mmh3.hash64(prefix + shard_id.encode(), x64arch=True, signed=False)[0] for shard_id in shard_ids]
    return [score(mix(key, node), weight) for key, weight in zip(keys, weights, strict=True)]


def test_scores_agree_where_digits_of_the_hash_begin_and_end() -> None:
    """Around every power of two and every step of the table: carries, exponents and the last entry."""
    powers = [2**bits + offset for bits in range(64) for offset in (-1, 0, 1)]
    steps = [
        (2**14 + step << 49 - down) + offset for step in range(0, 2**14, 61) for down in (0, 20) for offset in (-1, 0)
    ]
    edges = [*powers, *steps, 2**64 - 1]
    for weight in (1, 3, MAX_WEIGHT, 2**40):
        expected = [second_opinion.score(mixed, weight) for mixed in edges]
        assert [score(mixed, weight) for mixed in edges] == expected
        assert scores(np.array(edges, np.uint64), np.uint64(weight)).tolist() == expected


def test_owners_and_ranks_of_random_nodes_agree() -> None:
    random = Random(3)
    for count in (1, 2, 3, 7, 20, 60):
        ids = {random_id(random) for _ in range(count)}
        nodes = [Node(node_id, random_weight(random)) for node_id in ids]
        namespace = random_id(random)
        shards = Shards.named(namespace, [random_id(random) for _ in range(300)])
        placement = Rendezvous().prepare(nodes, {})
        owners = placement.assign(shards)
        weights = {node.node_id: node.weight for node in nodes}
        for shard_id, owner in zip(shards.ids, owners, strict=True):
            expected = second_opinion.weighted_rank(key_of(namespace, shard_id), weights)
            assert list(placement.rank(namespace, Shard(shard_id))) == expected
            assert placement.nodes[owner].node_id == expected[0]


def key_of(namespace: str, shard_id: str) -> int:
    return second_opinion.murmur3(f"{namespace}\0{shard_id}".encode())[0]


def test_equal_scores_of_unequal_weights_are_decided_by_the_hash() -> None:
    """Boosts make effective weights so great that the first two of a shard do have one score now and then."""
    random = Random(4)
    boosts = {"mode": "prefer", "regionBoost": 1024, "zoneBoost": 1024, "preferredLabels": "disk", "labelBoost": 1024}
    nodes = [
        Node(random_id(random), MAX_WEIGHT - random.randrange(2_000), "eu", "eu-1", {"disk": "ssd"}) for _ in range(60)
    ]
    placement = Locality().prepare(nodes, boosts)
    shards = Shards.of("orders", [Shard(f"shard-{at}", locality_hint="eu/eu-1") for at in range(100_000)])
    owners = placement.assign(shards)
    ties = tied_first(shards.keys, placement.nodes)
    assert len(ties) >= 10
    weights = {node.node_id: node.weight * 2**20 for node in nodes}
    for at in ties:
        expected = second_opinion.weighted_rank(int(shards.keys[at]), weights)
        assert placement.nodes[owners[at]].node_id == expected[0]
        assert list(placement.rank("orders", Shard(shards.ids[at], locality_hint="eu/eu-1"))) == expected


def tied_first(shards: Keys, nodes: Sequence[Node]) -> list[int]:
    """Places of the shards whose least score two nodes of the greatest boost have; `scores` is checked above."""
    mixed, spare = np.empty_like(shards), np.empty_like(shards)
    columns = []
    for node in nodes:
        mix_into(shards, np.uint64(node_key(node.node_id)), mixed, spare)
        columns.append(scores(mixed.copy(), np.uint64(node.weight * 2**20)))
    first_two = np.partition(np.stack(columns), 1, axis=0)[:2]
    return np.flatnonzero(first_two[0] == first_two[1]).tolist()
