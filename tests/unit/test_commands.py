"""Commands name what is wrong with them, at the path where the caller wrote it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from persistence.commands.command import ChangeRequest, Command, request_digest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.read_state import ReadSet
from persistence.commands.shards import (
    CreateShards,
    DeleteShards,
    NewShard,
    PinRequest,
    ShardExpectation,
    ShardPatch,
    UpdateShards,
)
from persistence.errors import InvalidArgument
from persistence.handlers.dispatch import validate
from persistence.model.fields import MAX_SHARDS_PER_CHANGE
from persistence.model.records import MAX_COUNTER, ChangeKind, ShardKey, ShardStatus
from strategies.registry import Registry

CHANGE = ChangeRequest("ops", "because")


def problems(command: Command) -> dict[str, str]:
    """Path to message; empty for a command without fault."""
    try:
        validate(command, Registry())
    except InvalidArgument as error:
        return {one.field: one.message for one in error.errors}
    return {}


def create(**fields: Any) -> CreateShards:
    return CreateShards([NewShard("billing", "s1", **{"owner_node_id": "node-a", **fields})], CHANGE)


def update(*, single: bool = False, **fields: Any) -> UpdateShards:
    given = {"namespace": "billing", "shard_id": "s1", "expected_version": 1, **fields}
    return UpdateShards([ShardPatch(**given)], CHANGE, single=single)


@pytest.mark.parametrize(
    "command",
    [
        create(),
        create(leader_id="node-b", capacity_hint=0.0, locality_hint="eu/zone-a", status=ShardStatus.DISABLED),
        update(owner_node_id="node-b"),
        update(leader_id=None),
        update(locality_hint=None, expected_version=MAX_COUNTER),
        update(status=ShardStatus.DRAINING, single=True),
        DeleteShards([ShardExpectation("billing", "s1", 1)], CHANGE),
        ConfigureNamespace("billing", "ring", {"virtualNodes": 7}, 0, CHANGE),
        CreateShards([NewShard("billing", f"s{n}", "node-a") for n in range(MAX_SHARDS_PER_CHANGE)], CHANGE),
        CreateShards([NewShard("billing", "s1", "a"), NewShard("search", "s1", "a")], CHANGE),
        CreateShards([NewShard("b", "s", "a")], ChangeRequest("ops", "why", "CHG-1", {"a": [1]}, "key")),
    ],
)
def test_a_command_without_fault_has_no_problem(command: Command) -> None:
    assert problems(command) == {}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (ChangeRequest("", "why"), "change.actor"),
        (ChangeRequest("a" * 1_025, "why"), "change.actor"),
        (ChangeRequest("ops", " "), "change.reason"),
        (ChangeRequest("ops", "why", change_ticket=""), "change.changeTicket"),
        (ChangeRequest("ops", "why", change_ticket="a\0"), "change.changeTicket"),
        (ChangeRequest("ops", "why", metadata={"a": float("nan")}), "change.metadata"),
        (ChangeRequest("ops", "why", metadata="x" * 1_024), "change.metadata"),
        (ChangeRequest("ops", "why", idempotency_key=""), "change.idempotencyKey"),
        (ChangeRequest("ops", "why", idempotency_key="k" * 256), "change.idempotencyKey"),
        (ChangeRequest("ops", "why", idempotency_key="\udc00"), "change.idempotencyKey"),
    ],
)
def test_a_fault_of_the_change_is_found_there(change: ChangeRequest, path: str) -> None:
    for command in (
        CreateShards([NewShard("billing", "s1", "node-a")], change),
        UpdateShards([ShardPatch("billing", "s1", 1, leader_id=None)], change, single=True),
        DeleteShards([ShardExpectation("billing", "s1", 1)], change),
        ConfigureNamespace("billing", "ring", {}, 0, change),
    ):
        assert list(problems(command)) == [path]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"owner_node_id": ""}, "ownerNodeId"),
        ({"leader_id": "a b"}, "leaderId"),
        ({"capacity_hint": -1.0}, "capacityHint"),
        ({"capacity_hint": float("inf")}, "capacityHint"),
        ({"locality_hint": ""}, "localityHint"),
    ],
)
def test_a_fault_of_a_field_is_found_at_its_path(fields: dict[str, Any], path: str) -> None:
    assert list(problems(create(**fields))) == [f"shards[0].{path}"]
    assert list(problems(update(**fields))) == [f"shards[0].{path}"]
    assert list(problems(update(**fields, single=True))) == [path]


@pytest.mark.parametrize("name", ["owner_node_id", "capacity_hint", "status"])
def test_a_field_that_is_always_there_cannot_be_cleared(name: str) -> None:
    path = {"owner_node_id": "ownerNodeId", "capacity_hint": "capacityHint", "status": "status"}[name]
    assert problems(update(single=True, **{name: None})) == {path: "must not be null; leave it out to keep it as it is"}


def test_an_update_must_change_something() -> None:
    assert list(problems(update(single=True))) == ["shardId"]
    assert list(problems(update())) == ["shards[0].shardId"]


@pytest.mark.parametrize("version", [-1, MAX_COUNTER + 1])
def test_an_expectation_must_be_a_counter(version: int) -> None:
    assert list(problems(update(leader_id=None, expected_version=version))) == ["shards[0].expectedVersion"]
    assert list(problems(update(leader_id=None, expected_version=version, single=True))) == ["expectedVersion"]
    delete = DeleteShards([ShardExpectation("billing", "s1", version)], CHANGE)
    assert list(problems(delete)) == ["shards[0].expectedVersion"]
    assert list(problems(ConfigureNamespace("billing", "ring", {}, version, CHANGE))) == ["expectedVersion"]


def test_every_fault_of_every_shard_is_told() -> None:
    shards = [NewShard("", "s1", "a"), NewShard("b", "s 1", "a b", capacity_hint=-1.0), NewShard("b", "s1", "a")]
    found = problems(CreateShards(shards, ChangeRequest("", "why")))
    assert set(found) == {
        "change.actor",
        "shards[0].namespace",
        "shards[1].shardId",
        "shards[1].ownerNodeId",
        "shards[1].capacityHint",
    }


def test_a_shard_named_twice_says_where_it_was_named_first() -> None:
    shards = [NewShard("billing", name, "a") for name in ("s0", "s1", "s0", "s0")]
    told = "names the same shard as shards[0].shardId"
    assert problems(CreateShards(shards, CHANGE)) == {"shards[2].shardId": told, "shards[3].shardId": told}


def test_a_command_must_name_a_shard() -> None:
    for command in (CreateShards([], CHANGE), UpdateShards([], CHANGE), DeleteShards([], CHANGE)):
        assert problems(command) == {"shards": "must name at least one shard"}


def test_a_command_takes_ten_thousand_shards_at_most() -> None:
    shards = [NewShard("billing", f"s{number}", "a") for number in range(MAX_SHARDS_PER_CHANGE + 1)]
    assert problems(CreateShards(shards, CHANGE)) == {"shards": "holds 10,001 shards; one change takes at most 10,000"}


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (ConfigureNamespace("a b", "ring", {}, 0, CHANGE), "name"),
        (ConfigureNamespace("billing", "rings", {}, 0, CHANGE), "strategy"),
        (ConfigureNamespace("billing", "rings", {"virtualNodes": -1}, 0, CHANGE), "strategy"),
        (ConfigureNamespace("billing", "ring", {"virtualNodes": -1}, 0, CHANGE), "strategyParameters.virtualNodes"),
        (ConfigureNamespace("billing", "ring", {"vnodes": 1}, 0, CHANGE), "strategyParameters.vnodes"),
        (ConfigureNamespace("billing", "ring", {"a": "x" * 16_384}, 0, CHANGE), "strategyParameters"),
        (ConfigureNamespace("billing", "ring", {"a": float("nan")}, 0, CHANGE), "strategyParameters"),
    ],
)
def test_a_fault_of_a_configuration_is_found_at_its_path(command: Command, path: str) -> None:
    assert list(problems(command)) == [path]


def test_a_command_names_its_shards_and_namespaces() -> None:
    shards = [NewShard("search", "s1", "a"), NewShard("billing", "s2", "a"), NewShard("search", "s0", "a")]
    command = CreateShards(shards, CHANGE)
    assert command.kind is ChangeKind.CREATE_SHARDS
    assert command.reads == ReadSet(
        namespaces=["billing", "search"],
        shards=[ShardKey("search", "s1"), ShardKey("billing", "s2"), ShardKey("search", "s0")],
    )
    configure = ConfigureNamespace("billing", "ring", {}, 0, CHANGE)
    assert configure.kind is ChangeKind.CONFIGURE_NAMESPACE
    assert configure.reads == ReadSet(namespaces=("billing",), configure=True)


def test_equal_requests_have_equal_digests() -> None:
    assert request_digest(create(capacity_hint=2.0)) == request_digest(create(capacity_hint=2.0))
    assert request_digest(update(leader_id=None)) == request_digest(update(leader_id=None, single=True))
    one = ConfigureNamespace("n", "locality", {"zoneBoost": 1, "regionBoost": 2}, 0, CHANGE)
    two = ConfigureNamespace("n", "locality", {"regionBoost": 2, "zoneBoost": 1}, 0, CHANGE)
    assert request_digest(one) == request_digest(two)


KEYED = ChangeRequest("ops", "because", "CHG-1", {"a": [1]}, "key")
PIN = PinRequest("audit", datetime(2026, 1, 31, 9, 30, tzinfo=UTC))
DIGESTS: Final[list[tuple[Command, str]]] = [
    (
        CreateShards(
            [
                NewShard("billing", "s1", "node-a"),
                NewShard("billing", "s2", "node-b", "r", 2.5, "eu/a", ShardStatus.PAUSED, PIN, "g"),
            ],
            KEYED,
        ),
        "10b599a556e5b7c01793a9ad13dcc98f6552ca81bd05418eaa4ae35d7f1e8c13",
    ),
    (
        UpdateShards(
            [
                ShardPatch("billing", "s1", 1, "node-b", None, 3.0, None, ShardStatus.DRAINING, None, None),
                ShardPatch("billing", "s2", 7, pin=PinRequest("audit")),
            ],
            KEYED,
        ),
        "1fa1930c954046f5fa2e1df6cc0f3c37e8573be3c57b89338f4c2e34bb809283",
    ),
    (
        DeleteShards([ShardExpectation("billing", "s1", 1)], KEYED),
        "f894b8d27430f0900be405510b5c152a36c129632d54569ac30f69045e96539d",
    ),
]


@pytest.mark.parametrize(("command", "digest"), DIGESTS)
def test_a_request_has_the_digest_that_earlier_versions_have_stored(command: Command, digest: str) -> None:
    assert request_digest(command).hex() == digest


def test_requests_that_differ_anywhere_have_digests_that_differ() -> None:
    changes = [
        CHANGE,
        ChangeRequest("OPS", "because"),
        ChangeRequest("ops", "Because"),
        ChangeRequest("ops", "because", "CHG-1"),
        ChangeRequest("ops", "because", None, "CHG-1"),
        ChangeRequest("ops", "because", None, ["CHG-1"]),
    ]
    commands: list[Command] = [
        *(CreateShards([NewShard("b", "s", "a")], change) for change in changes),
        create(),
        create(leader_id="b"),
        create(capacity_hint=2.0),
        create(status=ShardStatus.PAUSED),
        update(),
        update(leader_id=None),
        update(locality_hint=None),
        update(leader_id=None, locality_hint=None),
        update(leader_id="null"),
        update(expected_version=2),
        DeleteShards([ShardExpectation("billing", "s1", 1)], CHANGE),
        DeleteShards([ShardExpectation("billing", "s1", 1), ShardExpectation("billing", "s2", 1)], CHANGE),
        DeleteShards([ShardExpectation("billing", "s2", 1), ShardExpectation("billing", "s1", 1)], CHANGE),
        ConfigureNamespace("billing", "ring", {}, 1, CHANGE),
        ConfigureNamespace("billing", "ring", {"virtualNodes": 160}, 1, CHANGE),
    ]
    assert len({request_digest(command) for command in commands}) == len(commands)
