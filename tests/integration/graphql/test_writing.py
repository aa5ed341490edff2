"""Every mutation and every outcome, against every store."""

from __future__ import annotations

from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.graphql_documents import (
    BY_ALICE,
    CONFIGURE,
    CREATE,
    DELETE,
    UPDATE,
    UPDATE_MANY,
    one_shard,
)
from tests.support.mesh import Mesh, new

pytestmark = ON_EVERY_STORE


async def test_shards_are_created_with_their_defaults(api: Api, mesh: Mesh) -> None:
    shards = [
        {"namespace": "billing", "shardId": "1", "ownerNodeId": "node-a"},
        {"namespace": "billing", "shardId": "2", "ownerNodeId": "node-b", "capacityHint": 3, "leaderId": "node-c"},
    ]
    answer = await api.field(CREATE, input={"shards": shards, "change": BY_ALICE})
    assert answer["__typename"] == "ShardsChanged"
    assert answer["replayed"] is False
    assert answer["revision"] == "2"
    assert answer["change"] == {"id": "2", "kind": "CREATE_SHARDS", **BY_ALICE}
    first, second = answer["shards"]
    assert first == {
        "shardId": "1",
        "ownerNodeId": "node-a",
        "leaderId": None,
        "capacityHint": 1.0,
        "version": "1",
        "ownerEpoch": "1",
    }
    assert (second["capacityHint"], second["leaderId"]) == (3.0, "node-c")
    assert await mesh.shard("1") is not None


async def test_a_shard_is_moved_and_its_epoch_with_it(api: Api, mesh: Mesh) -> None:
    await mesh.created("1", "node-a", leader_id="node-l")
    answer = await api.field(UPDATE, input=one_shard("1", 1, ownerNodeId="node-b", change=BY_ALICE))
    (shard,) = answer["shards"]
    assert shard == {
        "shardId": "1",
        "ownerNodeId": "node-b",
        "leaderId": "node-l",
        "capacityHint": 1.0,
        "version": "2",
        "ownerEpoch": "2",
    }


async def test_null_clears_a_field_and_absence_leaves_it(api: Api, mesh: Mesh) -> None:
    await mesh.created("1", "node-a", leader_id="node-l", locality_hint="eu")
    answer = await api.field(UPDATE, input=one_shard("1", 1, leaderId=None, change=BY_ALICE))
    assert answer["__typename"] == "ShardsChanged"
    shard = await mesh.shard("1")
    assert shard is not None
    assert (shard.leader_id, shard.locality_hint) == (None, "eu")


async def test_shards_are_updated_and_deleted_together(api: Api, mesh: Mesh) -> None:
    await mesh.create(new("1"), new("2"))
    patches = [one_shard("1", 1, status="DRAINING"), one_shard("2", 1, capacityHint=0)]
    answer = await api.field(UPDATE_MANY, input={"shards": patches, "change": BY_ALICE})
    assert [shard["version"] for shard in answer["shards"]] == ["2", "2"]
    gone = await api.field(DELETE, input={"shards": [one_shard("1", 2), one_shard("2", 2)], "change": BY_ALICE})
    assert (gone["__typename"], gone["revision"]) == ("ShardsChanged", "6")
    assert await mesh.table() == {}


async def test_a_stale_version_names_the_current_record_and_who_changed_it(api: Api, mesh: Mesh) -> None:
    shard = await mesh.created("7", "node-1")
    await api.field(UPDATE, input=one_shard("7", 1, ownerNodeId="node-3", change=BY_ALICE))
    conflict = await api.field(UPDATE, input=one_shard("7", shard.version, ownerNodeId="node-2", change=BY_ALICE))
    now = await mesh.shard("7")
    assert now is not None
    at = now.updated_at.replace(tzinfo=None).isoformat() + "Z"
    assert conflict == {
        "__typename": "VersionConflict",
        "message": (
            f"shard billing/7 is at version 2, not 1: alice changed it at {at} (CHG-42: drain node-1); "
            "node-3 owns it now"
        ),
        "conflicts": [
            {
                "namespace": "billing",
                "shardId": "7",
                "expectedVersion": "1",
                "actualVersion": "2",
                "current": {"ownerNodeId": "node-3"},
                "lastChange": {"actor": "alice"},
            }
        ],
    }


async def test_every_conflict_of_a_bulk_is_listed_and_nothing_written(api: Api, mesh: Mesh) -> None:
    await mesh.create(*(new(name) for name in "abcd"))
    patches = [one_shard("a", 1, ownerNodeId="x"), *(one_shard(name, 9, ownerNodeId="x") for name in "bcd")]
    conflict = await api.field(UPDATE_MANY, input={"shards": patches, "change": BY_ALICE})
    assert [stale["shardId"] for stale in conflict["conflicts"]] == ["b", "c", "d"]
    assert conflict["message"].endswith("(and 2 more)")
    assert {shard.owner_node_id for shard in (await mesh.table()).values()} == {"node-a"}


async def test_creating_a_shard_that_exists_and_changing_one_that_is_gone_are_conflicts(api: Api, mesh: Mesh) -> None:
    shard = await mesh.created("1")
    again = {"namespace": "billing", "shardId": "1", "ownerNodeId": "node-b"}
    exists = await api.field(CREATE, input={"shards": [again], "change": BY_ALICE})
    assert exists["message"].startswith("shard billing/1 exists already, at version 1: ops created it at ")
    await mesh.delete(shard)
    gone = await api.field(UPDATE, input=one_shard("1", 1, ownerNodeId="node-b", change=BY_ALICE))
    assert gone["message"].startswith("shard billing/1 is gone, so it is not at version 1: ops deleted it at ")
    assert gone["conflicts"][0]["actualVersion"] == "0"
    assert gone["conflicts"][0]["current"] is None


async def test_what_does_not_exist_is_not_found(api: Api) -> None:
    lost = await api.field(
        UPDATE, input={**one_shard("1", 1), "namespace": "nobody", "leaderId": None, "change": BY_ALICE}
    )
    assert lost == {
        "__typename": "NotFound",
        "message": "there is no namespace nobody; configureNamespace creates one",
        "namespaces": ["nobody"],
        "shards": [],
    }
    shards = [one_shard(name, 1) for name in "abcde"]
    missing = await api.field(DELETE, input={"shards": shards, "change": BY_ALICE})
    assert missing["__typename"] == "NotFound"
    assert missing["message"] == "there is no shard billing/a, billing/b, billing/c (and 2 more)"
    assert missing["shards"][0] == {"namespace": "billing", "shardId": "a"}


async def test_a_request_repeated_under_its_key_is_answered_again_and_another_refused(api: Api, mesh: Mesh) -> None:
    await mesh.created("1")
    change = {**BY_ALICE, "idempotencyKey": "k-1"}
    request = one_shard("1", 1, ownerNodeId="node-b", change=change)
    first = await api.field(UPDATE, input=request)
    again = await api.field(UPDATE, input=request)
    assert again == {**first, "replayed": True}
    other = await api.field(UPDATE, input={**request, "ownerNodeId": "node-c"})
    assert (other["__typename"], other["key"], other["change"]["id"]) == ("IdempotencyKeyReused", "k-1", "3")
    assert "idempotency key k-1 belongs to another request, which became change 3 by alice at " in other["message"]


async def test_a_namespace_is_created_and_reconfigured(api: Api) -> None:
    new_one = {"name": "search", "strategy": "ring", "strategyParameters": {"virtualNodes": 8}, "change": BY_ALICE}
    created = await api.field(CONFIGURE, input=new_one)
    assert created["namespace"] == {
        "name": "search",
        "strategy": "ring",
        "strategyParameters": {"virtualNodes": 8},
        "version": "1",
    }
    assert created["change"]["kind"] == "CONFIGURE_NAMESPACE"
    changed = await api.field(
        CONFIGURE, input={"name": "search", "strategy": "locality", "expectedVersion": 1, "change": BY_ALICE}
    )
    assert (changed["namespace"]["strategyParameters"], changed["namespace"]["version"]) == ({}, "2")


async def test_a_stale_configuration_is_told_apart_by_its_type(api: Api) -> None:
    exists = await api.field(CONFIGURE, input={"name": "billing", "strategy": "ring", "change": BY_ALICE})
    assert exists.pop("message").startswith("namespace billing exists already, at version 1: ops configured it at ")
    assert exists == {
        "__typename": "NamespaceVersionConflict",
        "name": "billing",
        "expectedVersion": "0",
        "actualVersion": "1",
        "current": {"strategy": "rendezvous"},
        "lastChange": {"actor": "ops"},
    }
    stale = {"name": "billing", "strategy": "ring", "expectedVersion": "7", "change": BY_ALICE}
    assert (await api.field(CONFIGURE, input=stale))["message"].startswith("namespace billing is at version 1, not 7: ")
    unknown = {"name": "nobody", "strategy": "ring", "expectedVersion": "7", "change": BY_ALICE}
    assert (await api.field(CONFIGURE, input=unknown))["message"] == (
        "namespace nobody does not exist, so it is not at version 7; to create it expect 0"
    )


async def test_a_write_can_be_read_at_once_by_its_revision(api: Api) -> None:
    shard = {"namespace": "billing", "shardId": "1", "ownerNodeId": "node-a"}
    written = await api.field(CREATE, input={"shards": [shard], "change": BY_ALICE})
    query = "query ($at: Revision!) { shards(atLeast: $at) { nodes { shardId } cursor } }"
    read = await api.field(query, at=written["revision"])
    assert read == {"nodes": [{"shardId": "1"}], "cursor": written["cursor"]}


async def test_metadata_is_kept_as_it_was_given(api: Api) -> None:
    metadata = {"run": [1, 2.5, None, {"ok": True}], "big": 2**53 + 1}
    shard = {"namespace": "billing", "shardId": "1", "ownerNodeId": "node-a"}
    created = await api.field(CREATE, input={"shards": [shard], "change": {**BY_ALICE, "metadata": metadata}})
    assert created["__typename"] == "ShardsChanged", created
    page = await api.field("{ changes(first: 1) { nodes { metadata } } }")
    assert page["nodes"] == [{"metadata": metadata}]
