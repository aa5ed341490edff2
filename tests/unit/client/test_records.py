"""The API's documents become the records they stand for, and share what they have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from graph.client.records import read_batch, read_claim, read_shard, shard_document
from graph.client.table import Selection, difference
from persistence.model.records import Pin, ShardStatus
from tests.support.streams import a_shard


def document(**fields: Any) -> dict[str, Any]:
    return {
        "namespace": "orders",
        "shardId": "s1",
        "strategy": "ring",
        "ownerNodeId": "node-1",
        "leaderId": "replica-3",
        "capacityHint": 2,
        "localityHint": "eu/a",
        "status": "DRAINING",
        "pinned": {"by": "alice", "reason": "audit", "until": "2026-02-01T00:00:00Z"},
        "changeTicket": "CHG-1",
        "version": "7",
        "ownerEpoch": "3",
        "checksum": "0" * 32,
        "revision": "9007199254740993",
        "createdAt": "2026-01-31T09:30:00.123456Z",
        "updatedAt": "2026-01-31T09:30:00.123456Z",
        **fields,
    }


def test_a_shard_is_read_whole() -> None:
    shard = read_shard(document())
    created = datetime(2026, 1, 31, 9, 30, 0, 123456, tzinfo=UTC)
    assert (shard.namespace, shard.shard_id, shard.strategy) == ("orders", "s1", "ring")
    assert (shard.owner_node_id, shard.leader_id, shard.capacity_hint) == ("node-1", "replica-3", 2.0)
    assert (shard.locality_hint, shard.status, shard.change_ticket) == ("eu/a", ShardStatus.DRAINING, "CHG-1")
    assert shard.pinned == Pin("alice", "audit", datetime(2026, 2, 1, tzinfo=UTC))
    assert (shard.version, shard.owner_epoch, shard.revision) == (7, 3, 2**53 + 1)
    assert (shard.created_at, shard.updated_at) == (created, created)


def test_what_may_be_null_may_be_null() -> None:
    shard = read_shard(document(leaderId=None, localityHint=None, pinned=None, changeTicket=None))
    assert (shard.leader_id, shard.locality_hint, shard.pinned, shard.change_ticket) == (None, None, None, None)
    assert read_shard(document(pinned={"by": "a", "reason": "b", "until": None})).pinned == Pin("a", "b", None)


def test_a_shard_may_be_of_a_group_and_older_documents_know_of_none() -> None:
    assert read_shard(document(antiAffinityGroup="g")).anti_affinity_group == "g"
    assert read_shard(document()).anti_affinity_group is None
    grouped = read_shard(document(antiAffinityGroup="g"))
    assert read_shard(shard_document(grouped)) == grouped


def test_shards_share_what_they_have_in_common() -> None:
    one, two = (read_shard(document(ownerNodeId=b"node-1".decode(), shardId=shard_id)) for shard_id in ("a", "b"))
    assert one.owner_node_id is two.owner_node_id
    assert one.created_at is two.updated_at


def test_a_batch_has_the_record_after_each_change_or_none() -> None:
    diffs = [
        {"revision": "4", "namespace": "orders", "shardId": "s1", "current": document()},
        {"revision": "5", "namespace": "orders", "shardId": "s2", "current": None},
    ]
    batch = read_batch({"cursor": "c5", "revision": "5", "caughtUp": True, "diffs": diffs})
    assert (batch.cursor, batch.revision, batch.caught_up) == ("c5", 5, True)
    assert [(diff.revision, diff.shard_id, diff.current is None) for diff in batch.diffs] == [
        (4, "s1", False),
        (5, "s2", True),
    ]


def test_a_claim_has_the_digest_as_a_number() -> None:
    claim = read_claim({"name": "orders", "digest": "0" * 30 + "ff", "shardCount": 2, "revision": "5"})
    assert (claim.namespace, claim.revision, claim.fingerprint) == ("orders", 5, (255, 2))


def test_one_namespace_is_filtered_by_the_server_and_several_here() -> None:
    assert Selection().stream_namespace is None
    assert Selection(frozenset({"orders"})).stream_namespace == "orders"
    several = Selection(frozenset({"orders", "billing"}))
    assert several.stream_namespace is None
    assert several.lists == ["billing", "orders"]
    assert ("orders" in several, "search" in several) == (True, False)


def test_the_net_difference_of_two_tables_is_what_is_gone_new_or_other() -> None:
    same, moved = a_shard("orders", "s1"), a_shard("orders", "s2")
    before = {"orders": {"s1": same, "s2": moved, "s3": a_shard("orders", "s3")}, "old": {"s1": a_shard("old", "s1")}}
    after = {"orders": {"s1": a_shard("orders", "s1"), "s2": a_shard("orders", "s2", "node-2")}, "new": {"s9": same}}
    changes = [
        (change.namespace, change.shard_id, change.previous is None, change.current is None)
        for change in difference(before, after)
    ]
    assert changes == [
        ("new", "s9", True, False),
        ("old", "s1", False, True),
        ("orders", "s3", False, True),
        ("orders", "s2", False, False),
    ]
