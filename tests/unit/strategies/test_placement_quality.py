"""How evenly strategies spread shards, and how few they move: within five standard deviations, on fixed ids."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import pytest

from strategies.jump import Jump
from strategies.locality import Locality
from strategies.maglev import Maglev
from strategies.model import Node, Shard, Shards, Strategy
from strategies.registry import Registry
from strategies.rendezvous import Rendezvous
from strategies.ring import Ring

SHARDS = Shards.named("quality", [f"shard-{at}" for at in range(100_000)])

MIXED = [1 + at * at % 53 for at in range(200)]
WEIGHTS = pytest.mark.parametrize(
    "weights", [[1, 4], [1, 1, 1, 10], [1] * 30, MIXED], ids=["1:4", "1:1:1:10", "30", "200"]
)


def nodes_of(weights: Sequence[int]) -> list[Node]:
    return [Node(f"node-{at}", weight) for at, weight in enumerate(weights)]


def owners_by_id(strategy: Strategy, nodes: Sequence[Node], shards: Shards = SHARDS, **given: Any) -> Any:
    parameters = Registry().complete(strategy.name, given)
    placement = strategy.prepare(nodes, {name: parameters[name] for name in strategy.parameters})
    return np.array([node.node_id for node in placement.nodes])[placement.assign(shards)]


def counts(strategy: Strategy, nodes: Sequence[Node], **given: Any) -> Any:
    """Shards of each node, in the order of `nodes`."""
    owners = owners_by_id(strategy, nodes, **given)
    return np.array([np.count_nonzero(owners == node.node_id) for node in nodes])


def deviation(total: int, share: Any) -> Any:
    return np.sqrt(total * share * (1 - share))


@WEIGHTS
@pytest.mark.parametrize("strategy", [Rendezvous(), Locality(), Jump()], ids=lambda strategy: strategy.name)
def test_every_node_has_its_share_by_weight(strategy: Strategy, weights: Sequence[int]) -> None:
    share = np.array(weights) / sum(weights)
    found, expected = counts(strategy, nodes_of(weights)), share * len(SHARDS)
    assert (np.abs(found - expected) <= 5 * deviation(len(SHARDS), share)).all()
    freedom = len(weights) - 1
    assert abs(((found - expected) ** 2 / expected).sum() - freedom) <= 5 * sqrt(2 * freedom) + 5


@WEIGHTS
@pytest.mark.parametrize("weight", [1, 7, 40])
def test_adding_a_node_moves_its_share_and_no_more(weights: Sequence[int], weight: int) -> None:
    before = nodes_of(weights)
    added = Node("node-added", weight)
    old, new = owners_by_id(Rendezvous(), before), owners_by_id(Rendezvous(), [*before, added])
    moved = old != new
    assert (new[moved] == added.node_id).all()
    share = weight / (sum(weights) + weight)
    assert abs(moved.sum() - share * len(SHARDS)) <= 5 * deviation(len(SHARDS), share)


@pytest.mark.parametrize(("factor", "direction"), [(3, "to"), (1 / 3, "from")])
def test_changing_a_weight_moves_the_difference_of_its_shares(factor: float, direction: str) -> None:
    weights = [6, 1, 3, 20, 6, 2]
    changed = [round(weights[0] * factor), *weights[1:]]
    old, new = (owners_by_id(Rendezvous(), nodes_of(some)) for some in (weights, changed))
    moved = old != new
    assert ((new if direction == "to" else old)[moved] == "node-0").all()
    share = abs(weights[0] / sum(weights) - changed[0] / sum(changed))
    assert abs(moved.sum() - share * len(SHARDS)) <= 5 * deviation(len(SHARDS), share)


@pytest.mark.parametrize(
    ("hint", "boosts", "given"),
    [
        ("eu", {"eu-1": 16, "eu-2": 16}, {}),
        ("eu/eu-1", {"eu-1": 64, "eu-2": 16}, {}),
        ("zone:eu-1", {"eu-1": 64}, {}),
        ("eu", {"eu-1": 2, "eu-2": 2}, {"regionBoost": 2}),
        ("eu/eu-1", {"eu-1": 5, "eu-2": 3}, {"regionBoost": 3, "zoneBoost": 5}),
        ("eu/eu-1", {"eu-1": 64, "eu-2": 16}, {"preferredLabels": "disk=ssd", "labelBoost": 7}),
    ],
)
def test_as_many_shards_are_local_as_boosts_give_weight_to_local_nodes(
    hint: str, boosts: dict[str, int], given: dict[str, Any]
) -> None:
    places = [("eu", "eu-1"), ("eu", "eu-2"), ("us", "us-1"), (None, None)]
    labels: list[dict[str, str]] = [{}, {"disk": "ssd"}, {}]
    nodes = [Node(f"node-{at}", 1 + at % 5, *places[at % 4], labels[at % 3]) for at in range(40)]
    shards = Shards.of("quality", [Shard(f"shard-{at}", locality_hint=hint) for at in range(50_000)])
    owners = owners_by_id(Locality(), nodes, shards, **given)
    effective = {node.node_id: node.weight * boosts.get(node.zone or "", 1) for node in nodes}
    for node in nodes:
        effective[node.node_id] *= given.get("labelBoost", 1) if node.labels else 1
    for zone in ("eu-1", "eu-2"):
        local = [node.node_id for node in nodes if node.zone == zone]
        share = sum(effective[node_id] for node_id in local) / sum(effective.values())
        assert abs(np.isin(owners, local).sum() - share * len(shards)) <= 5 * deviation(len(shards), share)


@pytest.mark.parametrize("points", [40, 160])
def test_a_ring_is_as_even_as_its_points_allow(points: int) -> None:
    """Points of one node add up as independent arcs do: a deviation of 1 / sqrt(points), and that of counting."""
    nodes = 50
    found = [counts(Ring(), [Node(f"{ring}-{at}") for at in range(nodes)], virtualNodes=points) for ring in range(8)]
    squares = [float(np.var(shards) / np.mean(shards) ** 2) for shards in found]
    assert sqrt(sum(squares) / len(squares)) <= 1.15 * sqrt(1 / points + nodes / len(SHARDS))


def test_a_ring_follows_weight() -> None:
    weights = [1, 4, 1, 10, 2]
    share = np.array(weights) / sum(weights)
    found = counts(Ring(), nodes_of(weights), virtualNodes=1000) / len(SHARDS)
    tolerance = 5 * share * np.sqrt(1 / (1000 * np.array(weights)) + 1 / (share * len(SHARDS)))
    assert (np.abs(found - share) <= tolerance).all()


@pytest.mark.parametrize("size", [101, 65_537])
@pytest.mark.parametrize("weights", [[1] * 7, [1, 4], [1, 1, 1, 10], [1 + at % 3 for at in range(50)]])
def test_a_maglev_table_gives_each_node_its_share_of_slots_to_within_one(weights: Sequence[int], size: int) -> None:
    share = np.array(weights) / sum(weights)
    found = counts(Maglev(), nodes_of(weights), tableSize=size)
    tolerance = len(SHARDS) / size + 5 * np.sqrt(len(SHARDS) * (share + 1 / size))
    assert (np.abs(found - share * len(SHARDS)) <= tolerance).all()
