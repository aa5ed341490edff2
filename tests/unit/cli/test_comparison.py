"""What an import sends: only what differs, in batches whose names are the same whenever the batch is."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from graph.cli.importing.compare import Difference, compare
from graph.cli.importing.parse import Row
from graph.cli.importing.run import CREATE, UPDATE, Batch, batches, idempotency_key
from persistence.model.records import ShardKey

CHANGE: Final = {"reason": "why", "changeTicket": None, "actor": "ops"}


def row(shard_id: str, **fields: Any) -> Row:
    return Row(2, ShardKey("orders", shard_id), {"ownerNodeId": "n1", **fields})


def existing(shard_id: str, version: str = "3", **fields: Any) -> dict[ShardKey, dict[str, Any]]:
    record = {"ownerNodeId": "n1", "leaderId": None, "capacityHint": 1.0, "localityHint": None, "status": "ACTIVE"}
    return {ShardKey("orders", shard_id): record | {"version": version} | fields}


def test_a_shard_that_is_missing_is_created_with_what_the_file_gives() -> None:
    difference = compare([row("s1", capacityHint=2.0)], {})
    assert difference.creations == [{"namespace": "orders", "shardId": "s1", "ownerNodeId": "n1", "capacityHint": 2.0}]


def test_a_shard_that_differs_is_patched_where_it_differs_at_the_version_read() -> None:
    difference = compare([row("s1", status="DRAINING", capacityHint=1.0)], existing("s1"))
    assert difference.updates == [
        {"namespace": "orders", "shardId": "s1", "expectedVersion": "3", "status": "DRAINING"}
    ]


def test_null_clears_and_a_field_the_file_does_not_give_stays() -> None:
    there = existing("s1", leaderId="r1", localityHint="eu")
    assert compare([row("s1", leaderId=None)], there).updates == [
        {"namespace": "orders", "shardId": "s1", "expectedVersion": "3", "leaderId": None}
    ]


def test_an_equal_row_is_not_sent() -> None:
    difference = compare([row("s1", leaderId=None, capacityHint=1.0)], existing("s1"))
    assert (difference.count, difference.equal) == (0, 1)


def test_batches_keep_the_order_of_the_file_and_create_before_they_update() -> None:
    difference = Difference([{"shardId": str(n)} for n in range(5)], [{"shardId": "u"}])
    sent = [(batch.operation, [shard["shardId"] for shard in batch.shards]) for batch in batches(difference, 2)]
    assert sent == [(CREATE, ["0", "1"]), (CREATE, ["2", "3"]), (CREATE, ["4"]), (UPDATE, ["u"])]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 60))
def test_batches_are_never_too_large_and_together_are_everything(creations: int, updates: int, size: int) -> None:
    difference = Difference([{"n": n} for n in range(creations)], [{"n": n} for n in range(updates)])
    sent = list(batches(difference, size))
    assert all(0 < len(batch.shards) <= size for batch in sent)
    assert [s for b in sent if b.operation == CREATE for s in b.shards] == difference.creations
    assert [s for b in sent if b.operation == UPDATE for s in b.shards] == difference.updates


def test_the_same_batch_of_the_same_file_has_the_same_key() -> None:
    batch = Batch(CREATE, [{"shardId": "s1"}])
    assert key_of(batch) == key_of(Batch(CREATE, [{"shardId": "s1"}]))
    assert len(key_of(batch)) <= 255


def test_everything_that_makes_another_request_makes_another_key() -> None:
    batch = Batch(CREATE, [{"shardId": "s1"}])
    keys = {
        key_of(batch),
        key_of(Batch(CREATE, [{"shardId": "s2"}])),
        key_of(Batch(UPDATE, [{"shardId": "s1"}])),
        idempotency_key(batch, CHANGE | {"reason": "another"}, "digest", ""),
        idempotency_key(batch, CHANGE, "another file", ""),
        idempotency_key(batch, CHANGE, "digest", "a later round"),
    }
    assert len(keys) == 6


def key_of(batch: Batch) -> str:
    return idempotency_key(batch, CHANGE, "digest", "")
