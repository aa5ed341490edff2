"""What a command writes, given what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from persistence.codec.encoding import EMPTY_DIGEST, digest_term, shard_checksum
from persistence.codec.hash_chain import content_digest, row_digest
from persistence.codec.images import changed_fields, image_of
from persistence.codec.json_documents import details_json, write_policy
from persistence.commands.command import UNSET, ChangeRequest, Command, Unset, request_digest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.read_state import InputsRequired, ReadState
from persistence.commands.shards import CreateShards, DeleteShards, NewShard, ShardExpectation, ShardPatch, UpdateShards
from persistence.commands.write_set import NamespaceDelta, ShardWrite, WriteSet
from persistence.handlers.dispatch import decide
from persistence.model.outcomes import NotFound, PolicyViolation, StaleNamespace, StaleShard, VersionConflict
from persistence.model.policy import DEFAULT_POLICY, NamespacePolicy, PolicyRule
from persistence.model.records import (
    ConfigurationChange,
    DiffKind,
    Namespace,
    Pin,
    Shard,
    ShardContent,
    ShardKey,
    ShardStatus,
    Tombstone,
)
from strategies.registry import Registry

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHANGE = ChangeRequest("ops", "because", "CHG-9")
KEY = ShardKey("billing", "s1")
STRATEGIES = Registry()


def shard(shard_id: str = "s1", *, version: int = 3, owner_epoch: int = 2, **content: Any) -> Shard:
    given = ShardContent(
        **{
            "strategy": "rendezvous",
            "owner_node_id": "node-a",
            "leader_id": "node-l",
            "capacity_hint": 1.5,
            "locality_hint": "eu",
            "status": ShardStatus.ACTIVE,
            "pinned": None,
            "change_ticket": "CHG-1",
            **content,
        }
    )
    key = ShardKey("billing", shard_id)
    fields = {name: getattr(given, name) for name in ShardContent.__slots__}
    return Shard(
        *key,
        **fields,
        version=version,
        owner_epoch=owner_epoch,
        checksum=shard_checksum(key, given),
        revision=40 + version,
        created_at=NOON,
        updated_at=NOON + timedelta(hours=version),
    )


def namespace(name: str = "billing", strategy: str = "rendezvous", version: int = 1) -> Namespace:
    return Namespace(name, strategy, {}, 1, "0" * 64, version, EMPTY_DIGEST, 0, 0, NOON, NOON)


def state(*shards: Shard, strategy: str = "rendezvous", **tombstones: Tombstone) -> ReadState:
    return ReadState(
        {"billing": namespace(strategy=strategy)},
        {one.key: one for one in shards},
        {ShardKey("billing", name): stone for name, stone in tombstones.items()},
    )


def written(command: Command, there: ReadState) -> WriteSet:
    decision = decide(command, there, STRATEGIES)
    assert isinstance(decision, WriteSet), decision
    return decision


def the_write(command: Command, there: ReadState) -> ShardWrite:
    (write,) = written(command, there).shards
    return write


def update(before: Shard, **fields: Any) -> UpdateShards:
    return UpdateShards([ShardPatch(before.namespace, before.shard_id, before.version, **fields)], CHANGE)


def absent(shard_id: str, expected: int) -> StaleShard:
    return StaleShard(ShardKey("billing", shard_id), expected, 0, None, None)


def test_a_creation_begins_both_counters() -> None:
    command = CreateShards([NewShard(*KEY, "node-a", "node-l", 2.5, "eu", ShardStatus.PAUSED)], CHANGE)
    write = the_write(command, state(strategy="ring"))
    content = ShardContent("ring", "node-a", "node-l", 2.5, "eu", ShardStatus.PAUSED, None, "CHG-9")
    assert (write.key, write.kind, write.content) == (KEY, DiffKind.CREATED, content)
    assert (write.version, write.owner_epoch, write.checksum) == (1, 1, shard_checksum(KEY, content))
    assert (write.previous, write.previous_image, write.changed_fields) == (None, None, ())


def test_a_creation_goes_on_where_a_deleted_shard_stopped() -> None:
    command = CreateShards([NewShard(*KEY, "node-a")], CHANGE)
    write = the_write(command, state(s1=Tombstone(7, 3), s2=Tombstone(99, 99)))
    assert (write.version, write.owner_epoch) == (8, 4)


@pytest.mark.parametrize(
    ("fields", "expected", "changed"),
    [
        ({"owner_node_id": "node-b"}, {"owner_node_id": "node-b"}, {"ownerNodeId"}),
        ({"owner_node_id": "node-a"}, {}, set()),
        ({"leader_id": "node-m"}, {"leader_id": "node-m"}, {"leaderId"}),
        ({"leader_id": None}, {"leader_id": None}, {"leaderId"}),
        ({"capacity_hint": 0.5}, {"capacity_hint": 0.5}, {"capacityHint"}),
        ({"locality_hint": None}, {"locality_hint": None}, {"localityHint"}),
        ({"status": ShardStatus.DRAINING}, {"status": ShardStatus.DRAINING}, {"status"}),
        ({"leader_id": UNSET, "capacity_hint": 0.5}, {"capacity_hint": 0.5}, {"capacityHint"}),
    ],
)
def test_an_update_changes_the_fields_it_names(
    fields: dict[str, Any], expected: dict[str, Any], changed: set[str]
) -> None:
    before = shard()
    write = the_write(update(before, **fields), state(before))
    assert write.content == replace(before.content, change_ticket="CHG-9", **expected)
    assert write.checksum == shard_checksum(before.key, write.content)
    assert set(write.changed_fields) == changed | {"changeTicket"}
    assert (write.version, write.previous, write.kind) == (4, before, DiffKind.UPDATED)
    assert write.owner_epoch == (3 if "ownerNodeId" in changed else 2)


def test_a_moved_shard_takes_the_strategy_of_its_namespace() -> None:
    before = shard()
    moved = the_write(update(before, owner_node_id="node-b"), state(before, strategy="ring"))
    stayed = the_write(update(before, capacity_hint=9.0), state(before, strategy="ring"))
    assert (moved.content.strategy, stayed.content.strategy) == ("ring", "rendezvous")
    assert "strategy" in moved.changed_fields


def test_a_pin_survives_an_update() -> None:
    pin = Pin("ops", "hot tenant", None)
    before = shard(pinned=pin)
    assert the_write(update(before, capacity_hint=2.0), state(before)).content.pinned == pin


def test_a_change_without_a_ticket_takes_the_ticket_off() -> None:
    before = shard()
    command = replace(update(before, capacity_hint=2.0), change=ChangeRequest("ops", "because"))
    write = the_write(command, state(before))
    assert write.content.change_ticket is None
    assert set(write.changed_fields) == {"capacityHint", "changeTicket"}


def test_a_deletion_counts_and_keeps_the_owner_epoch() -> None:
    before = shard()
    write = the_write(DeleteShards([ShardExpectation(*KEY, 3)], CHANGE), state(before))
    assert (write.kind, write.version, write.owner_epoch) == (DiffKind.DELETED, 4, 2)
    assert (write.previous, write.previous_image, write.current_image) == (before, image_of(before), None)


@pytest.mark.parametrize("zero", [-0.0, 0.0])
def test_a_capacity_of_zero_is_written_without_sign(zero: float) -> None:
    created = the_write(CreateShards([NewShard(*KEY, "node-a", capacity_hint=zero)], CHANGE), state())
    updated = the_write(update(shard(), capacity_hint=zero), state(shard()))
    assert str(created.content.capacity_hint) == str(updated.content.capacity_hint) == "0.0"


def test_a_whole_number_given_as_capacity_is_written_as_a_float() -> None:
    write = the_write(CreateShards([NewShard(*KEY, "node-a", capacity_hint=2)], CHANGE), state())
    assert '"capacityHint":2.0' in (write.current_image or "")


STALE: list[tuple[str, Command, StaleShard]] = [
    ("too old", update(shard(version=2), leader_id=None), StaleShard(KEY, 2, 3, shard(), None)),
    ("too new", update(shard(version=4), leader_id=None), StaleShard(KEY, 4, 3, shard(), None)),
    ("none", update(shard(version=0), leader_id=None), StaleShard(KEY, 0, 3, shard(), None)),
    ("deletion", DeleteShards([ShardExpectation(*KEY, 2)], CHANGE), StaleShard(KEY, 2, 3, shard(), None)),
    ("creation", CreateShards([NewShard(*KEY, "node-a")], CHANGE), StaleShard(KEY, 0, 3, shard(), None)),
    ("absent", update(shard("s2", version=1), leader_id=None), absent("s2", 1)),
    ("absent at zero", update(shard("s2", version=0), leader_id=None), absent("s2", 0)),
    ("gone", DeleteShards([ShardExpectation("billing", "s3", 5)], CHANGE), absent("s3", 5)),
]


@pytest.mark.parametrize(("command", "stale"), [case[1:] for case in STALE], ids=[case[0] for case in STALE])
def test_a_stale_expectation_is_refused(command: Command, stale: StaleShard) -> None:
    assert decide(command, state(shard(), s3=Tombstone(5, 1)), STRATEGIES) == VersionConflict((stale,))


def test_every_stale_expectation_is_listed_in_the_order_asked_for() -> None:
    there = [shard(f"s{number}") for number in range(4)]
    patches = [
        ShardPatch("billing", f"s{number}", version, leader_id=None) for number, version in ((3, 1), (1, 3), (0, 9))
    ]
    refusal = decide(UpdateShards(patches, CHANGE), state(*there), STRATEGIES)
    assert refusal == VersionConflict(
        (StaleShard(there[3].key, 1, 3, there[3], None), StaleShard(there[0].key, 9, 3, there[0], None))
    )


def test_unknown_namespaces_come_before_stale_shards() -> None:
    shards = [NewShard("zebra", "s1", "a"), NewShard(*KEY, "a"), NewShard("antelope", "s1", "a")]
    refusal = decide(CreateShards(shards, CHANGE), state(shard()), STRATEGIES)
    assert refusal == NotFound(namespaces=("antelope", "zebra"))


def test_the_deltas_move_each_namespaces_digest_and_count() -> None:
    one, two = shard("s1"), shard("s2")
    there = replace(state(one, two), namespaces={"billing": namespace(), "search": namespace("search")})

    def term(write: ShardWrite) -> int:
        return digest_term(write.key.shard_id, write.version, write.checksum)

    created = written(CreateShards([NewShard("search", "b", "n"), NewShard("billing", "a", "n")], CHANGE), there)
    search, billing = created.shards
    assert created.deltas == (NamespaceDelta("billing", term(billing), 1), NamespaceDelta("search", term(search), 1))

    before = digest_term("s1", one.version, one.checksum)
    updated = written(update(one, leader_id=None), there)
    assert updated.deltas == (NamespaceDelta("billing", before ^ term(updated.shards[0]), 0),)

    deleted = written(DeleteShards([ShardExpectation(*one.key, 3), ShardExpectation(*two.key, 3)], CHANGE), there)
    both = before ^ digest_term("s2", two.version, two.checksum)
    assert deleted.deltas == (NamespaceDelta("billing", both, -2),)


def test_a_configuration_counts_versions_and_tells_what_was_before() -> None:
    command = ConfigureNamespace("billing", "locality", {"mode": "strict"}, 4, CHANGE)
    write_set = written(command, ReadState({"billing": namespace(version=4)}, {}, {}))
    write = write_set.namespace
    assert write is not None
    assert (write.version, write.strategy, write.algorithm_version) == (5, "locality", 1)
    assert (write_set.namespaces, write_set.shards, write_set.deltas) == (("billing",), (), ())
    assert write.configuration == ConfigurationChange(
        "billing",
        None,
        {
            "strategy": "rendezvous",
            "strategyParameters": {},
            "algorithmVersion": 1,
            "parametersDigest": namespace().parameters_digest,
            "policy": write_policy(DEFAULT_POLICY),
            "version": 4,
        },
        {
            "strategy": "locality",
            "strategyParameters": {"mode": "strict"},
            "algorithmVersion": 1,
            "parametersDigest": STRATEGIES.digest("locality", {"mode": "strict"}),
            "policy": write_policy(DEFAULT_POLICY),
            "version": 5,
        },
    )


@pytest.mark.parametrize(
    ("parameters", "policy", "version"),
    [
        ({}, NamespacePolicy(ticket_required=True), 9),
        ({}, DEFAULT_POLICY, 1),
        ({}, UNSET, 1),
        ({"maxShardsPerNode": 9}, NamespacePolicy(ticket_required=True), 1),
    ],
    ids=["policy", "nothing", "no policy", "parameters"],
)
def test_a_change_of_the_policy_alone_keeps_the_version_of_the_algorithm(
    parameters: Mapping[str, int], policy: NamespacePolicy | Unset, version: int
) -> None:
    placed = replace(namespace(version=4), algorithm_version=9, parameters_digest="9" * 64)
    command = ConfigureNamespace("billing", placed.strategy, parameters, 4, CHANGE, policy)
    write = written(command, ReadState({"billing": placed}, {}, {})).namespace
    assert write is not None
    digest = "9" * 64 if version == 9 else STRATEGIES.digest(placed.strategy, parameters)
    assert (write.algorithm_version, write.parameters_digest) == (version, digest)


@pytest.mark.parametrize(("expected", "there"), [(0, 4), (3, 4), (5, 4), (1, None)])
def test_a_stale_configuration_is_refused(expected: int, there: int | None) -> None:
    current = None if there is None else namespace(version=there)
    known = ReadState({} if current is None else {"billing": current}, {}, {})
    command = ConfigureNamespace("billing", "ring", {}, expected, CHANGE)
    assert decide(command, known, STRATEGIES) == StaleNamespace("billing", expected, there or 0, current, None)


def test_a_request_is_digested_when_it_carries_a_key() -> None:
    command = CreateShards([NewShard(*KEY, "node-a")], CHANGE)
    assert written(command, state()).request_digest is None
    keyed = replace(command, change=replace(CHANGE, idempotency_key="key-1"))
    assert written(keyed, state()).request_digest == request_digest(keyed)


def test_the_audit_digest_covers_request_configuration_and_rows_in_order() -> None:
    change = ChangeRequest("ops", "because", "CHG-9", {"b": 1, "a": "ä"})
    before = shard()
    moved = written(replace(update(before, owner_node_id="node-b"), change=change), state(before))
    (write,) = moved.shards
    row = row_digest("UPDATED", image_of(before), 43, NOON + timedelta(hours=3), NOON, write.current_image)
    assert row_digest(*write.digested()) == row
    assert moved.content_digest == content_digest(
        "UPDATE_SHARDS", "ops", "because", "CHG-9", '{"a":"ä","b":1}', None, [row]
    )
    configured = written(ConfigureNamespace("search", "ring", {}, 0, change), state())
    assert configured.namespace is not None
    configuration = details_json(configured.namespace.configuration, None)
    assert configured.content_digest == content_digest(
        "CONFIGURE_NAMESPACE", "ops", "because", "CHG-9", '{"a":"ä","b":1}', configuration, []
    )


def test_a_write_becomes_a_record_at_its_revision() -> None:
    later = NOON + timedelta(days=1)
    before = shard()
    created = the_write(CreateShards([NewShard(*KEY, "node-a")], CHANGE), state()).committed(7, later)
    assert (created.revision, created.version, created.created_at, created.updated_at) == (7, 1, later, later)
    updated = the_write(update(before, leader_id=None), state(before)).committed(7, later)
    assert (updated.revision, updated.version, updated.created_at, updated.updated_at) == (7, 4, NOON, later)
    deleted = the_write(DeleteShards([ShardExpectation(*KEY, 3)], CHANGE), state(before)).committed(7, later)
    assert deleted == before


def test_fields_are_compared_only_where_both_sides_are_there() -> None:
    content = shard().content
    assert changed_fields(None, content) == changed_fields(content, None) == changed_fields(content, content) == ()
    other = ShardContent("ring", "b", None, 9.0, None, ShardStatus.PAUSED, Pin("a", "b", None), None, "g")
    assert changed_fields(content, other) == (
        "strategy",
        "ownerNodeId",
        "leaderId",
        "capacityHint",
        "localityHint",
        "status",
        "pinned",
        "changeTicket",
        "antiAffinityGroup",
    )


def test_a_decision_reads_the_clock_once_and_judges_pins_by_that_of_the_policies() -> None:
    until = NOON + timedelta(hours=1)
    pinned = shard(pinned=Pin("ops", "audit", until))
    move = UpdateShards([ShardPatch("billing", "s1", 3, "node-b")], CHANGE)
    without = ReadState({"billing": namespace()}, {KEY: pinned})
    required = decide(move, without, STRATEGIES)
    assert isinstance(required, InputsRequired)
    assert required.clock
    at_noon, later = (replace(without, now=until, clock=clock) for clock in (NOON, until))
    refused = decide(move, at_noon, STRATEGIES)
    assert isinstance(refused, PolicyViolation)
    assert [broken.rule for broken in refused.violations] == [PolicyRule.PIN]
    assert isinstance(decide(move, later, STRATEGIES), WriteSet)
