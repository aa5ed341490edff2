"""Maglev: whose turn it is, which slot that takes, and what a table size may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from random import Random
from typing import Final

import numpy as np
import pytest

from strategies.hashing import node_keys, shard_key
from strategies.maglev import Maglev, PrimeParameter, is_prime, permutation, turns
from strategies.model import Infeasible, Movement, Node, Placement, Shard, Shards

SHARDS: Final = Shards.named("orders", [f"shard-{at}" for at in range(2_000)])
SIZE: Final = Maglev().parameters["tableSize"]
RANDOM: Final = Random(3)

WEIGHTS: Final[Sequence[Sequence[int]]] = [
    [1],
    [7],
    [1] * 10,
    [5] * 101,
    [1, 4, 2],
    [1, 2**20],
    [2**20, 2**20 - 1, 2**20],
    [1, 2, 3, 5, 8, 13, 100, 1_000, 65_536, 2**20],
    [RANDOM.randint(1, 2**20) for _ in range(60)],
    [RANDOM.randint(1, 4) for _ in range(101)],
]


def prepared(weights: Mapping[str, int], size: int = 101) -> Placement:
    nodes = [Node(node_id, weight) for node_id, weight in weights.items()]
    return Maglev().prepare(Random(7).sample(nodes, len(nodes)), {"tableSize": size})


def defined_turns(weights: Sequence[int], size: int) -> list[int]:
    taken = [0] * len(weights)
    order = []
    for _ in range(size):
        place = min(range(len(weights)), key=lambda place: (Fraction(taken[place] + 1, weights[place]), place))
        taken[place] += 1
        order.append(place)
    return order


def defined_table(weights: Mapping[str, int], size: int) -> list[str]:
    """Every permutation written out."""
    names = sorted(weights)
    preferences = {}
    for name in names:
        first, second = node_keys(name)
        preferences[name] = iter([(first + step * (second % (size - 1) + 1)) % size for step in range(size)])
    table: dict[int, str] = {}
    for place in defined_turns([weights[name] for name in names], size):
        table[next(slot for slot in preferences[names[place]] if slot not in table)] = names[place]
    return [table[slot] for slot in range(size)]


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda weights: f"{len(weights)} of {sum(weights)}")
@pytest.mark.parametrize("size", [101, 499])
def test_turns_go_to_the_node_that_is_furthest_behind_its_weight(weights: Sequence[int], size: int) -> None:
    assert turns(weights, size) == defined_turns(weights, size)


def test_times_that_differ_by_as_little_as_they_can_are_told_apart() -> None:
    size = 200_003
    for weights in ([2**20, 2**20 - 1], [2**20 - 1, 2**20], [2**20 - 1, 2**20 - 3]):
        order = turns(weights, size)
        taken = [0, 0]
        for place in order:
            ahead = (taken[0] + 1) * weights[1] <= (taken[1] + 1) * weights[0]
            assert place == (0 if ahead else 1)
            taken[place] += 1


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda weights: f"{len(weights)} of {sum(weights)}")
def test_a_table_is_filled_as_defined(weights: Sequence[int]) -> None:
    named = {f"node-{at}": weight for at, weight in enumerate(weights)}
    placement = prepared(named)
    table = defined_table(named, 101)
    owners = [placement.nodes[place].node_id for place in placement.assign(SHARDS)]
    assert owners == [table[key % 101] for key in SHARDS.keys.tolist()]
    for at in range(200):
        shard = Shard(SHARDS.ids[at])
        slot = shard_key("orders", shard.shard_id) % 101
        rank = list(dict.fromkeys(table[slot:] + table[:slot] + sorted(named)))
        assert placement.rank("orders", shard) == rank
        assert placement.place("orders", shard) == owners[at] == rank[0]


@pytest.mark.parametrize("size", [101, 65_537])
def test_a_permutation_has_every_slot_once(size: int) -> None:
    for at in range(5):
        offset, skip = permutation(f"node-{at}", size)
        assert 0 <= offset < size
        assert 1 <= skip < size
        assert len({(offset + step * skip) % size for step in range(size)}) == size


@pytest.mark.parametrize(("nodes", "size"), [(3, 101), (101, 101), (40, 65_537)])
def test_nodes_of_equal_weight_have_equal_numbers_of_slots_but_for_one(nodes: int, size: int) -> None:
    counts = Counter(turns([9] * nodes, size))
    assert set(counts.values()) <= {size // nodes, size // nodes + 1}
    assert len(counts) == nodes


@pytest.mark.parametrize("weights", [[1, 4], [1, 1, 1, 10], [1 + at % 3 for at in range(50)]])
def test_slots_follow_weight(weights: Sequence[int]) -> None:
    counts = Counter(turns(weights, 65_537))
    for place, weight in enumerate(weights):
        assert abs(counts[place] - 65_537 * weight / sum(weights)) <= 2


def test_a_node_without_a_slot_comes_last() -> None:
    placement = prepared({"b": 1, "a": 1, "c": 2**20})
    for shard_id in SHARDS.ids[:20]:
        assert placement.rank("orders", Shard(shard_id)) == ["c", "a", "b"]


def test_reassigning_is_assigning() -> None:
    old, new = prepared({"a": 1, "b": 1}), prepared({"a": 1, "b": 2, "c": 1})
    assert (new.reassign(SHARDS, old.assign(SHARDS), old) == new.assign(SHARDS)).all()


def test_few_shards_more_than_those_of_a_removed_node_move() -> None:
    names = [f"node-{at:02}" for at in range(20)]
    old, new = (prepared(dict.fromkeys(kept, 1), 65_537) for kept in (names, names[:-1]))
    before, after = old.assign(SHARDS), new.assign(SHARDS)
    stayed = before != 19
    assert np.count_nonzero(before[stayed] != after[stayed]) < 0.05 * len(SHARDS)


def test_more_nodes_than_slots_are_refused() -> None:
    with pytest.raises(Infeasible, match=r"^102 nodes do not fit into a table of 101 slots: raise tableSize$"):
        prepared({f"node-{at}": 1 for at in range(102)})


@pytest.mark.parametrize("value", [101, 103, 499, 65_537, 1_000_003])
def test_a_prime_is_a_table_size(value: int) -> None:
    assert SIZE.problem(value) is None


@pytest.mark.parametrize("value", [None, True, "65537", 65_537.0, 97, 1, 0, -101, 1_000_033, 10**400])
def test_anything_but_a_whole_number_in_range_hears_the_rule(value: object) -> None:
    assert SIZE.problem(value) == "must be a prime number from 101 to 1,000,003" == f"must be {SIZE.rule}"


@pytest.mark.parametrize(
    ("value", "following"), [(102, "103"), (65_536, "65,537"), (999_999, "1,000,003"), (961, "967")]
)
def test_another_number_hears_which_prime_is_next(value: int, following: str) -> None:
    assert SIZE.problem(value) == f"must be {SIZE.rule}; the next one is {following}"


def test_the_bounds_of_a_parameter_are_its_own() -> None:
    assert PrimeParameter(5, 2, 7).problem(2) is None
    assert PrimeParameter(5, 2, 7).problem(11) == "must be a prime number from 2 to 7"


def test_primes_are_those_of_a_sieve() -> None:
    composite = {multiple for number in range(2, 45) for multiple in range(2 * number, 2_000, number)}
    assert [number for number in range(2_000) if is_prime(number)] == sorted(set(range(2, 2_000)) - composite)


def test_the_strategy_says_what_it_is() -> None:
    strategy = Maglev()
    assert (strategy.name, strategy.algorithm_version, strategy.movement) == ("maglev", 1, Movement.NEARLY_MINIMAL)
    assert {name: rule.default for name, rule in strategy.parameters.items()} == {"tableSize": 65_537}
