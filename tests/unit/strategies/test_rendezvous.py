"""Rendezvous: its three forms agree, ties are decided, and shares follow the weights."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from strategies.challenges import Desk, NodeClass
from strategies.hashing import node_key, shard_key, unmix
from strategies.logarithm import scores
from strategies.model import Keys, Node, Owners, Shard, Shards
from strategies.rendezvous import Rendezvous, RendezvousPlacement
from strategies.weighted import Contest, Entrant

IDS = [f"shard-{number}" for number in range(2_500)]
FEW, MANY = IDS[:20], IDS

NODES = {
    "one": [Node("only", 7)],
    "equal": [Node(f"node-{number}", 5) for number in range(12)],
    "two weights": [Node(f"node-{number}", 1 + 3 * (number % 2)) for number in range(12)],
    "all different": [Node(f"node-{number}", 100 + number) for number in range(60)],
    "far apart": [Node(f"node-{number}", 2**number) for number in range(21)],
    "one giant": [Node("giant", 2**20), *(Node(f"dwarf-{number}") for number in range(30))],
}


def prepared(nodes: Sequence[Node]) -> RendezvousPlacement:
    return Rendezvous().prepare(nodes, {})


def shards(ids: Sequence[str]) -> Shards:
    return Shards.named("orders", ids)


def names(placement: RendezvousPlacement, owners: Owners) -> list[str]:
    return [placement.nodes[owner].node_id for owner in owners.tolist()]


def reweighted(nodes: Sequence[Node], weights: dict[str, int]) -> list[Node]:
    return [Node(node.node_id, weights.get(node.node_id, node.weight)) for node in nodes]


def column(values: Sequence[int]) -> Keys:
    return np.array(values, np.uint64)


@pytest.mark.parametrize("nodes", NODES.values(), ids=NODES)
@pytest.mark.parametrize("ids", [FEW, MANY], ids=["few", "many"])
def test_many_shards_are_placed_as_each_is_alone(nodes: list[Node], ids: list[str]) -> None:
    placement = prepared(nodes)
    owners = placement.assign(shards(ids))
    assert owners.dtype == np.int32
    sample = range(0, len(ids), max(1, len(ids) // 100))
    assert [names(placement, owners)[at] for at in sample] == [
        placement.place("orders", Shard(ids[at])) for at in sample
    ]


@pytest.mark.parametrize("nodes", NODES.values(), ids=NODES)
def test_the_order_of_nodes_and_shards_means_nothing(nodes: list[Node]) -> None:
    backwards = prepared(nodes[::-1])
    assert names(backwards, backwards.assign(shards(MANY[::-1])))[::-1] == names(
        prepared(nodes), prepared(nodes).assign(shards(MANY))
    )


def test_no_shards_have_no_owners() -> None:
    for nodes in NODES.values():
        assert prepared(nodes).assign(shards([])).tolist() == []


@pytest.mark.parametrize("nodes", NODES.values(), ids=NODES)
def test_a_rank_has_every_node_with_the_owner_first_and_scores_to_show_for_it(nodes: list[Node]) -> None:
    placement = prepared(nodes)
    for shard in map(Shard, FEW):
        standings = placement.standings("orders", shard)
        assert placement.rank("orders", shard) == [standing.node_id for standing in standings]
        assert placement.place("orders", shard) == standings[0].node_id
        assert sorted(standing.node_id for standing in standings) == sorted(node.node_id for node in nodes)
        assert [standing.score for standing in standings] == sorted(standing.score for standing in standings)
        assert {standing.node_id: standing.effective_weight for standing in standings} == {
            node.node_id: node.weight for node in nodes
        }
        assert {standing.level for standing in standings} == {0}


CHANGES = {
    "none": NODES["all different"],
    "one added": [*NODES["all different"], Node("node-new", 120)],
    "several added": [*NODES["all different"], *(Node(f"new-{number}", 40 * number + 1) for number in range(5))],
    "one removed": NODES["all different"][1:],
    "several removed": NODES["all different"][::3],
    "one heavier": reweighted(NODES["all different"], {"node-7": 900}),
    "one lighter": reweighted(NODES["all different"], {"node-7": 1}),
    "some of everything": [
        *reweighted(NODES["all different"], {"node-7": 1, "node-40": 500, "node-41": 140, "node-3": 99})[2:],
        Node("node-new", 300),
    ],
    "all now equal": [Node(node.node_id, 130) for node in NODES["all different"]],
    "entirely others": [Node(f"other-{number}", number + 1) for number in range(9)],
    "an equal one among equals": [*NODES["equal"], Node("node-new", 5)],
}


@pytest.mark.parametrize(
    "before", [NODES["all different"], NODES["equal"], NODES["one"]], ids=["different", "equal", "one"]
)
@pytest.mark.parametrize("after", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("ids", [[], FEW, MANY], ids=["none", "few", "many"])
def test_placing_again_gives_what_placing_afresh_does(before: list[Node], after: list[Node], ids: list[str]) -> None:
    was, now, same = prepared(before), prepared(after), shards(ids)
    again = now.reassign(same, was.assign(same), was)
    assert again.dtype == np.int32
    assert again.tolist() == now.assign(same).tolist()


def test_placing_again_leaves_the_owners_it_was_given_alone() -> None:
    was, now, same = prepared(NODES["equal"]), prepared(CHANGES["an equal one among equals"]), shards(MANY)
    owners = was.assign(same)
    copied = owners.copy()
    now.reassign(same, owners, was)
    assert owners.tolist() == copied.tolist()


def test_among_equal_weights_the_greatest_hash_wins_as_if_it_were_scored() -> None:
    nodes = column([node_key(node.node_id) for node in NODES["equal"]])
    for weight in (1, 5, 2**40):
        keys, desk = shards(MANY).keys, Desk()
        greatest = desk.greatest(keys, nodes).copy()
        first = desk.mixed(keys, nodes[:1])
        desk.challenge(
            keys, first, scores(first, np.uint64(weight)), [NodeClass(weight, nodes[at : at + 1]) for at in range(12)]
        )
        assert first.tolist() == greatest.tolist()


HASHES = (0, 2**63 - 1, 2**63, 2**64 - 2**21, 2**64 - 1)


@pytest.mark.parametrize("copies", [1, 1_000], ids=["few", "many"])
@pytest.mark.parametrize("weights", [[1, 1], [2**40, 2**40 - 1], [2**40 - 1, 2**40], [1, 2**40], [2, 3]])
def test_equal_scores_go_to_the_greater_hash_and_equal_hashes_to_the_lesser_id(copies: int, weights: list[int]) -> None:
    shard = 0x0123456789ABCDEF
    for first in HASHES:
        for second in HASHES:
            keys = unmix(column([first, second, 5]), column([shard] * 3))
            entrants = [
                Entrant(name, key, weight) for name, key, weight in zip("ab", keys.tolist(), weights, strict=False)
            ]
            expected = min(range(2), key=lambda at: entrants[at].precedence(shard))
            contest = Contest(keys, np.array([*weights, 0]))
            assert contest.winners(column([shard] * copies)).tolist() == [expected] * copies
            alone = Contest(keys, np.array([weights[0], 0, 0]))
            places = np.arange(3, dtype=np.int32)
            owners = np.zeros(copies, np.int32)
            again = contest.winners_after(alone, places, column([shard] * copies), owners)
            assert again.tolist() == [expected] * copies


@pytest.mark.parametrize(
    "weights", [[1, 4], [1] * 10, list(range(1, 11)), [2**20, 2**19, 3 * 2**18], [1000, 1, 10, 100]], ids=str
)
def test_shares_are_within_five_sigma_of_the_weights(weights: list[int]) -> None:
    """Hash times weight, as the .NET original had it, gives the first pair 12.5 % and 87.5 %."""
    count, total = 100_000, sum(weights)
    placement = prepared([Node(f"node-{number:02}", weight) for number, weight in enumerate(weights)])
    owned = Counter(placement.assign(shards([f"s-{number}" for number in range(count)])).tolist())
    for number, weight in enumerate(weights):
        share = weight / total
        assert abs(owned[number] - count * share) <= 5 * math.sqrt(count * share * (1 - share)), number


def test_a_node_that_gains_takes_from_all_and_one_that_loses_gives_to_all_and_nothing_else_moves() -> None:
    nodes = NODES["all different"]
    was, same = prepared(nodes), shards(MANY)
    before = names(was, was.assign(same))
    for weight in (400, 10):
        now = prepared(reweighted(nodes, {"node-7": weight}))
        moved = [pair for pair in zip(before, names(now, now.assign(same)), strict=True) if pair[0] != pair[1]]
        assert moved
        assert {pair[weight > 100] for pair in moved} == {"node-7"}


def test_random_nodes_and_shards_agree_with_the_definition() -> None:
    chance = random.Random(8)
    for _ in range(20):
        nodes = [
            Node(f"n{chance.random()}", chance.randint(1, 2 ** chance.randint(0, 20)))
            for _ in range(chance.randint(1, 30))
        ]
        ids = [f"s{chance.random()}" for _ in range(chance.choice([3, 2_500]))]
        placement = prepared(nodes)
        owners = names(placement, placement.assign(shards(ids)))
        for at in chance.sample(range(len(ids)), 3):
            key = shard_key("orders", ids[at])
            entrants = [Entrant(node.node_id, node_key(node.node_id), node.weight) for node in nodes]
            assert owners[at] == min(entrants, key=lambda entrant: entrant.precedence(key)).node_id
