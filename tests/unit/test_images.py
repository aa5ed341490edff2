"""The documents that history keeps: one text a record, and back."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from persistence.codec.encoding import shard_checksum
from persistence.codec.images import image_of, read_image, write_image
from persistence.model.records import Pin, Shard, ShardContent, ShardKey, ShardStatus

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXTS = st.text(max_size=20)
TIMES = st.datetimes(timezones=st.just(UTC))
CONTENTS = st.builds(
    ShardContent,
    strategy=TEXTS,
    owner_node_id=TEXTS,
    leader_id=st.none() | TEXTS,
    capacity_hint=st.floats(0, allow_infinity=False).map(lambda value: value + 0.0),
    locality_hint=st.none() | TEXTS,
    status=st.sampled_from(ShardStatus),
    pinned=st.none() | st.builds(Pin, TEXTS, TEXTS, st.none() | TIMES),
    change_ticket=st.none() | TEXTS,
    anti_affinity_group=st.none() | TEXTS,
)
COUNTERS = st.integers(1, 2**63 - 1)
KEY = ShardKey("billing", "s1")
CONTENT = ShardContent("ring", "node-a", None, 1.0, None, ShardStatus.ACTIVE, None, None)


def shard(content: ShardContent, version: int = 2, owner_epoch: int = 1) -> Shard:
    return Shard(
        *KEY,
        content.strategy,
        content.owner_node_id,
        content.leader_id,
        content.capacity_hint,
        content.locality_hint,
        content.status,
        content.pinned,
        content.change_ticket,
        version,
        owner_epoch,
        shard_checksum(KEY, content),
        7,
        NOON,
        NOON + timedelta(hours=1),
        content.anti_affinity_group,
    )


@given(CONTENTS, COUNTERS, COUNTERS)
def test_a_record_comes_back_from_its_document(content: ShardContent, version: int, owner_epoch: int) -> None:
    record = shard(content, version, owner_epoch)
    back = read_image(image_of(record), record.revision, record.created_at, record.updated_at)
    assert back == record
    assert shard_checksum(back.key, back.content) == record.checksum


@given(CONTENTS)
def test_a_document_is_written_byte_for_byte_the_same_after_a_round_trip(content: ShardContent) -> None:
    image = image_of(shard(content))
    assert image_of(read_image(image, 1, NOON, NOON)) == image


def test_a_document_reads_as_documented() -> None:
    pin = Pin("ops", "Grüße 🚚", NOON + timedelta(microseconds=1))
    content = ShardContent("ring", "node-a", None, 2.0, "eu/b", ShardStatus.PAUSED, pin, "CHG-1")
    assert write_image(KEY, content, 3, 2, "ab" * 16) == (
        '{"capacityHint":2.0,"changeTicket":"CHG-1","checksum":"abababababababababababababababab","leaderId":null,'
        '"localityHint":"eu/b","namespace":"billing","ownerEpoch":2,"ownerNodeId":"node-a",'
        '"pinned":{"by":"ops","reason":"Grüße 🚚","until":"2026-03-01T12:00:00.000001Z"},'
        '"shardId":"s1","status":"PAUSED","strategy":"ring","version":3}'
    )


def test_a_document_names_a_group_where_there_is_one() -> None:
    content = ShardContent("ring", "node-a", None, 2.0, None, ShardStatus.ACTIVE, None, None, "g")
    assert image_of(shard(content)).startswith('{"antiAffinityGroup":"g","capacityHint":2.0,')
    assert "antiAffinityGroup" not in image_of(shard(CONTENT))


def test_a_document_leaves_out_what_history_keeps_beside_it() -> None:
    document = json.loads(image_of(shard(CONTENT)))
    assert not document.keys() & {"revision", "createdAt", "updatedAt"}
    assert list(document) == sorted(document)


def test_a_pin_means_the_same_time_in_any_zone() -> None:
    berlin = timezone(timedelta(hours=2))
    image = image_of(
        shard(
            ShardContent("ring", "n", None, 1.0, None, ShardStatus.ACTIVE, Pin("a", "b", NOON.astimezone(berlin)), None)
        )
    )
    back = read_image(image, 1, NOON, NOON)
    assert back.pinned == Pin("a", "b", NOON)
    assert back.checksum == shard_checksum(back.key, back.content)


def test_records_share_what_is_the_same_in_many() -> None:
    """A replica has a million of them."""
    content = ShardContent("ring", "node-a", "node-b", 2.0, "eu/b", ShardStatus.PAUSED, None, "CHG-1", "pair")
    one, other = (read_image(image_of(shard(content)), 1, NOON, NOON) for _ in range(2))
    for name in {"namespace", *(member.name for member in fields(ShardContent))} - {"capacity_hint"}:
        assert getattr(one, name) is getattr(other, name), name
