"""Nodes and namespaces as of a point in time; against every store."""

from __future__ import annotations

from typing import Any, Final

import pytest

from persistence.model.policy import NamespacePolicy
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.mesh import BILLING, SEARCH, Mesh, new
from tests.support.rebalancing_api import ask, marked, registered

pytestmark = ON_EVERY_STORE

NODES: Final = """
query($asOf: AsOf, $filter: NodeFilter, $first: Int, $after: String) {
  nodes(asOf: $asOf, filter: $filter, first: $first, after: $after) {
    totalCount
    nodes { nodeId region status version lastChange { actor shardCount } }
    pageInfo { hasNextPage endCursor }
  }
}
"""

NAMESPACES: Final = """
query($asOf: AsOf) {
  namespaces(asOf: $asOf) { nodes { name strategy version policy { ticketRequired } freezesBetween { reason } } }
}
"""


async def test_nodes_are_listed_as_they_were(api: Api, mesh: Mesh) -> None:
    await registered(api, "node-a", "node-b", region="eu")
    then = str((await mesh.create(new("s1"))).shards[0].revision)
    await mesh.create(new("s2"))
    await marked(api, "node-a", "DRAINING")
    await marked(api, "node-b", "REMOVED")
    await registered(api, "node-c")
    found = await api.field(NODES, asOf={"revision": then}, first=1)
    assert (found["totalCount"], found["pageInfo"]["hasNextPage"]) == (2, True)
    assert found["nodes"] == [
        {
            "nodeId": "node-a",
            "region": "eu",
            "status": "ACTIVE",
            "version": "1",
            "lastChange": {"actor": "alice", "shardCount": 0},
        }
    ]
    rest = await api.field(NODES, asOf={"revision": then}, first=1, after=found["pageInfo"]["endCursor"])
    assert [(node["nodeId"], node["status"]) for node in rest["nodes"]] == [("node-b", "ACTIVE")]
    now = await api.field(NODES, asOf={"revision": "2"})
    assert [(node["nodeId"], node["status"]) for node in now["nodes"]] == [("node-a", "DRAINING"), ("node-c", "ACTIVE")]
    page = await ask(api, "NodesAsOf", asOf={"revision": then})
    assert page["nodes"][0] == {"nodeId": "node-a", "region": "eu", "zone": None, "weight": 1, "status": "ACTIVE"}


async def test_namespaces_are_listed_as_they_were_configured(api: Api, mesh: Mesh) -> None:
    then = (await mesh.changes())[-1].committed_at.isoformat()
    await mesh.configure(policy=NamespacePolicy(ticket_required=True), expected=1)
    await mesh.configure(SEARCH)
    found = await api.field(NAMESPACES, asOf={"time": then})
    assert [(one["name"], one["version"], one["policy"]["ticketRequired"]) for one in found["nodes"]] == [
        (BILLING, "1", False)
    ]
    now = await api.field(NAMESPACES)
    assert [(one["name"], one["version"]) for one in now["nodes"]] == [(BILLING, "2"), (SEARCH, "1")]


@pytest.mark.parametrize(
    ("root", "selected", "named"),
    [
        ("nodes", "nodes { shardCount }", "shardCount"),
        ("nodes", "edges { node { ...N } } } } fragment N on Node { loads { shards", "loads"),
        ("namespaces", "nodes { digest }", "digest"),
        ("namespaces", "edges { node { n: windowUse { used } } }", "windowUse"),
        ("namespaces", "nodes { updatedAt }", "updatedAt"),
    ],
)
async def test_what_is_not_known_of_then_is_refused(api: Api, root: str, selected: str, named: str) -> None:
    error = await api.error(f"{{ {root}(asOf: {{ revision: 0 }}) {{ {selected} }} }}")
    assert (error["code"], error["fields"][0]["field"]) == ("INVALID_ARGUMENT", "asOf")
    assert f"where {named} is selected" in error["message"]


async def test_revisions_that_there_are_not_are_refused(api: Api) -> None:
    for query in (NODES, NAMESPACES):
        given: dict[str, Any] = {"asOf": {"revision": "7"}}
        assert (await api.error(query, **given))["code"] == "FUTURE_CURSOR"
