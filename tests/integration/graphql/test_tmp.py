import json, pytest
from tests.support.graphql_documents import *
from tests.support.graphql_api import ON_EVERY_STORE
from tests.support.mesh import new
pytestmark = ON_EVERY_STORE
from graph.cursors import *
from persistence.records import ShardKey
async def test_x(api, mesh):
    await mesh.create(new("1"), new("2"))
    async def show(doc, **v):
        r = await api.post(doc, v); print(str(v)[:100], "->", r.status_code, r.text[:220])
    for t in ("0001-01-01T00:00:00Z","9999-12-31T23:59:59.999999Z","1969-12-31T23:59:59.999999Z","4714-01-01T00:00:00Z"):
        await show(SHARDS, asOf={"time": t}); await show(HISTORY, filter={"since": t}); await show(CHANGES, filter={"until": t})
    await show(HISTORY, filter={"changeId": str(2**63-1)}); await show(HISTORY, filter={"changeId": "0"})
    await show(DIFF, **{"from": 2**63-1}); await show(DIFF, **{"from": 0}, to=2**63-1); await show(DIFF, **{"from":2}, to=2)
    await show(SHARDS, asOf={"revision": 2**63-1}); await show(shard_query("version"), id="1", atLeast=2**63-1)
    await show(HISTORY, after=history_cursor(2**63-1), first=3); await show(HISTORY, after=history_cursor(0), first=3, orderBy="REVISION_ASC")
    await show(CHANGES, after=change_cursor(2**63-1)); await show(SHARDS, after=shard_cursor(ShardKey("z"*128,"z"*128)), first=500)
    await show(SHARDS, after=shard_cursor(ShardKey("billing","2")), before=shard_cursor(ShardKey("billing","1")))
    await show(SHARDS, filter={"search": "%"}); await show(SHARDS, filter={"search": "_"}); await show(SHARDS, filter={"search": "\\"}); await show(SHARDS, filter={"search": "'"}); await show(SHARDS, filter={"search": "\0"})
    await show(SHARDS, filter={"shardIds": [f"s{i}" for i in range(1000)]})
    await show(UPDATE, input=one_shard("1", 2**63-1, ownerNodeId="x", change=BY_ALICE))
    await show(UPDATE, input=one_shard("1", 0, ownerNodeId="x", change=BY_ALICE))
    await show(UPDATE, input=one_shard("1", 1, capacityHint=1.7976931348623157e308, change=BY_ALICE))
    await show(UPDATE, input=one_shard("1", 2, capacityHint=5e-324, change=BY_ALICE))
    await show(UPDATE, input=one_shard("1", 3, capacityHint=-0.0, change=BY_ALICE))
    await show(UPDATE, input=one_shard("1", 4, capacityHint=1e400, change=BY_ALICE))
    await show(UPDATE, input=one_shard("2", 1, status="PAUSED", change=BY_ALICE|{"reason":"ä"*1024, "metadata": {"k": "\u2028\U0001f600"}}))
    await show(CONFIGURE, input={"name":"billing","strategy":"ring","expectedVersion":2**63-1,"change":BY_ALICE})
    await show('{ namespaces(last: 1) { nodes { name } } }')
    await show('{ head { __typename cursor } __typename }')
    await show('query A { head { revision } } query A { head { revision } }')
