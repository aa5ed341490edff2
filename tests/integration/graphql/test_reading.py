"""Every query, against every store."""

from __future__ import annotations

from typing import Any

import pytest

from graph.execution.encoding import write_date_time
from persistence.codec import cursors
from persistence.model.records import UNMARKED, ChangeMark, ShardKey, ShardStatus
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.graphql_documents import CHANGES, DIFF, HISTORY, SHARDS, SHARDS_BY_KEY, shard_keys, shard_query
from tests.support.mesh import Mesh, because, new, patch

pytestmark = ON_EVERY_STORE


def ids(connection: Any) -> list[str]:
    return [node["shardId"] for node in connection["nodes"]]


async def test_a_shard_is_shown_with_all_its_fields(api: Api, mesh: Mesh) -> None:
    await mesh.create(
        new("1", "node-a", leader_id="node-b", locality_hint="eu/eu-1", capacity_hint=2.5),
        change=because("drain", change_ticket="CHG-1"),
    )
    fields = (
        "namespace shardId strategy ownerNodeId leaderId capacityHint localityHint status pinned { by reason until }"
        " changeTicket version ownerEpoch checksum revision createdAt updatedAt"
    )
    shard = await api.field(shard_query(fields), id="1")
    record = await mesh.shard("1")
    assert record is not None
    written = record.created_at.replace(tzinfo=None).isoformat() + "Z"
    assert shard == {
        "namespace": "billing",
        "shardId": "1",
        "strategy": "rendezvous",
        "ownerNodeId": "node-a",
        "leaderId": "node-b",
        "capacityHint": 2.5,
        "localityHint": "eu/eu-1",
        "status": "ACTIVE",
        "pinned": None,
        "changeTicket": "CHG-1",
        "version": "1",
        "ownerEpoch": "1",
        "checksum": record.checksum,
        "revision": "1",
        "createdAt": written,
        "updatedAt": written,
    }


EDGES = "{ cursor node { shardId } }"


@pytest.mark.parametrize(
    "document",
    [
        f"{{ shards {{ e: edges {EDGES} }} }}",
        f"{{ shards {{ ...f }} }} fragment f on ShardConnection {{ ... {{ e: edges {EDGES} }} }}",
        f"query ($on: Boolean = true) {{ shards {{ ... @include(if: $on) {{ e: edges @skip(if: false) {EDGES} }} }} }}",
        f"{{ shards {{ nodes {{ shardId }} }} ... on Query {{ shards {{ e: edges {EDGES} }} }} }}",
    ],
)
async def test_edges_are_the_same_however_they_are_selected(api: Api, mesh: Mesh, document: str) -> None:
    await mesh.create(*(new(f"s{number}") for number in range(3)))
    expected = [
        {"cursor": cursors.SHARDS.write(ShardKey("billing", f"s{number}")), "node": {"shardId": f"s{number}"}}
        for number in range(3)
    ]
    assert (await api.data(document))["shards"]["e"] == expected


async def test_a_page_without_its_edges_has_the_same_ends(api: Api, mesh: Mesh) -> None:
    await mesh.create(*(new(f"s{number}") for number in range(3)))
    ends = "pageInfo { startCursor endCursor hasNextPage }"
    alone = (await api.data(f"{{ shards(first: 2) {{ {ends} }} }}"))["shards"]["pageInfo"]
    beside = (await api.data(f"{{ shards(first: 2) {{ edges {{ cursor }} {ends} }} }}"))["shards"]
    assert alone == beside["pageInfo"]
    assert [alone["startCursor"], alone["endCursor"]] == [edge["cursor"] for edge in beside["edges"]]


async def test_a_shard_that_is_not_there_is_null(api: Api) -> None:
    assert await api.field(shard_query("version"), id="1") is None


async def test_a_shard_is_shown_as_of_a_revision_and_as_of_a_time(api: Api, mesh: Mesh) -> None:
    before = await mesh.created("1", "node-a")
    await mesh.updated(before, owner_node_id="node-b")
    query = shard_query("ownerNodeId")
    assert await api.field(query, id="1", asOf={"revision": "0"}) is None
    assert await api.field(query, id="1", asOf={"revision": 1}) == {"ownerNodeId": "node-a"}
    assert await api.field(query, id="1", asOf={"revision": "2"}) == {"ownerNodeId": "node-b"}
    assert await api.field(query, id="1", asOf={"time": before.updated_at.isoformat()}) == {"ownerNodeId": "node-a"}


async def test_at_least_waits_for_the_callers_own_write(api: Api, mesh: Mesh) -> None:
    shard = await mesh.created("1")
    assert await api.field(shard_query("revision"), id="1", atLeast=shard.revision) == {"revision": "1"}


async def test_at_least_a_cursor_waits_for_the_callers_own_write(api: Api, mesh: Mesh) -> None:
    cursor = cursors.STREAM.write((await mesh.create(new("1"))).position)
    assert await api.field(shard_query("revision"), id="1", atLeastCursor=cursor) == {"revision": "1"}
    listed = await api.field("query ($at: Cursor) { shards(atLeastCursor: $at) { revision } }", at=cursor)
    assert listed == {"revision": "1"}


async def test_at_least_a_revision_that_no_server_has_is_refused_at_once(api: Api) -> None:
    error = await api.error(shard_query("revision"), id="1", atLeast="99")
    assert (error["code"], error["requested"], error["head"]) == ("FUTURE_REVISION", "99", "0")


async def test_at_least_a_cursor_of_what_was_lost_is_refused_although_its_revision_is_there(
    api: Api, mesh: Mesh
) -> None:
    position = (await mesh.create(new("1"))).position
    for foreign in (
        position._replace(epoch="another"),
        position._replace(mark=ChangeMark(position.mark.change_id, b"elsewise")),
        position._replace(mark=UNMARKED),
    ):
        error = await api.error(shard_query("revision"), id="1", atLeastCursor=cursors.STREAM.write(foreign))
        assert error["code"] == "EPOCH_MISMATCH"


async def test_at_least_is_a_revision_or_a_cursor(api: Api, mesh: Mesh) -> None:
    cursor = cursors.STREAM.write((await mesh.create(new("1"))).position)
    error = await api.error(shard_query("revision"), id="1", atLeast="1", atLeastCursor=cursor)
    assert (error["code"], error["fields"][0]["field"]) == ("INVALID_ARGUMENT", "atLeastCursor")
    error = await api.error(shard_query("revision"), id="1", atLeastCursor="1")
    assert (error["code"], error["fields"][0]["field"]) == ("BAD_CURSOR", "atLeastCursor")


async def test_shards_by_key_come_in_the_order_asked_and_are_stamped(api: Api, mesh: Mesh) -> None:
    await mesh.created("1", "node-a")
    position = (await mesh.create(new("2", "node-b"))).position
    found = await api.field(SHARDS_BY_KEY, keys=shard_keys("2", "none", "1", "2"))
    shown = [shard and (shard["shardId"], shard["ownerNodeId"]) for shard in found["shards"]]
    assert shown == [("2", "node-b"), None, ("1", "node-a"), ("2", "node-b")]
    assert (found["revision"], found["cursor"]) == ("2", cursors.STREAM.write(position))
    none = await api.field(SHARDS_BY_KEY, keys=[{"namespace": "nowhere", "shardId": "1"}])
    assert (none["shards"], none["revision"]) == ([None], "2")


async def test_shards_by_key_are_shown_as_of_the_past(api: Api, mesh: Mesh) -> None:
    before = await mesh.created("1", "node-a")
    await mesh.updated(before, owner_node_id="node-b")
    for past in ({"revision": "1"}, {"time": before.updated_at.isoformat()}):
        found = await api.field(SHARDS_BY_KEY, keys=shard_keys("1"), asOf=past)
        assert (found["shards"][0]["ownerNodeId"], found["revision"]) == ("node-a", "1")


async def test_shards_by_key_wait_for_the_callers_own_write(api: Api, mesh: Mesh) -> None:
    position = (await mesh.create(new("1"))).position
    cursor, keys = cursors.STREAM.write(position), shard_keys("1")
    for fresh in ({"atLeast": "1"}, {"atLeastCursor": cursor}):
        assert (await api.field(SHARDS_BY_KEY, keys=keys, **fresh))["revision"] == "1"
    error = await api.error(SHARDS_BY_KEY, keys=keys, atLeast="99")
    assert (error["code"], error["requested"], error["head"]) == ("FUTURE_REVISION", "99", "1")
    error = await api.error(SHARDS_BY_KEY, keys=keys, atLeast="1", atLeastCursor=cursor)
    assert (error["code"], error["fields"][0]["field"]) == ("INVALID_ARGUMENT", "atLeastCursor")


async def test_500_shards_by_key_are_one_answer(api: Api, mesh: Mesh) -> None:
    ids = [f"s{number:03}" for number in range(500)]
    await mesh.create(*map(new, ids))
    found = await api.field(SHARDS_BY_KEY, keys=shard_keys(*reversed(ids)))
    assert [shard["shardId"] for shard in found["shards"]] == ids[::-1]


async def test_shards_are_paged_forwards_and_backwards(api: Api, mesh: Mesh) -> None:
    await mesh.create(*(new(name) for name in "abcde"))
    first = await api.field(SHARDS, first=2)
    assert ids(first) == ["a", "b"]
    assert first["totalCount"] == 5
    assert first["pageInfo"] == {
        "hasNextPage": True,
        "hasPreviousPage": False,
        "startCursor": first["edges"][0]["cursor"],
        "endCursor": first["edges"][1]["cursor"],
    }
    second = await api.field(SHARDS, first=2, after=first["pageInfo"]["endCursor"])
    assert ids(second) == ["c", "d"]
    assert second["pageInfo"]["hasPreviousPage"] is True
    back = await api.field(SHARDS, last=2, before=second["pageInfo"]["startCursor"])
    assert ids(back) == ["a", "b"]
    assert back["pageInfo"]["hasNextPage"] is True
    assert ids(await api.field(SHARDS, last=1)) == ["e"]
    assert ids(await api.field(SHARDS)) == list("abcde")


async def test_an_empty_page_has_no_cursors_of_items(api: Api) -> None:
    page = await api.field(SHARDS)
    assert (page["nodes"], page["edges"], page["totalCount"], page["revision"]) == ([], [], 0, "0")
    assert page["pageInfo"] == {
        "hasNextPage": False,
        "hasPreviousPage": False,
        "startCursor": None,
        "endCursor": None,
    }


async def test_a_filter_restricts_what_is_listed_and_counted(api: Api, mesh: Mesh) -> None:
    shard = await mesh.created("2", "node-b", leader_id="leader")
    await mesh.create(new("1", "node-a"), new("12", "node-b"))
    await mesh.updated(shard, status=ShardStatus.PAUSED)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["1", "12", "2"]),
        ({"namespace": "billing"}, ["1", "12", "2"]),
        ({"ownerNodeIds": ["node-b", "node-c"]}, ["12", "2"]),
        ({"ownerNodeIds": []}, ["1", "12", "2"]),
        ({"ownerNodeIds": None, "search": None}, ["1", "12", "2"]),
        ({"shardIds": ["1", "9"]}, ["1"]),
        ({"leaderIds": ["leader"]}, ["2"]),
        ({"statuses": ["PAUSED"]}, ["2"]),
        ({"strategies": ["rendezvous"]}, ["1", "12", "2"]),
        ({"search": "1"}, ["1", "12"]),
        ({"search": "1", "ownerNodeIds": ["node-b"]}, ["12"]),
        ({"changeTicket": "CHG-1"}, []),
    ]
    for where, expected in cases:
        page = await api.field(SHARDS, filter=where)
        assert (ids(page), page["totalCount"]) == (expected, len(expected)), where


async def test_shards_are_listed_as_of_the_past(api: Api, mesh: Mesh) -> None:
    await mesh.created("1")
    await mesh.created("2")
    page = await api.field(SHARDS, asOf={"revision": "1"})
    assert (ids(page), page["totalCount"], page["revision"]) == (["1"], 1, "1")


async def test_history_tells_who_changed_what(api: Api, mesh: Mesh) -> None:
    shard = await mesh.created("1", "node-a")
    await mesh.updated(shard, owner_node_id="node-b")
    page = await api.field(HISTORY)
    assert page["totalCount"] == 2
    assert page["nodes"] == [
        {
            "revision": "2",
            "kind": "UPDATED",
            "shardId": "1",
            "version": "2",
            "changedFields": ["ownerNodeId"],
            "previous": {"ownerNodeId": "node-a"},
            "current": {"ownerNodeId": "node-b"},
            "change": {"actor": "ops", "reason": "a test asks for it"},
        },
        {
            "revision": "1",
            "kind": "CREATED",
            "shardId": "1",
            "version": "1",
            "changedFields": [],
            "previous": None,
            "current": {"ownerNodeId": "node-a"},
            "change": {"actor": "ops", "reason": "a test asks for it"},
        },
    ]


async def test_history_is_paged_in_either_order(api: Api, mesh: Mesh) -> None:
    for name in "abc":
        await mesh.created(name)
    for order, expected in (("REVISION_ASC", "abc"), ("REVISION_DESC", "cba"), (None, "cba")):
        first = await api.field(HISTORY, orderBy=order, first=2)
        assert ids(first) == list(expected[:2])
        rest = await api.field(HISTORY, orderBy=order, first=2, after=first["pageInfo"]["endCursor"])
        assert ids(rest) == list(expected[2:])


async def test_history_can_be_restricted(api: Api, mesh: Mesh) -> None:
    shard = await mesh.created("a")
    await mesh.created("b")
    move = because("move", actor="alice", change_ticket="CHG-7")
    await mesh.update(patch(shard, owner_node_id="node-b"), change=move)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"namespace": "billing", "shardId": "a"}, ["a", "a"]),
        ({"ownerNodeId": "node-b"}, ["a"]),
        ({"kinds": ["CREATED"]}, ["b", "a"]),
        ({"kinds": []}, ["a", "b", "a"]),
        ({"actor": "alice"}, ["a"]),
        ({"changeTicket": "CHG-7"}, ["a"]),
        ({"changeId": "2"}, ["a"]),
        ({"until": "2000-01-01T00:00:00Z"}, []),
        ({"since": "2000-01-01T00:00:00+01:00"}, ["a", "b", "a"]),
    ]
    for where, expected in cases:
        page = await api.field(HISTORY, filter=where)
        assert (ids(page), page["totalCount"]) == (expected, len(expected)), where


async def test_a_difference_is_net_and_keeps_its_end_from_page_to_page(api: Api, mesh: Mesh) -> None:
    a = await mesh.created("a", "node-1")
    await mesh.created("b", "node-1")
    a = await mesh.updated(a, owner_node_id="node-2")
    await mesh.updated(a, owner_node_id="node-3")
    page = await api.field(DIFF, **{"from": "0"}, first=1)
    assert page["nodes"] == [
        {"kind": "CREATED", "shardId": "a", "previous": None, "current": {"ownerNodeId": "node-3"}}
    ]
    assert (page["totalCount"], page["revision"]) == (2, "4")
    await mesh.created("c")
    rest = await api.field(DIFF, **{"from": "0"}, first=5, after=page["pageInfo"]["endCursor"])
    assert (ids(rest), rest["revision"], rest["pageInfo"]["hasNextPage"]) == (["b"], "4", False)
    back = await api.field(DIFF, **{"from": "4"}, to="1", namespace="billing")
    assert [(node["kind"], node["shardId"]) for node in back["nodes"]] == [("UPDATED", "a"), ("DELETED", "b")]


async def test_a_difference_can_be_between_times(api: Api, mesh: Mesh) -> None:
    a = await mesh.created("a", "node-1")
    await mesh.updated(a, owner_node_id="node-2")
    await mesh.created("b")
    first, second, third = (write_date_time(row.change.committed_at) for row in await mesh.history())
    cases: list[tuple[dict[str, Any], list[str], str]] = [
        ({"fromTime": first, "toTime": second}, ["a"], "2"),
        ({"fromTime": first, "to": "3"}, ["a", "b"], "3"),
        ({"from": "2", "toTime": third}, ["b"], "3"),
        ({"fromTime": first}, ["a", "b"], "3"),
        ({"fromTime": third, "toTime": second}, ["b"], "2"),
        ({"fromTime": "2001-01-01T00:00:00+01:00", "toTime": first}, ["a"], "1"),
        ({"fromTime": first, "toTime": "2999-01-01T00:00:00Z"}, ["a", "b"], "3"),
    ]
    for ends, expected, revision in cases:
        found = await api.field(DIFF, **ends)
        assert (ids(found), found["revision"], found["totalCount"]) == (expected, revision, len(expected)), ends


async def test_a_difference_between_times_keeps_its_ends_from_page_to_page(api: Api, mesh: Mesh) -> None:
    await mesh.create(new("a"), new("b"))
    ends = {"fromTime": "2001-01-01T00:00:00Z", "toTime": "2999-01-01T00:00:00Z"}
    page = await api.field(DIFF, **ends, first=1)
    await mesh.created("c")
    rest = await api.field(DIFF, **ends, after=page["pageInfo"]["endCursor"])
    assert (ids(rest), rest["revision"]) == (["b"], "2")
    for other in (ends | {"toTime": "2998-01-01T00:00:00Z"}, {"from": "0", "to": "2"}):
        error = await api.error(DIFF, **other, after=page["pageInfo"]["endCursor"])
        assert (error["code"], error["fields"][0]["field"]) == ("INVALID_ARGUMENT", "after")


async def test_changes_are_listed_newest_first(api: Api, mesh: Mesh) -> None:
    await mesh.create(
        new("1"), change=because("drain", actor="alice", change_ticket="CHG-1", metadata={"run": [1, None]})
    )
    page = await api.field(CHANGES)
    assert page["totalCount"] == 2
    newest, oldest = page["nodes"]
    assert len(newest.pop("hash")) == len(oldest.pop("hash")) == 64
    assert newest == {
        "id": "2",
        "kind": "CREATE_SHARDS",
        "actor": "alice",
        "reason": "drain",
        "changeTicket": "CHG-1",
        "metadata": {"run": [1, None]},
        "namespaces": ["billing"],
        "firstRevision": "1",
        "lastRevision": "1",
        "shardCount": 1,
        "configuration": None,
    }
    assert (oldest["kind"], oldest["firstRevision"], oldest["shardCount"]) == ("CONFIGURE_NAMESPACE", None, 0)
    assert oldest["configuration"]["previous"] is None
    assert oldest["configuration"]["current"]["strategy"] == "rendezvous"


async def test_changes_are_paged_and_restricted(api: Api, mesh: Mesh) -> None:
    await mesh.create(new("1"), change=because("drain", actor="alice"))
    first = await api.field(CHANGES, first=1, orderBy="REVISION_ASC")
    assert [change["id"] for change in first["nodes"]] == ["1"]
    rest = await api.field(CHANGES, first=1, orderBy="REVISION_ASC", after=first["pageInfo"]["endCursor"])
    assert [change["id"] for change in rest["nodes"]] == ["2"]
    found = await api.field(CHANGES, filter={"actor": "alice", "kinds": ["CREATE_SHARDS"], "namespace": "billing"})
    assert [change["id"] for change in found["nodes"]] == ["2"]
    assert (await api.field(CHANGES, filter={"actor": "bob"}))["totalCount"] == 0


async def test_namespaces_are_listed_by_name_and_shown_one_by_one(api: Api, mesh: Mesh) -> None:
    await mesh.configure("audit", strategy="ring", parameters={"virtualNodes": 8})
    await mesh.created("1")
    page = await api.field("{ namespaces(first: 1) { nodes { name } totalCount pageInfo { endCursor } } }")
    assert (page["nodes"], page["totalCount"]) == ([{"name": "audit"}], 2)
    query = "query ($after: String) { namespaces(after: $after) { edges { node { name } } } }"
    rest = await api.field(query, after=page["pageInfo"]["endCursor"])
    assert rest["edges"] == [{"node": {"name": "billing"}}]
    fields = "name strategy strategyParameters algorithmVersion version shardCount revision"
    assert await api.field(f'{{ namespace(name: "audit") {{ {fields} }} }}') == {
        "name": "audit",
        "strategy": "ring",
        "strategyParameters": {"virtualNodes": 8},
        "algorithmVersion": 1,
        "version": "1",
        "shardCount": 0,
        "revision": "0",
    }
    billing = await mesh.namespace()
    assert await api.field('{ namespace(name: "billing") { shardCount revision digest parametersDigest } }') == {
        "shardCount": 1,
        "revision": "1",
        "digest": billing.digest,
        "parametersDigest": billing.parameters_digest,
    }
    assert await api.field('{ namespace(name: "nobody") { name } }') is None


async def test_the_head_names_the_stream_and_how_far_it_is(api: Api, mesh: Mesh) -> None:
    await mesh.created("1")
    head = await api.field("{ head { cursor epoch revision oldestRevision } }")
    now = await mesh.store.stream.head()
    assert (head["epoch"], head["revision"], head["oldestRevision"]) == (now.epoch, "1", "0")
    assert head["cursor"] == (await api.field(SHARDS))["cursor"]
