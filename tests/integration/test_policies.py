"""Policies on PostgreSQL: kept to at the moment of the commit, whatever came between it and the decision."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Final

import asyncpg
import pytest

import migrations
from persistence.commands.command import Command
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.shards import CreateShards, DeleteShards, UpdateShards
from persistence.model.outcomes import (
    NamespaceConfigured,
    NotFound,
    PolicyViolation,
    ShardsChanged,
    StaleNamespace,
    VersionConflict,
)
from persistence.model.policy import DEFAULT_POLICY, FreezeWindow, NamespacePolicy, PolicyRule
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.support.length import rounds
from tests.support.mesh import BILLING, CHANGE, SEARCH, Mesh, as_it_is, because, new, patch
from tests.support.recount import broken_promises

WAITING: Final = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
async def mesh(database_url: str) -> AsyncIterator[Mesh]:
    async with open_store(database_url) as store:
        yield Mesh(store)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@asynccontextmanager
async def head_held(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """No change can be committed meanwhile."""
    async with connection.transaction():
        await connection.execute("SELECT FROM stream_head FOR UPDATE")
        yield


async def waiting(connection: asyncpg.Connection, count: int) -> None:
    """Until so many others wait for a lock."""
    async with asyncio.timeout(20):
        while await connection.fetchval(WAITING) < count:
            await connection.execute("SELECT pg_stat_clear_snapshot()")


async def until(connection: asyncpg.Connection, moment: datetime) -> None:
    """By the database's clock, which is the one that counts."""
    await connection.execute("SELECT pg_sleep_until($1)", moment)


async def now(connection: asyncpg.Connection) -> datetime:
    moment: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return moment


async def test_a_namespace_of_before_there_were_policies_has_the_default(
    empty_database_url: str,
) -> None:
    await migrations.upgrade(empty_database_url, "0003")
    before = await asyncpg.connect(empty_database_url)
    await before.execute(
        "INSERT INTO namespaces VALUES ('old', 'ring', '{}', 1, repeat('0', 64), 1, now(), now());"
        "INSERT INTO namespace_heads VALUES ('old', 0, 0, 0, 0)"
    )
    await before.close()
    await migrations.upgrade(empty_database_url)
    async with open_store(empty_database_url) as store:
        assert (await Mesh(store).namespace("old")).policy == DEFAULT_POLICY


async def test_the_database_keeps_the_rules_of_policies_by_itself(mesh: Mesh, connection: asyncpg.Connection) -> None:
    await mesh.configure()
    for name, value, constraint in (
        ("ticketRequired", "null", "policy_ticket_required_boolean"),
        ("approvalRequired", '"yes"', "policy_approval_required_boolean"),
        ("ticketPattern", '""', "policy_ticket_pattern_length"),
        ("moveBudgetPercent", "0", "policy_move_budget_percent_range"),
        ("moveBudgetPercent", "100.01", "policy_move_budget_percent_range"),
        ("windowSeconds", "2592001", "policy_window_seconds_range"),
        ("windowMoves", "0", "policy_window_moves_range"),
        ("shardWindowMoves", "-1", "policy_shard_window_moves_range"),
        ("freezes", "{}", "policy_freezes_array"),
    ):
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await connection.execute("UPDATE namespaces SET policy = policy || $1::jsonb", f'{{"{name}": {value}}}')
        assert refused.value.constraint_name == f"ck_namespaces_{constraint}"
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("UPDATE namespaces SET policy = '[]'")


async def test_a_change_that_comes_to_be_committed_in_a_freeze_is_refused(
    mesh: Mesh, connection: asyncpg.Connection
) -> None:
    await mesh.configure()
    shard = await mesh.created("s1")
    begins = await now(connection) + timedelta(seconds=0.4)
    freeze = FreezeWindow(begins, begins + timedelta(hours=1), "release")
    await mesh.configure(expected=1, policy=NamespacePolicy(freezes=(freeze,)))
    async with head_held(connection):
        late = asyncio.create_task(mesh.execute(UpdateShards([patch(shard, leader_id="x")], CHANGE)))
        await waiting(connection, 1)
        await until(connection, begins)
    outcome = await late
    assert isinstance(outcome, PolicyViolation)
    assert [broken.rule for broken in outcome.violations] == [PolicyRule.FREEZE]
    assert await mesh.shard("s1") == shard


async def test_a_budget_is_a_share_of_the_shards_there_are_when_it_is_spent(
    mesh: Mesh, connection: asyncpg.Connection
) -> None:
    await mesh.configure(policy=NamespacePolicy(move_budget_percent=20))
    shards = (await mesh.create(*(new(f"s{number}") for number in range(10)))).shards
    moves = UpdateShards([patch(shard, owner_node_id="node-b") for shard in shards[:2]], CHANGE)
    async with head_held(connection):
        deletion = asyncio.create_task(mesh.delete(*shards[2:]))
        await waiting(connection, 1)
        # As another server would: here it would wait for the group before.
        late = asyncio.create_task(CommandExecutor(mesh.store.unit_of_work).execute(moves))
        await waiting(connection, 2)
    await deletion
    outcome = await late
    assert isinstance(outcome, PolicyViolation)
    assert [broken.actual for broken in outcome.violations] == ["2 of 2 shards, 100 %"]


async def test_of_two_moves_that_share_a_window_the_second_counts_the_first(
    mesh: Mesh, connection: asyncpg.Connection
) -> None:
    await mesh.configure(policy=NamespacePolicy(window_moves=1))
    one, two = (await mesh.create(new("s1"), new("s2"))).shards
    async with head_held(connection):
        both = [
            asyncio.create_task(mesh.execute(UpdateShards([patch(shard, owner_node_id="node-b")], CHANGE)))
            for shard in (one, two)
        ]
        await waiting(connection, 2)
    outcomes = await asyncio.gather(*both)
    assert Counter(type(outcome) for outcome in outcomes) == {ShardsChanged: 1, PolicyViolation: 1}


async def test_who_moves_nothing_does_not_wait_for_who_does(mesh: Mesh) -> None:
    await mesh.configure(policy=NamespacePolicy(window_moves=1))
    one, two = (await mesh.create(new("s1"), new("s2"))).shards
    async with mesh.store.unit_of_work() as unit:
        await unit.read(UpdateShards([patch(one, owner_node_id="node-b")], CHANGE).reads)
        assert (await asyncio.wait_for(mesh.updated(two, leader_id="x"), timeout=20)).version == 2


@dataclass
class Operator:
    """Asks for whatever comes to mind, and remembers what it was refused."""

    mesh: Mesh
    random: Random
    policies: list[NamespacePolicy]
    refused: Counter[PolicyRule] = field(default_factory=Counter)

    async def work(self, requests: int) -> None:
        for _ in range(requests):
            outcome = await self.mesh.execute(await self.command())
            if isinstance(outcome, PolicyViolation):
                self.refused.update(broken.rule for broken in outcome.violations)
            else:
                expected = ShardsChanged | VersionConflict | NotFound | NamespaceConfigured | StaleNamespace
                assert isinstance(outcome, expected), outcome

    async def command(self) -> Command:
        forced = "no other way" if self.random.random() < 0.1 else None
        change = because("work", change_ticket=self.random.choice(["CHG-1", "CHG-1", "CHG-2", "INC-1"]), forced=forced)
        there = list((await self.mesh.table()).values())
        some = self.random.sample(there, min(len(there), self.random.choice([1, 1, 1, 2, 3])))
        match self.random.randrange(12):
            case 0:
                name = self.random.choice([BILLING, SEARCH])
                version = (await self.mesh.namespace(name)).version
                return ConfigureNamespace(name, "ring", {}, version, change, self.random.choice(self.policies))
            case 1 | 2:
                name = self.random.choice([BILLING, SEARCH])
                return CreateShards([new(f"n{self.random.getrandbits(40)}", namespace=name)], change)
            case 3 if len(there) > 12:
                return DeleteShards([as_it_is(shard) for shard in some], change)
            case _:
                owners = [f"node-{self.random.randrange(3)}" for _ in some]
                moves = zip(some, owners, strict=True)
                return UpdateShards([patch(shard, owner_node_id=owner) for shard, owner in moves], change)


@pytest.mark.parametrize("seed", range(rounds(24, 2)))
async def test_no_interleaving_of_writers_breaks_a_policy(
    mesh: Mesh, connection: asyncpg.Connection, seed: int
) -> None:
    """Held against history alone. Windows of a second and freezes of milliseconds come and go while it runs."""
    random = Random(seed)
    begins = await now(connection)
    moments = [begins + timedelta(milliseconds=number) for number in range(100, 2_000, 300)]
    policies = [
        NamespacePolicy(
            ticket_required=True,
            ticket_pattern=random.choice([None, "CHG-[0-9]+"]),
            move_budget_percent=random.choice([10, 15, 100]),
            window_seconds=1,
            window_moves=random.choice([None, 2, 5, 9]),
            shard_window_moves=random.choice([None, 1, 2]),
            freezes=tuple(FreezeWindow(at, at + timedelta(milliseconds=60), "short") for at in moments),
        )
        for _ in range(6)
    ]
    for name in (BILLING, SEARCH):
        await mesh.configure(name, policy=policies[0], change=because("begin", change_ticket="CHG-0"))
    first = [new(f"s{number}", namespace=name) for name in (BILLING, SEARCH) for number in range(14)]
    await mesh.create(*first, change=because("begin", change_ticket="CHG-0", forced="begin"))
    operators = [Operator(mesh, Random(f"{seed} {number}"), policies) for number in range(6)]
    await asyncio.gather(*(operator.work(25) for operator in operators))
    changes = await mesh.changes()
    assert list(broken_promises(changes, await mesh.history())) == []
    refused = sum((operator.refused for operator in operators), Counter[PolicyRule]())
    assert {PolicyRule.FREEZE, PolicyRule.WINDOW_BUDGET, PolicyRule.SHARD_THRASH} & refused.keys(), refused
    assert sum(change.shard_count > 0 and change.forced is None for change in changes) > 5
