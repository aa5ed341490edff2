"""The same mesh, supposing something else of it."""

from __future__ import annotations

import pytest

from persistence.model.fields import Problems
from persistence.model.records import MoveReason, NodeStatus
from persistence.planning.planner import propose
from persistence.planning.what_if import SupposedNode, WhatIf, suppose
from tests.support.snapshots import STRATEGIES, namespace, node, nodes, shards, snapshot


def problems(what_if: WhatIf) -> list[str]:
    found = Problems()
    what_if.add_problems(found, STRATEGIES)
    return [problem.field for problem in found]


def test_without_a_supposition_everything_is_as_it_is() -> None:
    there = snapshot(nodes("a", "b"), shards(9))
    assert suppose(there, WhatIf(), STRATEGIES) == there


def test_a_known_node_keeps_what_is_not_supposed_of_it() -> None:
    there = snapshot([node("a", region="eu", zone="z", labels={"x": "1"}, weight=3, version=5)], shards(3))
    supposed = suppose(there, WhatIf([SupposedNode("a", weight=9, status=NodeStatus.DOWN)]), STRATEGIES)
    assert supposed.nodes == [node("a", NodeStatus.DOWN, region="eu", zone="z", labels={"x": "1"}, weight=9, version=5)]
    assert supposed.shards is there.shards


def test_a_node_that_is_not_there_comes_in_with_the_defaults() -> None:
    there = snapshot(nodes("b"), shards(3))
    added = suppose(there, WhatIf([SupposedNode("c"), SupposedNode("a", zone="z", labels={"x": "1"})]), STRATEGIES)
    assert [one.node_id for one in added.nodes] == ["a", "b", "c"]
    a, _, c = added.nodes
    assert (a.zone, a.labels, a.weight, a.status) == ("z", {"x": "1"}, 1, NodeStatus.ACTIVE)
    assert (c.region, c.labels, c.version) == (None, {}, 0)


def test_a_node_supposed_removed_is_not_there() -> None:
    there = snapshot(nodes("a", "b"), shards(9))
    without = suppose(there, WhatIf([SupposedNode("a", status=NodeStatus.REMOVED)]), STRATEGIES)
    assert [one.node_id for one in without.nodes] == ["b"]
    assert {move.reason for move in propose(without, STRATEGIES).moves} == {MoveReason.OWNER_REMOVED}


def test_another_strategy_is_that_of_every_namespace() -> None:
    there = snapshot(nodes("a", "b"), {"billing": shards(4), "search": shards(4)}, namespace("search", "locality"))
    supposed = suppose(there, WhatIf((), "ring", {"virtualNodes": 7}), STRATEGIES)
    for space in supposed.namespaces:
        assert (space.strategy, space.strategy_parameters) == ("ring", {"virtualNodes": 7})
        assert space.parameters_digest == STRATEGIES.digest("ring", {"virtualNodes": 7})
        assert space.algorithm_version == STRATEGIES["ring"].algorithm_version
    assert propose(supposed, STRATEGIES).moves


@pytest.mark.parametrize(
    ("what_if", "fields"),
    [
        (WhatIf([SupposedNode("a"), SupposedNode("b", "eu", "z", {"x": "1"}, 2, NodeStatus.DOWN)]), []),
        (WhatIf((), "ring", {"virtualNodes": 7}), []),
        (WhatIf([SupposedNode("a b"), SupposedNode("a", weight=0)]), ["nodes[0].nodeId", "nodes[1].weight"]),
        (WhatIf([SupposedNode("a"), SupposedNode("a")]), ["nodes[1].nodeId"]),
        (
            WhatIf([SupposedNode("a", region="a/b", zone="", labels={"x": "a b"})]),
            ["nodes[0].region", "nodes[0].zone", "nodes[0].labels.x"],
        ),
        (WhatIf((), "rings"), ["strategy"]),
        (WhatIf((), None, {"virtualNodes": 7}), ["strategyParameters"]),
        (WhatIf((), "ring", {"virtualNodes": 0}), ["strategyParameters.virtualNodes"]),
        (WhatIf((), "ring", {"zoneBoost": 2}), ["strategyParameters.zoneBoost"]),
    ],
)
def test_what_is_wrong_with_a_supposition_is_told_at_its_path(what_if: WhatIf, fields: list[str]) -> None:
    assert problems(what_if) == fields
