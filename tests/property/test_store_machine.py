"""Random lives of a store, against a model small enough to be seen to be right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from persistence.commands.command import UNSET, Command
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.nodes import RegisterNode, UpdateNode
from persistence.commands.shards import CreateShards, DeleteShards, NewShard, ShardExpectation, ShardPatch, UpdateShards
from persistence.errors import InvalidArgument
from persistence.model.outcomes import (
    NamespaceConfigured,
    NodeChanged,
    NodeInUse,
    NotFound,
    PlanApplied,
    PlanClosed,
    PlanProposed,
    ShardsChanged,
    StaleNamespace,
    StaleNode,
    StalePlan,
    VersionConflict,
)
from persistence.model.plans import PlanStatus, RebalancePlan
from persistence.model.queries import NodeFilter
from persistence.model.records import AsOf, MoveReason, NodeStatus, ShardKey, ShardStatus
from persistence.planning.planner import PlacementImpossible
from persistence.planning.proposal import Move, Proposal
from persistence.ports.store import Store
from persistence.postgres.store import open_store
from persistence.service.rebalancer import PlanRequest
from tests.reference.store import memory_store
from tests.support.databases import Databases
from tests.support.length import rounds
from tests.support.mesh import ANY_MOVES, BILLING, CHANGE, SEARCH
from tests.support.model import applied, digest_of, first_broken_link, replay
from tests.support.planned_mesh import PlannedMesh

T = TypeVar("T")
# A shard, the owner it may get, and how far off the caller is about its version.
Choice: TypeAlias = tuple[ShardKey, str, int]

NAMESPACES: Final = (BILLING, SEARCH)
STRATEGIES: Final = ("ring", "rendezvous", "locality")
KEYS: Final = tuple(ShardKey(namespace, f"s{number}") for namespace in NAMESPACES for number in range(4))
ELSEWHERE: Final = ShardKey("nowhere", "s0")
NODES: Final = ("node-a", "node-b", "node-c")
OWNERS: Final = st.sampled_from(NODES)
# Most callers have read what is there. The others take any shard, and are often wrong about its version.
INFORMED: Final = st.sampled_from([True, True, True, True, False])
LIMITS: Final = st.sampled_from([10_000, 10_000, 1])
STATUSES: Final = st.sampled_from([*NodeStatus, NodeStatus.ACTIVE, NodeStatus.ACTIVE, NodeStatus.DRAINING])
MISTAKES: Final = st.sampled_from([0, 0, 1, -1])
PATCHES: Final[st.SearchStrategy[dict[str, Any]]] = st.fixed_dictionaries(
    {},
    optional={
        "leader_id": st.none() | OWNERS,
        "capacity_hint": st.sampled_from([0.0, -0.0, 0.1, 2.0]),
        "locality_hint": st.none() | st.just("eu/zone-a"),
        "status": st.sampled_from(ShardStatus),
    },
)


@dataclass
class Life:
    """What is known of a shard that is there or was there."""

    version: int
    owner_epoch: int
    owner: str
    strategy: str
    alive: bool = True


@dataclass
class Registered:
    """What is known of a node that is there or was there."""

    version: int
    status: NodeStatus


@dataclass
class Planned:
    """A plan, and what it was made of: the strategies of its namespaces, and the statuses of its nodes."""

    plan: RebalancePlan
    proposal: Proposal
    strategies: dict[str, str]
    statuses: dict[str, NodeStatus]
    closed: bool = False


def gone(moves: Sequence[Move]) -> set[str]:
    """The nodes that were not registered when these moves were planned."""
    owners = {move.from_node_id for move in moves if move.reason is MoveReason.OWNER_REMOVED}
    leaders = {move.leader.from_node_id for move in moves if move.leader and move.reason is MoveReason.LEADER_REMOVED}
    return owners | leaders


class StoreMachine(RuleBasedStateMachine):
    """Commands with fresh and stale expectations; after each, everything the store promises is checked."""

    def __init__(self) -> None:
        super().__init__()
        self.strategies: dict[str, str] = {}
        self.configured: dict[str, int] = {}
        self.lives: dict[ShardKey, Life] = {}
        self.nodes: dict[str, Registered] = {}
        self.plans: dict[str, Planned] = {}
        self.compared = 0
        with ExitStack() as opened:
            self.runner = opened.enter_context(asyncio.Runner())
            self.mesh = PlannedMesh(self.open(opened))
            self.resources = opened.pop_all()

    def open(self, resources: ExitStack) -> Store:
        """An empty store; `resources` closes it."""
        raise NotImplementedError

    def teardown(self) -> None:
        with self.resources:
            self.wait(self.check_the_present())
            self.wait(self.check_the_past())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(strategies=st.lists(st.sampled_from(STRATEGIES), min_size=2, max_size=2))
    def begin(self, strategies: list[str]) -> None:
        for name, strategy in zip(NAMESPACES, strategies, strict=True):
            self.configure(name, strategy, 0)
        for node_id in NODES[:2]:
            self.register(node_id, 1)

    @rule(
        name=st.sampled_from(NAMESPACES),
        strategy=st.sampled_from(STRATEGIES),
        mistake=st.sampled_from([0, 0, 0, 1, -1]),
    )
    def configure(self, name: str, strategy: str, mistake: int) -> None:
        expected = max(0, self.configured.get(name, 0) + mistake)
        outcome = self.wait(self.mesh.execute(ConfigureNamespace(name, strategy, {}, expected, CHANGE, ANY_MOVES)))
        if expected == self.configured.get(name, 0):
            assert isinstance(outcome, NamespaceConfigured)
            self.configured[name] = expected + 1
            self.strategies[name] = strategy
        else:
            assert isinstance(outcome, StaleNamespace)
            assert outcome.actual == self.configured.get(name, 0)

    @rule(data=st.data())
    def create(self, data: st.DataObject) -> None:
        several = self.several(data, [key for key in KEYS if not self.alive(key)])
        shards = [NewShard(*key, owner) for key, owner, _ in several]
        stale = [(key, 0, self.lives[key].version) for key, _, _ in several if self.alive(key)]
        if not self.committed(CreateShards(shards, CHANGE), stale):
            return
        for key, owner, _ in several:
            before = self.lives.get(key, Life(0, 0, "", ""))
            strategy = self.strategies[key.namespace]
            self.lives[key] = Life(before.version + 1, before.owner_epoch + 1, owner, strategy)

    @precondition(lambda self: any(map(self.alive, KEYS)))
    @rule(data=st.data(), moves=st.booleans(), fields=PATCHES)
    def update(self, data: st.DataObject, fields: dict[str, Any], *, moves: bool) -> None:
        moves = moves or not fields  # an update must change something
        several = self.several(data, list(filter(self.alive, KEYS)))
        patches = [
            ShardPatch(*key, self.expected(key, mistake), owner_node_id=owner if moves else UNSET, **fields)
            for key, owner, mistake in several
        ]
        if not self.committed(UpdateShards(patches, CHANGE), self.stale(several)):
            return
        for key, owner, _ in several:
            life = self.lives[key]
            life.version += 1
            if moves and owner != life.owner:
                life.owner_epoch += 1
                life.owner = owner
                life.strategy = self.strategies[key.namespace]

    @precondition(lambda self: any(map(self.alive, KEYS)))
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        several = self.several(data, list(filter(self.alive, KEYS)))
        expectations = [ShardExpectation(*key, self.expected(key, mistake)) for key, _, mistake in several]
        if not self.committed(DeleteShards(expectations, CHANGE), self.stale(several)):
            return
        for key, _, _ in several:
            self.lives[key].version += 1
            self.lives[key].alive = False

    @rule(node_id=OWNERS, weight=st.integers(1, 3))
    def register(self, node_id: str, weight: int) -> None:
        outcome = self.wait(self.mesh.execute(RegisterNode(node_id, CHANGE, weight=weight)))
        known = self.nodes.get(node_id, Registered(0, NodeStatus.REMOVED))
        if known.status is NodeStatus.REMOVED:
            assert isinstance(outcome, NodeChanged)
            self.nodes[node_id] = Registered(known.version + 1, NodeStatus.ACTIVE)
        else:
            assert isinstance(outcome, StaleNode)
            assert (outcome.expected, outcome.actual) == (0, known.version)

    @precondition(lambda self: self.nodes)
    @rule(data=st.data(), status=STATUSES, mistake=st.sampled_from([0, 0, 0, 1]))
    def mark(self, data: st.DataObject, status: NodeStatus, mistake: int) -> None:
        node_id = data.draw(st.sampled_from(sorted(self.nodes)))
        known = self.nodes[node_id]
        command = UpdateNode(node_id, known.version + mistake, CHANGE, status=status)
        outcome = self.wait(self.mesh.execute(command))
        if known.status is NodeStatus.REMOVED:
            assert outcome == NotFound(nodes=(node_id,))
        elif mistake:
            assert isinstance(outcome, StaleNode)
        elif status is NodeStatus.REMOVED and (self.owned(node_id) or self.led(node_id)):
            assert isinstance(outcome, NodeInUse)
            assert (outcome.node.shard_count, outcome.node.leader_count) == (self.owned(node_id), self.led(node_id))
        else:
            assert isinstance(outcome, NodeChanged)
            self.nodes[node_id] = Registered(known.version + 1, status)

    @precondition(lambda self: any(map(self.alive, KEYS)))
    @rule(names=st.none() | st.lists(st.sampled_from(NAMESPACES), min_size=1), max_moves=LIMITS, applies=st.booleans())
    def plan(self, names: list[str] | None, max_moves: int, *, applies: bool) -> None:
        try:
            outcome = self.wait(self.mesh.rebalancer.plan(PlanRequest(names, max_moves), CHANGE))
        except PlacementImpossible:
            assert all(node.status is not NodeStatus.ACTIVE for node in self.nodes.values())
            return
        if names is not None and not set(names) <= self.configured.keys():
            assert isinstance(outcome, NotFound)
            return
        assert isinstance(outcome, PlanProposed)
        plan = outcome.plan
        assert outcome.replayed == (plan.id in self.plans)
        if not outcome.replayed:
            proposal = self.wait(self.mesh.proposal(plan))
            strategies = {name: self.strategies[name] for name in plan.namespaces}
            statuses = {node.node_id: self.nodes[node.node_id].status for node in proposal.nodes}
            self.plans[plan.id] = Planned(plan, proposal, strategies, statuses)
        if applies:
            self.apply_this(self.plans[plan.id])

    @precondition(lambda self: self.plans)
    @rule(data=st.data())
    def apply(self, data: st.DataObject) -> None:
        informed = data.draw(INFORMED)
        plans = list(self.plans.values())
        sensible = [planned for planned in plans if not planned.closed]
        self.apply_this(data.draw(st.sampled_from(sensible if sensible and informed else plans)))

    def apply_this(self, planned: Planned) -> None:
        moves = planned.proposal.moves
        shards = [
            move.key for move in moves if not self.alive(move.key) or self.lives[move.key].version != move.version
        ]
        touched = {move.namespace for move in moves}
        namespaces = [
            name
            for name, strategy in planned.strategies.items()
            if name in touched and self.strategies[name] != strategy
        ]
        # A node that is not ACTIVE any more has another status than a plan found that gives it shards.
        nodes = [node_id for node_id, status in planned.statuses.items() if self.nodes[node_id].status is not status]
        nodes += [node_id for node_id in self.nodes if node_id in gone(moves) and self.is_there(node_id)]
        if not moves:
            with pytest.raises(InvalidArgument, match="planId: has no moves"):
                self.wait(self.mesh.ask_to_apply(planned.plan))
            return
        outcome = self.wait(self.mesh.ask_to_apply(planned.plan))
        if planned.closed:
            assert isinstance(outcome, PlanClosed)
        elif shards or namespaces or nodes:
            assert isinstance(outcome, StalePlan)
            assert [stale.key for stale in outcome.shards] == shards
            assert all(stale.last_change is not None for stale in outcome.shards)
            assert (list(outcome.namespaces), list(outcome.node_ids)) == (namespaces, sorted(nodes))
        else:
            assert isinstance(outcome, PlanApplied)
            planned.closed = True
            planned.plan = outcome.plan
            self.supersede(planned.plan)
            for move in moves:
                life = self.lives[move.key]
                life.version += 1
                life.owner_epoch += move.changes_owner
                life.owner = move.to_node_id
                if move.changes_owner:
                    life.strategy = self.strategies[move.namespace]
                if move.leader is not None:
                    assert self.wait(self.mesh.table())[move.key].leader_id == move.leader.to_node_id

    def supersede(self, chosen: RebalancePlan) -> None:
        """To apply a plan is to decide against the older ones of its namespaces that are open: they have moves."""
        for other in self.plans.values():
            older = other.plan.move_count and other.plan.created.id < chosen.created.id
            if older and not other.closed and not set(other.plan.namespaces).isdisjoint(chosen.namespaces):
                other.closed = True
                other.plan = replace(other.plan, status=PlanStatus.SUPERSEDED, latest=chosen.latest)

    def owned(self, node_id: str) -> int:
        return sum(life.alive and life.owner == node_id for life in self.lives.values())

    def is_there(self, node_id: str) -> bool:
        return self.nodes[node_id].status is not NodeStatus.REMOVED

    def led(self, node_id: str) -> int:
        return sum(shard.leader_id == node_id for shard in self.wait(self.mesh.table()).values())

    def several(self, data: st.DataObject, sensible: Sequence[ShardKey]) -> list[Choice]:
        informed = bool(sensible) and data.draw(INFORMED)
        keys = sensible if informed else (*KEYS, ELSEWHERE)
        choices = st.tuples(st.sampled_from(keys), OWNERS, st.just(0) if informed else MISTAKES)
        return data.draw(st.lists(choices, min_size=1, max_size=4, unique_by=lambda choice: choice[0]))

    def alive(self, key: ShardKey) -> bool:
        return key in self.lives and self.lives[key].alive

    def expected(self, key: ShardKey, mistake: int) -> int:
        return max(0, (self.lives[key].version if key in self.lives else 0) + mistake)

    def stale(self, several: list[Choice]) -> list[tuple[ShardKey, int, int]]:
        """(shard, version expected, version there) where the two are not the same."""
        return [
            (key, self.expected(key, mistake), self.lives[key].version if self.alive(key) else 0)
            for key, _, mistake in several
            if mistake or not self.alive(key)
        ]

    def committed(self, command: Command, stale: list[tuple[ShardKey, int, int]]) -> bool:
        """Whether it was, which must be as foretold."""
        head = self.wait(self.mesh.store.stream.head())
        outcome = self.wait(self.mesh.execute(command))
        missing = tuple(name for name in command.reads.namespaces if name not in self.configured)
        if missing:
            assert outcome == NotFound(namespaces=missing)
        elif stale and not any(key in self.lives for key, _, _ in stale):
            assert outcome == NotFound(shards=tuple(key for key, _, _ in stale))
        elif stale:
            assert isinstance(outcome, VersionConflict)
            assert [(one.key, one.expected, one.actual) for one in outcome.stale] == stale
        else:
            assert isinstance(outcome, ShardsChanged)
            assert [shard.key for shard in outcome.shards] == command.reads.shards
            assert outcome.position.revision == head.revision + len(outcome.shards)
            return True
        assert self.wait(self.mesh.store.stream.head()) == head
        return False

    async def check_the_present(self) -> None:
        """Table, history, versions, revisions, digests and audit chain agree with each other and with the model."""
        mesh = self.mesh
        table, history, changes = await mesh.table(), await mesh.history(), await mesh.changes()
        known = {
            key: (shard.version, shard.owner_epoch, shard.owner_node_id, shard.strategy) for key, shard in table.items()
        }
        assert known == {
            key: (life.version, life.owner_epoch, life.owner, life.strategy)
            for key, life in sorted(self.lives.items())
            if life.alive
        }
        assert table == replay(history)
        assert [row.revision for row in history] == list(range(1, len(history) + 1))
        for key, life in self.lives.items():
            assert [row.version for row in history if row.key == key] == list(range(1, life.version + 1))
        for name, version in self.configured.items():
            namespace = await mesh.namespace(name)
            shards = [shard for shard in table.values() if shard.namespace == name]
            assert (namespace.version, namespace.strategy) == (version, self.strategies[name])
            assert (namespace.digest, namespace.shard_count) == (digest_of(shards), len(shards))
        nodes = await mesh.nodes(NodeFilter(statuses=tuple(NodeStatus)))
        assert {node.node_id: (node.version, node.status, node.shard_count) for node in nodes} == {
            node_id: (known.version, known.status, self.owned(node_id)) for node_id, known in self.nodes.items()
        }
        assert {plan.id: plan for plan in await mesh.plans()} == {id_: one.plan for id_, one in self.plans.items()}
        times = [change.committed_at for change in changes]
        assert times == sorted(times)
        assert first_broken_link(changes, history) is None

    async def check_the_past(self) -> None:
        """Every revision can be read, and every difference leads from one to the other, both ways.

        Differences between revisions that were compared before are not requested again.
        """
        history = await self.mesh.history()
        tables = [replay(history[:revision]) for revision in range(len(history) + 1)]
        for revision, table in enumerate(tables):
            assert await self.mesh.table(AsOf(revision=revision)) == table
        for end in range(self.compared, len(tables)):
            for start in range(end):
                there = await self.mesh.difference(start, end)
                back = await self.mesh.difference(end, start)
                assert applied(tables[start], list(there.values())) == tables[end]
                assert applied(tables[end], list(back.values())) == tables[start]
        self.compared = len(tables)


class MemoryStoreMachine(StoreMachine):
    """Checks everything after every step."""

    def open(self, resources: ExitStack) -> Store:  # noqa: ARG002 - memory needs no closing
        return memory_store(clock=ticking())

    @invariant()
    def everything_holds(self) -> None:
        self.wait(self.check_the_present())
        self.wait(self.check_the_past())


def ticking() -> Callable[[], datetime]:
    """A clock that goes on by a second each time it is read, and sometimes back."""
    ticks = iter(range(1_000_000))
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def now() -> datetime:
        tick = next(ticks)
        return start + timedelta(seconds=tick if tick % 5 else -tick)

    return now


def test_a_store_in_memory_keeps_every_promise_after_every_step() -> None:
    run_state_machine_as_test(
        MemoryStoreMachine, settings=settings(max_examples=rounds(600, 40), stateful_step_count=30)
    )


def test_a_store_on_postgresql_leads_the_same_lives(databases: Databases, template_database: str) -> None:
    class PostgresStoreMachine(StoreMachine):
        """Checks everything at the end of each life."""

        def open(self, resources: ExitStack) -> Store:
            url = resources.enter_context(databases.temporary(template=template_database))
            opening = open_store(url, read_connections=1, write_connections=1)
            store = self.wait(opening.__aenter__())
            resources.callback(lambda: self.wait(opening.__aexit__(None, None, None)))
            return store

    run_state_machine_as_test(
        PostgresStoreMachine, settings=settings(max_examples=rounds(80, 5), stateful_step_count=20)
    )
