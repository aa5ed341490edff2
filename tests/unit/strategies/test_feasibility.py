"""What is foreseen of a configuration is what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from strategies.feasibility import Feasibility, Obstacle
from strategies.model import Infeasible, Node, Shards
from strategies.registry import Registry

REGISTRY = Registry()


def nodes(count: int, weight: int = 1, **fields: Any) -> list[Node]:
    return [Node(f"n{number}", weight, **fields) for number in range(count)]


def feasibility(strategy: str, parameters: dict[str, Any], there: Sequence[Node]) -> Feasibility:
    return Feasibility(REGISTRY[strategy], REGISTRY.complete(strategy, parameters), there)


@pytest.mark.parametrize(
    ("strategy", "parameters", "there", "parameter", "words"),
    [
        ("ring", {}, nodes(2, 20_000), "virtualNodes", "the ring would have 6,400,000 points"),
        ("maglev", {"tableSize": 101}, nodes(102), "tableSize", "102 nodes do not fit into a table of 101"),
        ("jump", {}, nodes(8_193, 2**20), None, "the nodes' weights are"),
        ("rendezvous", {"replicas": 3}, nodes(2), "replicas", "3 replicas need 3 nodes: there are 2"),
        ("rendezvous", {"selector": "disk=ssd"}, nodes(2), "selector", "selector 'disk=ssd' matches none of 2 nodes"),
        (
            "sticky",
            {"maxShardsPerNode": 9},
            nodes(2),
            "maxShardsPerNode",
            "20 shards do not fit: with maxShardsPerNode",
        ),
        ("locality", {}, [], None, "there are no nodes"),
    ],
)
def test_what_is_in_the_way_is_named(
    strategy: str, parameters: dict[str, Any], there: list[Node], parameter: str | None, words: str
) -> None:
    found = feasibility(strategy, parameters, there).obstacle(20)
    assert found is not None
    assert found.parameter == parameter
    assert words in found.message
    with pytest.raises(Infeasible) as refused:
        REGISTRY.placer(strategy, parameters, there).owners(Shards.named("a", [str(at) for at in range(20)]))
    assert str(refused.value) == found.message


@pytest.mark.parametrize("seed", range(150))
def test_there_is_an_obstacle_where_there_is_no_placement_and_nowhere_else(seed: int) -> None:
    drawn = Random(seed)
    strategy = drawn.choice(["rendezvous", "ring", "maglev", "jump", "locality", "sticky"])
    parameters: dict[str, Any] = {
        "replicas": drawn.choice([1, 2, 3]),
        "maxShardsPerNode": drawn.choice([None, 3, 10]),
        "maxLoadPercent": drawn.choice([None, 100, 150]),
        "selector": drawn.choice(["", "disk=ssd"]),
    }
    there = [
        Node(f"n{number}", drawn.choice([1, 3]), labels={"disk": drawn.choice(["ssd", "hdd"])})
        for number in range(drawn.randrange(6))
    ]
    shards = Shards.named("a", [str(at) for at in range(drawn.randrange(1, 40))])
    found = feasibility(strategy, parameters, there).obstacle(len(shards))
    try:
        REGISTRY.placer(strategy, parameters, there).owners(shards)
    except Infeasible:
        assert found is not None
    else:
        assert found is None


def test_the_loss_of_a_node_is_foreseen() -> None:
    bound = feasibility("rendezvous", {"maxShardsPerNode": 10}, nodes(3))
    assert bound.obstacle_after_a_loss(20) is None
    assert bound.obstacle_after_a_loss(21) == Obstacle(
        "maxShardsPerNode",
        "21 shards do not fit: with maxShardsPerNode 10 there is room for 20 on 2 nodes",
    )
    copies = feasibility("rendezvous", {"replicas": 3}, nodes(3)).obstacle_after_a_loss(1)
    assert copies == Obstacle("replicas", "3 replicas need 3 nodes, and there are no more than that")


def test_nothing_is_foreseen_of_what_is_impossible_or_hangs_on_one_node() -> None:
    assert feasibility("rendezvous", {"maxShardsPerNode": 10}, nodes(3)).obstacle_after_a_loss(31) is None
    assert feasibility("rendezvous", {"maxShardsPerNode": 10}, nodes(1)).obstacle_after_a_loss(5) is None
    assert feasibility("rendezvous", {}, []).obstacle_after_a_loss(5) is None
