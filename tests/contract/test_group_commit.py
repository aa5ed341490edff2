"""Group commit: many changes on one snapshot and in one transaction, each of them a change of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import pytest

from persistence.commands.command import Command
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.nodes import RegisterNode, UpdateNode
from persistence.commands.shards import CreateShards, DeleteShards, UpdateShards
from persistence.commands.write_set import WriteSet
from persistence.errors import StoreError, TransientConflict
from persistence.handlers.dispatch import decide
from persistence.model.outcomes import (
    Committed,
    IdempotencyKeyReused,
    NotFound,
    Outcome,
    PolicyViolation,
    ShardsChanged,
    VersionConflict,
)
from persistence.model.policy import NamespacePolicy
from persistence.model.records import DiffKind, NodeStatus
from persistence.service.group_commit import GroupCommit
from strategies.registry import Registry
from tests.support.mesh import BILLING, CHANGE, SEARCH, Mesh, as_it_is, because, changed, new, patch
from tests.support.model import digest_of
from tests.support.replay import contradictions

ShardCommand: TypeAlias = CreateShards | UpdateShards | DeleteShards

KEYED = because("once", idempotency_key="key-1")
BUDGET = NamespacePolicy(move_budget_percent=50)


async def committed_late(
    mesh: Mesh, commands: Sequence[ShardCommand], *others: Command
) -> Sequence[Committed | StoreError]:
    """What becomes of commands that are decided together, while others are executed before they are committed."""
    async with mesh.store.change_group() as group:
        keys = [key for command in commands for key in command.reads.shards]
        state = await group.read(keys, {node_id for command in commands for node_id in command.named_nodes})
        changes: list[WriteSet] = []
        for command in commands:
            decision = decide(command, state, Registry())
            assert isinstance(decision, WriteSet)
            changes.append(decision)
        for other in others:
            outcome = await asyncio.wait_for(mesh.execute(other), timeout=20)
            assert isinstance(outcome, Committed), outcome
        reads = [replace(command.reads, nodes=sorted(state.nodes_read & command.named_nodes)) for command in commands]
        return await group.commit(list(zip(reads, changes, strict=True)))


async def nothing_contradicts(mesh: Mesh) -> None:
    """History is gapless, its chain holds, the table is its result, and namespaces have their digests."""
    table = await mesh.table()
    assert not [*contradictions(await mesh.changes(), await mesh.history(), table)]
    for name in (BILLING, SEARCH):
        namespace = await mesh.store.namespaces.get(name)
        shards = [shard for shard in table.values() if shard.namespace == name]
        assert namespace is not None
        assert (namespace.shard_count, namespace.digest) == (len(shards), digest_of(shards))


@pytest.fixture
async def two_namespaces(mesh: Mesh) -> Mesh:
    await mesh.configure(SEARCH)
    return mesh


async def test_each_is_a_change_of_its_own(two_namespaces: Mesh) -> None:
    mesh = two_namespaces
    before = [await mesh.created(f"s{number}") for number in range(3)]
    gone = await mesh.created("gone")
    head = await mesh.store.stream.head()
    commands: list[ShardCommand] = [
        UpdateShards([patch(before[0], owner_node_id="node-b")], because("first", actor="a", change_ticket="CHG-1")),
        CreateShards([new("x"), new("y", namespace=SEARCH)], because("second", metadata={"why": "growth"})),
        DeleteShards([as_it_is(gone)], because("third", idempotency_key="k")),
        UpdateShards([patch(before[1], capacity_hint=3.0), patch(before[2], leader_id="node-q")], CHANGE),
    ]
    answers = [changed(answer) for answer in await committed_late(mesh, commands) if isinstance(answer, Committed)]
    assert [(each.change.first_revision, each.change.last_revision) for each in answers] == [
        (head.revision + 1, head.revision + 1),
        (head.revision + 2, head.revision + 3),
        (head.revision + 4, head.revision + 4),
        (head.revision + 5, head.revision + 6),
    ]
    assert [each.change for each in answers] == (await mesh.changes())[-4:]
    assert [each.position.revision for each in answers] == [each.change.last_revision for each in answers]
    written = [row for row in await mesh.history() if row.revision > head.revision]
    shards = [row.previous if row.kind is DiffKind.DELETED else row.current for row in written]
    assert shards == [shard for each in answers for shard in each.shards]
    await nothing_contradicts(mesh)


@pytest.mark.parametrize("overtaking", ["update", "delete", "came and went", "configure", "key", "budget"])
async def test_what_was_overtaken_is_not_written_and_takes_no_other_with_it(
    two_namespaces: Mesh, overtaking: str
) -> None:
    mesh = two_namespaces
    shard, other, third, fourth = [await mesh.created(name) for name in ("s1", "s2", "s3", "s4")]
    untouched = await mesh.created("u1", namespace=SEARCH)
    await mesh.configure(expected=1, policy=BUDGET if overtaking == "budget" else NamespacePolicy())
    others: list[Command] = [UpdateShards([patch(shard, owner_node_id="node-z")], CHANGE)]
    command: ShardCommand = UpdateShards([patch(shard, owner_node_id="node-b")], CHANGE)
    match overtaking:
        case "delete":
            others = [DeleteShards([as_it_is(shard)], CHANGE)]
        case "came and went":
            command = CreateShards([new("x")], CHANGE)
            x = changed(await mesh.execute(CreateShards([new("x")], CHANGE))).shards[0]
            await mesh.delete(x)
            again = CreateShards([new("x")], CHANGE)
            others = [again, DeleteShards([as_it_is(x)._replace(expected_version=3)], CHANGE)]
        case "configure":
            others = [ConfigureNamespace(BILLING, "ring", {}, 2, CHANGE)]
        case "key":
            command = UpdateShards([patch(shard, owner_node_id="node-b")], KEYED)
            others = [UpdateShards([patch(other, owner_node_id="node-y")], KEYED)]
        case "budget":
            command = UpdateShards([patch(each, owner_node_id="node-b") for each in (shard, other)], CHANGE)
            others = [DeleteShards([as_it_is(third), as_it_is(fourth)], CHANGE)]
        case _:
            pass
    last = UpdateShards([patch(untouched, owner_node_id="node-c")], because("goes on"))
    first = CreateShards([new("n1", namespace=SEARCH)], because("goes first"))
    answers = await committed_late(mesh, [first, command, last], *others)
    assert isinstance(answers[1], TransientConflict), answers[1]
    assert [isinstance(each, ShardsChanged) for each in answers] == [True, False, True]
    assert [change.reason for change in (await mesh.changes())[-2:]] == ["goes first", "goes on"]
    await nothing_contradicts(mesh)


async def test_a_group_of_which_nothing_is_written_leaves_no_trace(two_namespaces: Mesh) -> None:
    mesh = two_namespaces
    shard = await mesh.created("s1")
    late = UpdateShards([patch(shard, owner_node_id="node-b")], CHANGE)
    answers = await committed_late(mesh, [late], UpdateShards([patch(shard, owner_node_id="node-c")], CHANGE))
    assert [type(each) for each in answers] == [TransientConflict]
    assert (await mesh.shard("s1")) is not None
    assert len(await mesh.history()) == 2
    await nothing_contradicts(mesh)


async def test_what_is_asked_at_once_is_answered_as_if_it_had_come_one_by_one(two_namespaces: Mesh) -> None:
    mesh = two_namespaces
    shards = [await mesh.created(f"s{number:02}") for number in range(40)]

    async def moved(number: int, node: str) -> Outcome:
        return await mesh.execute(
            UpdateShards([patch(shards[number], owner_node_id=node)], because(f"{number} {node}"))
        )

    every = [moved(number, "node-x") for number in range(40)]
    rivals = [moved(number, "node-y") for number in range(0, 40, 4)]
    keyed = [
        mesh.execute(CreateShards([new("once")], KEYED)),
        mesh.execute(CreateShards([new("once")], KEYED)),
        mesh.execute(CreateShards([new("twice")], KEYED)),
    ]
    outcomes = await asyncio.gather(*every, *rivals, *keyed)
    for number in range(0, 40, 4):
        pair = {type(outcomes[number]), type(outcomes[40 + number // 4])}
        assert pair == {ShardsChanged, VersionConflict}
    kinds = Counter(type(outcome) for outcome in outcomes)
    assert kinds == {ShardsChanged: 42, VersionConflict: 10, IdempotencyKeyReused: 1}
    first, repeated = (outcome for outcome in outcomes[50:] if isinstance(outcome, ShardsChanged))
    assert first.change == repeated.change
    assert {first.replayed, repeated.replayed} == {True, False}
    for conflict in (outcome for outcome in outcomes if isinstance(outcome, VersionConflict)):
        ((stale,)) = conflict.stale
        assert stale.last_change is not None
        assert stale.current is not None
        assert stale.current.version == 2
    await nothing_contradicts(mesh)


async def test_owners_that_must_be_registered_are_looked_up_for_all_and_guarded_for_each(two_namespaces: Mesh) -> None:
    mesh = two_namespaces
    for node_id in ("node-a", "node-b", "node-c"):
        assert isinstance(await mesh.execute(RegisterNode(node_id, CHANGE)), Committed)
    one, two = [await mesh.created(name, "node-a") for name in ("s1", "s2")]
    await mesh.configure(expected=1, policy=NamespacePolicy(owners_must_be_registered=True))
    commands: list[ShardCommand] = [
        UpdateShards([patch(one, owner_node_id="node-b")], CHANGE),
        UpdateShards([patch(two, owner_node_id="node-a", leader_id="node-c")], CHANGE),
        CreateShards([new("x", "elsewhere", namespace=SEARCH)], CHANGE),
    ]
    removal = UpdateNode("node-b", 1, CHANGE, status=NodeStatus.REMOVED)
    answers = await committed_late(mesh, commands, removal)
    assert isinstance(answers[0], TransientConflict)
    assert [isinstance(each, ShardsChanged) for each in answers] == [False, True, True]
    assert isinstance(await mesh.execute(commands[0]), PolicyViolation)
    await nothing_contradicts(mesh)


async def test_what_names_registered_owners_is_committed_with_others(mesh: Mesh) -> None:
    """Not by itself, as what has to read more than a group does."""
    assert isinstance(await mesh.execute(RegisterNode("node-a", CHANGE)), Committed)
    await mesh.configure(expected=1, policy=NamespacePolicy(owners_must_be_registered=True))

    async def alone(command: Command) -> Outcome:
        refused.append(command)
        return NotFound()

    refused: list[Command] = []
    wrong = [CreateShards([new("w", "node-x")], CHANGE), CreateShards([new("v", "node-a", leader_id="node-x")], CHANGE)]
    group = GroupCommit(mesh.store.change_group, Registry(), alone, lambda _: None)
    right = [CreateShards([new(f"s{number}", "node-a", leader_id="node-a")], CHANGE) for number in range(3)]
    answers = await asyncio.gather(*map(group.execute, [*right, *wrong]))
    assert [isinstance(each, ShardsChanged) for each in answers] == [True, True, True, False, False]
    assert refused == wrong
