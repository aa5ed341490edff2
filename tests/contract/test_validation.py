"""What breaks a rule is refused with the field named, before anything is written."""

from __future__ import annotations

from typing import Final

import pytest

from persistence.commands.command import Command
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.shards import CreateShards, DeleteShards, ShardExpectation, ShardPatch, UpdateShards
from persistence.errors import InvalidArgument
from tests.support.mesh import BILLING, CHANGE, SEARCH, Mesh, because, new

BROKEN: Final[list[tuple[Command, list[str]]]] = [
    (CreateShards([], CHANGE), ["shards"]),
    (CreateShards([new("s1", capacity_hint=float("nan"))], CHANGE), ["shards[0].capacityHint"]),
    (CreateShards([new("s1"), new("s 2", "node a")], CHANGE), ["shards[1].shardId", "shards[1].ownerNodeId"]),
    (CreateShards([new("s1"), new("s1")], CHANGE), ["shards[1].shardId"]),
    (CreateShards([new("s1")], because("\ud800", actor="a\0")), ["change.actor", "change.reason"]),
    (CreateShards([new("s1")], because("x", metadata={"a": float("inf")})), ["change.metadata"]),
    (UpdateShards([ShardPatch(BILLING, "s1", 1)], CHANGE), ["shards[0].shardId"]),
    (UpdateShards([ShardPatch(BILLING, "s1", 1, owner_node_id=None)], CHANGE, single=True), ["ownerNodeId"]),
    (UpdateShards([ShardPatch(BILLING, "s1", 2**63, leader_id=None)], CHANGE, single=True), ["expectedVersion"]),
    (DeleteShards([ShardExpectation(BILLING, "s1", -1)], CHANGE), ["shards[0].expectedVersion"]),
    (ConfigureNamespace(SEARCH, "rings", {}, 0, CHANGE), ["strategy"]),
    (ConfigureNamespace(SEARCH, "ring", {"virtualNodes": 0}, 0, CHANGE), ["strategyParameters.virtualNodes"]),
    (ConfigureNamespace("", "ring", {}, -1, CHANGE), ["name", "expectedVersion"]),
]


async def test_every_field_that_breaks_a_rule_is_named_and_nothing_written(mesh: Mesh) -> None:
    await mesh.create(new("s1"))
    before = (await mesh.store.stream.head(), await mesh.changes(), await mesh.table())
    for command, fields in BROKEN:
        with pytest.raises(InvalidArgument) as caught:
            await mesh.execute(command)
        assert [error.field for error in caught.value.errors] == fields
    assert (await mesh.store.stream.head(), await mesh.changes(), await mesh.table()) == before
