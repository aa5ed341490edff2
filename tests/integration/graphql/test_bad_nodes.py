"""What clients get wrong about nodes and plans: each a typed result or a coded error that names the field."""

from __future__ import annotations

from typing import Any

import pytest

from graph.operations import operation
from tests.support.graphql_api import Api
from tests.support.graphql_documents import BY_ALICE
from tests.support.rebalancing_api import ask, change, registered

NUL, SURROGATE, LONG = "a\0b", "a\ud800b", "x" * 129
MALFORMED = ["", ":x", "a b", "ä", NUL, SURROGATE, LONG, "a,b", "\N{ARABIC-INDIC DIGIT ONE}"]


async def refused(api: Api, name: str, **given: Any) -> list[str]:
    """The fields that an InvalidInput lists."""
    answer = await change(api, name, **given)
    assert answer["__typename"] == "InvalidInput", answer
    return [error["field"] for error in answer["errors"]]


@pytest.mark.parametrize("bad", MALFORMED)
async def test_a_malformed_identifier_or_place_is_refused_by_name(api: Api, bad: str) -> None:
    assert await refused(api, "RegisterNode", nodeId=bad) == ["nodeId"]
    assert await refused(api, "RegisterNode", nodeId="node-a", region=bad, zone=bad) == ["region", "zone"]
    assert await refused(api, "UpdateNode", nodeId=bad, expectedVersion=1, zone=bad) == ["nodeId", "zone"]
    assert await refused(api, "DrainNode", nodeId=bad, expectedVersion=1) == ["nodeId"]
    assert await refused(api, "PlanRebalance", namespaces=["billing", bad]) == ["namespaces[1]"]
    assert await refused(api, "ApplyPlan", planId=bad) == ["planId"]
    for name, argument in (("NodeDetails", "nodeId"), ("DrainPreflight", "nodeId"), ("RebalancePlan", "id")):
        error = await api.error(operation(name), **{argument: bad})
        assert (error["code"], error["fields"][0]["field"]) == ("INVALID_ARGUMENT", argument)
    error = await api.error(operation("ExplainShard"), namespace=bad, shardId=bad)
    assert [field["field"] for field in error["fields"]] == ["namespace", "shardId"]
    for name, where in (("ListNodes", {"regions": [bad]}), ("ListRebalancePlans", {"namespace": bad})):
        assert (await api.error(operation(name), filter=where))["code"] == "INVALID_ARGUMENT"
    supposed = {"nodes": [{"nodeId": "node-a"}, {"nodeId": bad, "region": bad}]}
    error = await api.error(operation("SimulateRebalance"), input=supposed)
    assert [field["field"] for field in error["fields"]] == ["nodes[1].nodeId", "nodes[1].region"]


@pytest.mark.parametrize("weight", [0, -1, 2**20 + 1, 2**31 - 1])
async def test_a_weight_out_of_bounds_is_refused_by_name(api: Api, weight: int) -> None:
    await registered(api, "node-a")
    message = f"must be a whole number from 1 to 1,048,576, not {weight}"
    for name, given in (("RegisterNode", {"nodeId": "node-b"}), ("UpdateNode", {"expectedVersion": 1})):
        answer = await change(api, name, **{"nodeId": "node-a", **given}, weight=weight)
        assert answer["errors"] == [{"field": "weight", "message": message}]
        assert answer["message"] == f"weight {message}"
    error = await api.error(operation("SimulateRebalance"), input={"nodes": [{"nodeId": "n", "weight": weight}]})
    assert error["fields"] == [{"field": "nodes[0].weight", "message": message}]


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1.5, "x", "1", True, 2**31, [1]])
async def test_a_weight_that_is_no_whole_number_is_refused_by_name(api: Api, weight: Any) -> None:
    given = {"nodeId": "node-a", "weight": weight, "change": BY_ALICE}
    error = await api.error(operation("RegisterNode"), input=given)
    assert (error["code"], "at .weight: " in error["message"]) == ("BAD_USER_INPUT", True)


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ([], "labels"),
        ("disk=ssd", "labels"),
        (7, "labels"),
        ({"": "x"}, "labels"),
        ({"a b": "x"}, "labels"),
        ({SURROGATE: "x"}, "labels"),
        ({"disk": 1}, "labels.disk"),
        ({"disk": None}, "labels.disk"),
        ({"disk": LONG}, "labels.disk"),
        ({"disk": SURROGATE}, "labels.disk"),
        ({f"label-{number}": "x" for number in range(65)}, "labels"),
    ],
)
async def test_labels_are_an_object_of_short_strings(api: Api, labels: Any, field: str) -> None:
    await registered(api, "node-a")
    assert await refused(api, "RegisterNode", nodeId="node-b", labels=labels) == [field]
    assert await refused(api, "UpdateNode", nodeId="node-a", expectedVersion=1, labels=labels) == [field]
    error = await api.error(operation("SimulateRebalance"), input={"nodes": [{"nodeId": "n", "labels": labels}]})
    assert [problem["field"] for problem in error["fields"]] == [f"nodes[0].{field}"]


async def test_null_is_no_value_for_what_a_node_must_have(api: Api) -> None:
    await registered(api, "node-a")
    for name in ("labels", "weight", "status"):
        assert await refused(api, "UpdateNode", nodeId="node-a", expectedVersion=1, **{name: None}) == [name]
    assert await refused(api, "UpdateNode", nodeId="node-a", expectedVersion=1) == ["nodeId"]


async def test_a_node_is_not_registered_as_removed(api: Api) -> None:
    assert await refused(api, "RegisterNode", nodeId="node-a", status="REMOVED") == ["status"]


async def test_a_change_of_nodes_or_plans_needs_an_actor_and_a_reason(api: Api) -> None:
    await registered(api, "node-a")
    nobody, blank = {"reason": "why not"}, {"actor": "alice", "reason": " "}
    for name, given in (
        ("RegisterNode", {"nodeId": "node-b"}),
        ("UpdateNode", {"nodeId": "node-a", "expectedVersion": 1, "weight": 2}),
        ("DrainNode", {"nodeId": "node-a", "expectedVersion": 1}),
        ("PlanRebalance", {}),
        ("ApplyPlan", {"planId": "0" * 32}),
    ):
        assert await refused(api, name, **given, change=nobody) == ["change.actor"]
        assert await refused(api, name, **given, change=blank) == ["change.reason"]


async def test_what_to_plan_for_is_checked(api: Api) -> None:
    assert await refused(api, "PlanRebalance", namespaces=[]) == ["namespaces"]
    assert await refused(api, "PlanRebalance", namespaces=["billing"] * 1_001) == ["namespaces"]
    for moves in (0, -1, 10_001):
        answer = await change(api, "PlanRebalance", maxMoves=moves)
        assert answer["message"] == f"maxMoves must be between 1 and 10,000, not {moves:,}"
        error = await api.error(operation("SimulateRebalance"), input={"maxMoves": moves})
        assert error["fields"][0]["field"] == "maxMoves"


async def test_an_unknown_strategy_or_parameter_is_named_with_the_nearest(api: Api) -> None:
    base = "strategyParameters"
    for given, field, hint in (
        ({"strategy": "rings"}, "strategy", "did you mean ring?"),
        ({"strategy": "ring", base: {"virtualNode": 1}}, f"{base}.virtualNode", "virtualNodes?"),
        ({"strategy": "ring", base: {"virtualNodes": 0}}, f"{base}.virtualNodes", "from 1 to"),
        ({"strategy": "ring", base: {"selector": "a,!a"}}, f"{base}.selector", ""),
        ({"strategy": "ring", base: [1]}, base, "must be a JSON object"),
        ({"strategy": "ring", base: {"x": "y" * 20_000}}, base, "at most 16,384"),
        ({base: {"virtualNodes": 1}}, base, "need a strategy"),
    ):
        error = await api.error(operation("SimulateRebalance"), input=given)
        (problem,) = error["fields"]
        assert (error["code"], problem["field"]) == ("INVALID_ARGUMENT", field)
        assert hint in problem["message"]


async def test_a_thousand_nodes_may_be_supposed_each_once(api: Api) -> None:
    many = [{"nodeId": f"node-{number}"} for number in range(1_001)]
    error = await api.error(operation("SimulateRebalance"), input={"nodes": many})
    assert error["fields"] == [{"field": "nodes", "message": "holds 1,001 nodes; at most 1,000 are allowed"}]
    error = await api.error(operation("SimulateRebalance"), input={"nodes": [{"nodeId": "node-a"}] * 2})
    assert error["fields"][0]["field"] == "nodes[1].nodeId"


async def test_a_filter_of_nodes_is_bounded(api: Api) -> None:
    error = await api.error(operation("ListNodes"), filter={"zones": ["z"] * 1_001})
    assert error["fields"] == [{"field": "filter.zones", "message": "holds 1,001 values; at most 1,000 are allowed"}]


async def test_a_cursor_among_moves_is_one_of_moves(api: Api) -> None:
    query = """query ($after: String) { simulateRebalance(input: { nodes: [{ nodeId: "node-a" }] }) {
      moves(after: $after) { totalCount } } }"""
    nodes = await ask(api, "ListNodes")
    assert nodes["pageInfo"]["endCursor"] is None
    error = await api.error(query, after="x")
    assert (error["code"], error["fields"][0]["field"]) == ("BAD_CURSOR", "after")
