"""Which namespaces edits of nodes leave without a placement, and which configurations are to be refused."""

from __future__ import annotations

from typing import Any

import pytest

from persistence.model.outcomes import WarningCode
from persistence.model.records import Namespace, NodeStatus
from persistence.planning.placeability import MOST_WARNINGS, new_warnings, own_obstacle, warnings_of
from tests.support.snapshots import STRATEGIES, namespace, node, nodes

UNPLACEABLE = WarningCode.NAMESPACE_UNPLACEABLE
WITHOUT_RESERVE = WarningCode.NAMESPACE_WITHOUT_RESERVE


def held(name: str = "orders", count: int = 20, strategy: str = "rendezvous", **parameters: Any) -> Namespace:
    return namespace(name, strategy, parameters, shard_count=count)


def test_what_cannot_be_placed_is_warned_of_by_name() -> None:
    spaces = [held("a", maxShardsPerNode=10), held("b", maxShardsPerNode=5), held("c"), held("d", 0, replicas=9)]
    found = warnings_of(spaces, nodes("x", "y"), STRATEGIES)
    assert list(found) == [("a", WITHOUT_RESERVE), ("b", UNPLACEABLE)]
    message = "20 shards do not fit: with maxShardsPerNode 5 there is room for 10 on 2 nodes"
    assert found["b", UNPLACEABLE].message == f"b cannot be placed: {message}"
    assert found["b", UNPLACEABLE].namespace == "b"
    reserve = found["a", WITHOUT_RESERVE].message
    assert reserve.startswith("a could not be placed any more without one of its nodes: 20 shards do not fit")


def test_only_active_nodes_count_and_without_any_nothing_is_said() -> None:
    there = [node("x"), node("y", NodeStatus.DRAINING), node("z", NodeStatus.CORDONED)]
    assert list(warnings_of([held(maxShardsPerNode=10)], there, STRATEGIES)) == [("orders", UNPLACEABLE)]
    assert warnings_of([held(maxShardsPerNode=1)], [node("y", NodeStatus.DOWN)], STRATEGIES) == {}


def test_strategies_that_are_not_known_are_left_out() -> None:
    spaces = [held("a", strategy="gone"), held("b", strategy="ring", virtualNodes=0), held("c", replicas=3)]
    assert list(warnings_of(spaces, nodes("x"), STRATEGIES)) == [("c", UNPLACEABLE)]


def test_what_was_so_before_is_not_said_again() -> None:
    spaces = [held(f"n{number:02}", maxShardsPerNode=10) for number in range(30)]
    three, two = (warnings_of(spaces, nodes(*there), STRATEGIES) for there in ("abc", "ab"))
    assert new_warnings(two, two) == ()
    assert new_warnings(two, three) == ()
    fresh = new_warnings(three, two)
    assert len(fresh) == MOST_WARNINGS + 1
    assert fresh[-1].message.startswith("10 more namespaces cannot be placed")


@pytest.mark.parametrize(
    ("strategy", "parameters", "parameter"),
    [
        ("rendezvous", {"maxShardsPerNode": 6}, "maxShardsPerNode"),
        ("rendezvous", {"replicas": 4}, "replicas"),
        ("ring", {"virtualNodes": 4_096}, "virtualNodes"),
        ("rendezvous", {"selector": "disk=ssd"}, "selector"),
    ],
)
def test_a_configuration_that_cannot_place_is_named_by_its_parameter(
    strategy: str, parameters: dict[str, Any], parameter: str
) -> None:
    there = [node(name, weight=1_000) for name in "abc"]
    found = own_obstacle(held(), strategy, parameters, there, STRATEGIES)
    assert found is not None
    assert found.parameter == parameter
    already = held(strategy=strategy, **parameters)
    assert own_obstacle(already, strategy, parameters, there, STRATEGIES) is None
    assert own_obstacle(held(count=0), strategy, parameters, there, STRATEGIES) is None
    assert own_obstacle(held(), strategy, parameters, [], STRATEGIES) is None


def test_nodes_that_are_away_for_now_are_no_fault_of_a_configuration() -> None:
    there = [*nodes("a", "b"), node("c", NodeStatus.DOWN)]
    assert own_obstacle(held(), "rendezvous", {"replicas": 3}, there, STRATEGIES) is None
    removed = [*nodes("a", "b"), node("c", NodeStatus.REMOVED)]
    assert own_obstacle(held(), "rendezvous", {"replicas": 3}, removed, STRATEGIES) is not None


def test_what_cannot_be_placed_anyhow_may_be_configured_so() -> None:
    """As one that mends the first of two faults is."""
    both = held(maxShardsPerNode=1, replicas=9)
    assert own_obstacle(both, "rendezvous", {"maxShardsPerNode": 1}, nodes("a", "b"), STRATEGIES) is None
    gone = held(strategy="gone")
    assert own_obstacle(gone, "rendezvous", {"maxShardsPerNode": 1}, nodes("a", "b"), STRATEGIES) is None
