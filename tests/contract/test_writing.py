"""Creating, updating and deleting shards."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from persistence.codec.encoding import shard_checksum
from persistence.commands.nodes import RegisterNode
from persistence.commands.shards import NewShard, PinRequest
from persistence.model.records import Change, ChangeKind, DiffKind, Shard, ShardStatus
from tests.support.mesh import BILLING, SEARCH, Mesh, because, new, patch
from tests.support.replicas import ON_A_REPLICA_TOO

pytestmark = ON_A_REPLICA_TOO


async def test_a_created_shard_is_as_asked_for_at_version_one(mesh: Mesh) -> None:
    asked = NewShard(BILLING, "s1", "node-a", "node-b", 2.5, "eu/zone-b", ShardStatus.PAUSED)
    outcome = await mesh.create(asked, change=because("first", change_ticket="CHG-1"))
    (shard,) = outcome.shards
    assert shard == Shard(
        namespace=BILLING,
        shard_id="s1",
        strategy="rendezvous",
        owner_node_id="node-a",
        leader_id="node-b",
        capacity_hint=2.5,
        locality_hint="eu/zone-b",
        status=ShardStatus.PAUSED,
        pinned=None,
        change_ticket="CHG-1",
        version=1,
        owner_epoch=1,
        checksum=shard_checksum(shard.key, shard.content),
        revision=1,
        created_at=outcome.change.committed_at,
        updated_at=outcome.change.committed_at,
    )
    assert await mesh.shard("s1") == shard


async def test_a_shard_is_created_with_defaults(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    assert (shard.leader_id, shard.capacity_hint, shard.locality_hint) == (None, 1.0, None)
    assert (shard.status, shard.change_ticket, shard.pinned) == (ShardStatus.ACTIVE, None, None)


async def test_the_change_says_who_why_and_what(mesh: Mesh) -> None:
    metadata = {"runbook": "https://example.org/42", "waves": [1, 2.5, None, True], "ä": {"b": "🚚"}}
    why = because("move in", actor="rebalancer", change_ticket="CHG-1", metadata=metadata)
    outcome = await mesh.create(new("s1"), new("s2"), change=why)
    assert outcome.change == Change(
        id=2,
        kind=ChangeKind.CREATE_SHARDS,
        actor="rebalancer",
        reason="move in",
        change_ticket="CHG-1",
        metadata=metadata,
        namespaces=(BILLING,),
        first_revision=1,
        last_revision=2,
        shard_count=2,
        committed_at=outcome.change.committed_at,
        hash=outcome.change.hash,
        configuration=None,
    )
    assert (await mesh.changes())[-1] == outcome.change


async def test_an_update_changes_what_it_names_and_nothing_else(mesh: Mesh) -> None:
    asked = new("s1", leader_id="node-b", capacity_hint=2.5, locality_hint="eu", status=ShardStatus.PAUSED)
    (before,) = (await mesh.create(asked, change=because("first", change_ticket="CHG-1"))).shards
    why = because("second", change_ticket="CHG-2")
    outcome = await mesh.update(patch(before, status=ShardStatus.DRAINING), change=why)
    (after,) = outcome.shards
    assert after == replace(
        before,
        status=ShardStatus.DRAINING,
        change_ticket="CHG-2",
        version=2,
        checksum=shard_checksum(after.key, after.content),
        revision=2,
        updated_at=outcome.change.committed_at,
    )
    assert after.checksum != before.checksum
    assert await mesh.shard("s1") == after


@pytest.mark.parametrize("count", [1, 3, 40])
async def test_free_text_and_numbers_are_stored_as_they_are_however_many_shards_a_change_has(
    mesh: Mesh, count: int
) -> None:
    """Line breaks, quotes, what arrays are written with; and shards with and without what may be null."""
    line = 'a "b",{c}\\n NULL \\N \U0001f69a e\u0301'
    text = f"{line}\n\n\t{line}\n"
    ticket = because("first", change_ticket=line)
    capacities = (0.0, 0.1, 1e16, 5e-324, 1.7976931348623157e308)
    asked = [
        new(
            f"s{number:02}",
            leader_id="node-b" if number % 2 else None,
            capacity_hint=capacities[number % len(capacities)],
            locality_hint=None if number % 2 else "eu/zone-b",
            anti_affinity_group=None if number % 3 else f"group-{number}",
        )
        for number in range(count)
    ]
    made = (await mesh.create(*asked, change=ticket)).shards
    pinned = [
        patch(shard, status=ShardStatus.PAUSED) if number % 2 else patch(shard, pin=PinRequest(text))
        for number, shard in enumerate(made)
    ]
    await mesh.execute(RegisterNode("node-a", because("register")))
    after = (await mesh.update(*pinned, change=ticket)).shards
    assert [(shard.capacity_hint, shard.change_ticket) for shard in after] == [
        (shard.capacity_hint, line) for shard in asked
    ]
    assert [shard.pinned and shard.pinned.reason for shard in after] == [
        None if number % 2 else text for number in range(count)
    ]
    for shard in after:
        assert shard.checksum == shard_checksum(shard.key, shard.content)
        assert await mesh.shard(shard.shard_id) == shard
    rows = await mesh.history()
    assert [row.current for row in rows] == [*made, *after]
    assert [row.previous for row in rows] == [*[None] * count, *made]
    assert (await mesh.delete(*after)).change.shard_count == count


async def test_a_row_of_history_names_the_fields_that_changed(mesh: Mesh) -> None:
    cases: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({"owner_node_id": "node-z"}, ("ownerNodeId",)),
        ({"leader_id": None}, ("leaderId",)),
        ({"leader_id": "node-z"}, ("leaderId",)),
        ({"capacity_hint": 0.1}, ("capacityHint",)),
        ({"locality_hint": None}, ("localityHint",)),
        ({"locality_hint": "zone:z"}, ("localityHint",)),
        ({"status": ShardStatus.DISABLED}, ("status",)),
        ({"owner_node_id": "node-y", "leader_id": "node-y"}, ("ownerNodeId", "leaderId")),
        ({"owner_node_id": "node-y"}, ()),
    ]
    shard = await mesh.created("s1", leader_id="node-b", locality_hint="eu")
    for fields, changed in cases:
        before, shard = shard, await mesh.updated(shard, **fields)
        row = (await mesh.history())[-1]
        assert (row.kind, row.previous, row.current) == (DiffKind.UPDATED, before, shard)
        assert row.changed_fields == changed


async def test_a_ticket_that_is_new_or_gone_counts_as_changed(mesh: Mesh) -> None:
    before = await mesh.created("s1")
    with_ticket = await mesh.update(patch(before, capacity_hint=1.0), change=because("again", change_ticket="CHG-1"))
    await mesh.update(patch(with_ticket.shards[0], capacity_hint=1.0))
    assert [row.changed_fields for row in await mesh.history()] == [(), ("changeTicket",), ("changeTicket",)]


async def test_an_update_that_changes_nothing_is_still_a_change(mesh: Mesh) -> None:
    before = await mesh.created("s1")
    after = await mesh.updated(before, owner_node_id="node-a")
    assert (after.version, after.owner_epoch, after.revision) == (2, 1, 2)
    assert after.checksum == before.checksum


async def test_the_owner_epoch_counts_changes_of_owner_only(mesh: Mesh) -> None:
    shard = await mesh.created("s1", "node-a")
    counters = []
    for fields in (
        {"owner_node_id": "node-b"},
        {"capacity_hint": 2.0},
        {"owner_node_id": "node-b"},
        {"owner_node_id": "node-a"},
    ):
        shard = await mesh.updated(shard, **fields)
        counters.append((shard.version, shard.owner_epoch))
    assert counters == [(2, 2), (3, 2), (4, 2), (5, 3)]


async def test_a_deleted_shard_is_gone_and_told_as_it_was(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    outcome = await mesh.delete(shard)
    assert outcome.shards == (shard,)
    assert outcome.change.kind is ChangeKind.DELETE_SHARDS
    assert await mesh.shard("s1") is None
    assert await mesh.table() == {}


async def test_versions_and_owner_epochs_go_on_after_delete_and_create(mesh: Mesh) -> None:
    shard = await mesh.created("s1", "node-a")
    shard = await mesh.updated(shard, owner_node_id="node-b")
    await mesh.delete(shard)
    again = await mesh.created("s1", "node-b")
    assert (again.version, again.owner_epoch) == (4, 3)
    assert again.created_at >= shard.updated_at
    await mesh.delete(again)
    third = await mesh.created("s1", "node-b")
    assert (third.version, third.owner_epoch) == (6, 4)
    versions = [(row.kind, row.version) for row in await mesh.history()]
    assert versions == [
        (DiffKind.CREATED, 1),
        (DiffKind.UPDATED, 2),
        (DiffKind.DELETED, 3),
        (DiffKind.CREATED, 4),
        (DiffKind.DELETED, 5),
        (DiffKind.CREATED, 6),
    ]


async def test_the_same_id_in_two_namespaces_is_two_shards(mesh: Mesh) -> None:
    await mesh.configure(SEARCH)
    outcome = await mesh.create(new("s1", "node-a"), new("s1", "node-b", namespace=SEARCH))
    assert outcome.change.namespaces == (BILLING, SEARCH)
    mine, theirs = outcome.shards
    await mesh.delete(mine)
    assert await mesh.shard("s1", BILLING) is None
    assert await mesh.shard("s1", SEARCH) == theirs


async def test_a_bulk_answers_and_takes_revisions_in_the_order_asked_for(mesh: Mesh) -> None:
    await mesh.configure(SEARCH)
    asked = [new("b"), new("a", namespace=SEARCH), new("c"), new("a")]
    outcome = await mesh.create(*asked)
    assert [shard.key for shard in outcome.shards] == [shard.key for shard in asked]
    assert [shard.revision for shard in outcome.shards] == [1, 2, 3, 4]
    assert outcome.position.revision == 4
    assert (await mesh.store.stream.head()).position == outcome.position


async def test_five_thousand_shards_are_one_change(mesh: Mesh) -> None:
    shards = [new(f"s{number:04}", f"node-{number % 7}", capacity_hint=number / 3) for number in range(5_000)]
    created = await mesh.create(*shards)
    assert (created.change.first_revision, created.change.last_revision) == (1, 5_000)
    assert list((await mesh.table()).values()) == list(created.shards)
    updated = await mesh.update(*(patch(shard, owner_node_id="node-8") for shard in created.shards))
    assert (updated.change.first_revision, updated.change.last_revision) == (5_001, 10_000)
    assert {(shard.version, shard.owner_epoch, shard.owner_node_id) for shard in updated.shards} == {(2, 2, "node-8")}
    deleted = await mesh.delete(*updated.shards)
    assert deleted.shards == updated.shards
    assert await mesh.table() == {}
    namespace = await mesh.namespace()
    assert (namespace.shard_count, namespace.digest) == (0, "0" * 32)


async def test_a_capacity_comes_back_to_the_last_bit(mesh: Mesh) -> None:
    capacities = [0.0, 5e-324, 0.1, 1 / 3, 1e16 + 2, 1.7976931348623157e308]
    await mesh.create(*(new(f"s{number}", capacity_hint=value) for number, value in enumerate(capacities)))
    found = [shard.capacity_hint.hex() for shard in (await mesh.table()).values()]
    told = [row.current.capacity_hint.hex() for row in await mesh.history() if row.current]
    assert found == told == [value.hex() for value in capacities]


async def test_a_negative_zero_is_zero(mesh: Mesh) -> None:
    first = await mesh.created("s1", capacity_hint=-0.0)
    assert first.capacity_hint.hex() == (0.0).hex()
    second = await mesh.updated(first, capacity_hint=-0.0)
    assert second.checksum == first.checksum
    assert [row.current for row in await mesh.history()] == [first, second]


async def test_identifiers_at_their_limits_are_kept(mesh: Mesh) -> None:
    longest = "Z" + "x" * 127
    await mesh.configure(longest)
    shard = await mesh.created(longest, longest, namespace=longest, leader_id=longest, locality_hint=f"r/{longest}")
    assert await mesh.shard(longest, longest) == shard


async def test_text_at_its_limits_is_kept(mesh: Mesh) -> None:
    """Random characters of four bytes each: nothing can compress them to fit where they would not."""
    random = Random(20260301)

    def text(length: int) -> str:
        return "".join(chr(random.randrange(0x20000, 0x2A6DF)) for _ in range(length))

    why = because(
        text(1_024),
        actor=text(1_024),
        change_ticket=text(1_024),
        metadata=text(1_022),
        idempotency_key=text(255),
    )
    outcome = await mesh.create(new("s1"), change=why)
    assert (outcome.change.actor, outcome.change.reason) == (why.actor, why.reason)
    assert (await mesh.changes())[-1] == outcome.change
    assert await mesh.shard("s1") == outcome.shards[0]


async def test_metadata_comes_back_as_it_was_given(mesh: Mesh) -> None:
    given: list[Any] = [None, False, 0, "", [], {}, "null", -(2**63), 2**63 - 1, 1e-7, {"b": 1, "a": 2}]
    for number, metadata in enumerate(given):
        outcome = await mesh.create(new(f"s{number}"), change=because("metadata", metadata=metadata))
        assert outcome.change.metadata == metadata
    found = [change.metadata for change in await mesh.changes()][1:]
    assert found == given
    assert list(map(type, found)) == list(map(type, given))
