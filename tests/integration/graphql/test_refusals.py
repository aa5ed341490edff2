"""What was refused is read back as a connection, against every store."""

from __future__ import annotations

from tests.support.graphql_api import ON_EVERY_STORE, Api

pytestmark = ON_EVERY_STORE

CREATE = """
    mutation($namespace: String!, $ticket: String) {
      createShards(input: {
        shards: [{namespace: $namespace, shardId: "s1", ownerNodeId: "node-a"}]
        change: {actor: "alice", reason: "try", changeTicket: $ticket}
      }) { __typename }
    }
"""
REFUSALS = """
    query($filter: RefusalFilter, $first: Int, $after: String) {
      refusals(filter: $filter, first: $first, after: $after) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { id kind actor reason changeTicket namespaces outcome request details leftOut refusedAt hash }
      }
    }
"""


async def test_refusals_are_listed_newest_first_and_filtered(api: Api) -> None:
    for namespace, ticket in (("nowhere", "CHG-1"), ("elsewhere", None)):
        answer = await api.data(CREATE, namespace=namespace, ticket=ticket)
        assert answer["createShards"]["__typename"] == "NotFound"
    page = (await api.data(REFUSALS, first=1))["refusals"]
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"], page["nodes"][0]["id"]) == (2, True, "2")
    rest = (await api.data(REFUSALS, after=page["pageInfo"]["endCursor"]))["refusals"]
    (refusal,) = rest["nodes"]
    assert (refusal["kind"], refusal["outcome"], refusal["actor"]) == ("CREATE_SHARDS", "NotFound", "alice")
    assert (refusal["namespaces"], refusal["changeTicket"], refusal["leftOut"]) == (["nowhere"], "CHG-1", "0")
    assert refusal["details"]["namespaces"] == ["nowhere"]
    assert refusal["request"]["shards"][0]["shardId"] == "s1"
    found = (await api.data(REFUSALS, filter={"changeTicket": "CHG-1"}))["refusals"]
    assert [node["id"] for node in found["nodes"]] == ["1"]


async def test_a_filter_that_breaks_a_rule_is_named(api: Api) -> None:
    answer = (await api.post(REFUSALS, {"filter": {"namespace": "no namespace"}})).json()
    assert answer["errors"][0]["extensions"]["fields"][0]["field"] == "filter.namespace"
