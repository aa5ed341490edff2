"""Plans in waves: random meshes, plans and waves, with nodes that die between waves, held to what a plan promises.

Between any two waves no node is above a bound that it is within before and after, unless the plan said so; no two
shards of a group come together; every wave makes moves, or the plan said which ones no wave can make; and an
explanation of any shard agrees with the plan. Bounds are judged as the strategies judge what they have placed.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import pytest

from persistence.commands.nodes import RegisterNode, UpdateNode
from persistence.commands.shards import NewShard, PinRequest
from persistence.model.outcomes import NotFound, PlanApplied, PlanProposed, PolicyViolation, StalePlan
from persistence.model.plans import PlanStatus, RebalancePlan
from persistence.model.policy import FreezeWindow, NamespacePolicy, PolicyRule
from persistence.model.records import VACATED, MoveReason, NodeStatus
from persistence.planning.explanation import explain
from persistence.planning.namespaces import place_namespace
from persistence.planning.planner import PlacementImpossible, propose
from persistence.planning.proposal import Proposal
from persistence.planning.scope import EVERYTHING, Narrowing
from persistence.planning.snapshot import PlacementSnapshot
from persistence.planning.waves import cuts, is_limited, peak_loads
from persistence.service.rebalancer import PlanRequest
from strategies.registry import Registry
from tests.reference.store import memory_store
from tests.support.length import rounds
from tests.support.mesh import CHANGE, because, new
from tests.support.planned_mesh import PlannedMesh

MESHES: Final = rounds(2_000, 60)
EXPLAINED: Final = rounds(1_000, 2)
"""Shards of each namespace: all of them in `make soak`."""
FROZEN: Final = FreezeWindow(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC), "a long night")
STRATEGIES: Final = Registry()
NAMES: Final = ("billing", "search")
"""Two namespaces, which share nodes and plans and have bounds and budgets of their own."""


@pytest.mark.parametrize("first", range(0, MESHES, 100))
def test_every_prefix_of_a_plan_is_as_safe_as_its_end(first: int) -> None:
    seen: Counter[str] = Counter()
    with asyncio.Runner() as runner:
        for seed in range(first, min(first + 100, MESHES)):
            night = Night(Random(seed), seed)
            runner.run(night.pass_by())
            seen += night.seen
    # What the promises are about did happen.
    assert {"wave", "batch", "group", "bounded", "died", "cut", "replanned", "explained", "later"} <= set(seen), seen
    assert {"narrowed", "leader", "refused"} <= set(seen), seen


@dataclass
class Night:
    """One mesh, from its beginning to where it has nothing left to move, or some waves later."""

    random: Random
    seed: int
    mesh: PlannedMesh = field(default_factory=lambda: PlannedMesh(memory_store()))
    seen: Counter[str] = field(default_factory=Counter)

    async def pass_by(self) -> None:
        await self.begin()
        for _ in range(3):
            snapshot = await self.mesh.store.placement.snapshot()
            self.check_explanations(snapshot)
            plan = await self.planned()
            if plan is None or not plan.move_count:
                return
            promise = Promise(self.seed, snapshot, await self.mesh.proposal(plan))
            if not await self.applied(plan, promise):
                self.seen["replanned"] += 1

    async def begin(self) -> None:
        random = self.random
        nodes = [f"node-{number}" for number in range(random.randint(2, 7))]
        for node_id in nodes:
            weight = random.choice([1, 1, 1, 2, 5])
            await self.mesh.execute(RegisterNode(node_id, CHANGE, weight=weight, zone=random.choice("ab")))
        for name in NAMES[: random.randint(1, 2)]:
            count = random.randint(1, 40)
            await self.mesh.configure(
                name,
                strategy=random.choice(["rendezvous", "rendezvous", "ring", "maglev", "jump", "locality", "sticky"]),
                parameters=some_bounds(random, count, len(nodes)),
                policy=NamespacePolicy(
                    move_budget_percent=random.choice([1, 5, 10, 10, 30, 100]),
                    window_moves=random.choice([None, None, None, None, 3, 20]),
                    involuntary_moves_limited=random.random() < 0.2,
                    freezes=(FROZEN,) if random.random() < 0.1 else (),
                ),
            )
            forced = because("how it begins", forced="groups may be together")
            await self.mesh.create(*some_shards(random, name, count, [*nodes, "gone"]), change=forced)
        for node_id in nodes:
            status = random.choice(
                [NodeStatus.ACTIVE] * 6 + [NodeStatus.CORDONED, NodeStatus.DOWN, NodeStatus.DRAINING]
            )
            await self.mesh.execute(UpdateNode(node_id, 1, CHANGE, status=status))

    async def planned(self) -> RebalancePlan | None:
        most = self.random.choice([1, 2, 3, 5, 10, 10_000, 10_000, 10_000])
        request = PlanRequest(None, most, narrowing=await self.narrowing())
        try:
            outcome = await self.mesh.rebalancer.plan(request, CHANGE)
        except PlacementImpossible:
            return None
        if isinstance(outcome, NotFound):  # no shard is left on the node that there never was
            return None
        assert isinstance(outcome, PlanProposed)
        proposal = await self.mesh.proposal(outcome.plan)
        assert len(proposal.moves) <= request.max_moves
        self.seen["cut"] += proposal.remaining_moves > 0
        self.seen["batch"] += proposal.together is not None
        self.seen["narrowed"] += proposal.scope is not None
        self.seen["leader"] += any(move.leader is not None and not move.changes_owner for move in proposal.moves)
        assert proposal.moves or not proposal.remaining_moves or proposal.violations, self.seed
        return outcome.plan

    async def narrowing(self) -> Narrowing:
        """To nodes that are to be vacated, or to some reasons, or to neither."""
        vacated = [node.node_id for node in await self.mesh.nodes() if node.status in VACATED]
        vacate = tuple(self.random.sample([*vacated, "gone"], 1)) if self.random.random() < 0.2 else None
        reasons = [reason for reason in MoveReason if reason is not MoveReason.ROLLBACK]
        only = tuple(self.random.sample(reasons, self.random.randint(1, 5))) if self.random.random() < 0.2 else None
        return Narrowing(vacate, only_reasons=only)

    async def applied(self, plan: RebalancePlan, promise: Promise) -> bool:
        """Whether all of it was; if not, what kept it from being, which the plan said, or was a node that died."""
        while plan.status is not PlanStatus.APPLIED:
            if self.random.random() < 0.1:
                await self.let_one_die()
            size = self.random.choice([1, 2, 7, 100])
            outcome = await self.mesh.ask_to_apply(plan, size)
            if isinstance(outcome, StalePlan):
                assert self.seen["died"], (self.seed, outcome)
                return False
            if isinstance(outcome, PolicyViolation):
                rules = {broken.rule for broken in outcome.violations}
                assert rules <= {PolicyRule.MOVE_BUDGET, PolicyRule.WINDOW_BUDGET, PolicyRule.FREEZE}, (
                    self.seed,
                    outcome,
                )
                await self.check_refused(plan, promise)
                # A window opens again by itself; what is larger than a budget for good was named.
                assert PolicyRule.MOVE_BUDGET not in rules or "CYCLE_EXCEEDS_BUDGET" in promise.codes, self.seed
                return False
            assert isinstance(outcome, PlanApplied), (self.seed, outcome)
            made = outcome.plan.moves_made - plan.moves_made
            assert made >= 1, self.seed
            self.seen["wave"] += 1
            self.seen["more at once"] += made > size
            plan = outcome.plan
            owners = {
                (key.namespace, key.shard_id): one.owner_node_id for key, one in (await self.mesh.table()).items()
            }
            self.seen.update(promise.check(plan.moves_made, owners))
        return True

    async def check_refused(self, plan: RebalancePlan, promise: Promise) -> None:
        """Nothing that the policy does not limit is refused: the next moves have one that it does."""
        proposal = await self.mesh.proposal(plan)
        first = next(cuts(len(proposal.moves), proposal.together, plan.moves_made))
        policies = promise.policies
        refused = proposal.moves[plan.moves_made : first]
        assert any(is_limited(move.reason, policies[move.namespace]) for move in refused), self.seed
        self.seen["refused"] += 1

    async def let_one_die(self) -> None:
        alive = [node for node in await self.mesh.nodes() if node.status is NodeStatus.ACTIVE]
        if len(alive) > 1:
            await self.mesh.change_node(self.random.choice(alive), status=NodeStatus.DOWN)
            self.seen["died"] += 1

    def check_explanations(self, snapshot: PlacementSnapshot) -> None:
        """Those of shards against the plan of its namespace, which may hold fewer moves than are needed."""
        for space in snapshot.namespaces:
            alone = PlacementSnapshot(
                snapshot.position, [space], snapshot.nodes, {space.name: snapshot.shards[space.name]}
            )
            most = self.random.choice([3, 10, 10_000])
            try:
                moves = propose(alone, STRATEGIES, max_moves=most).moves
            except PlacementImpossible:
                moves = ()
            numbers = {move.shard_id: number for number, move in enumerate(moves, 1)}
            shards = snapshot.shards[space.name]
            for shard in self.random.sample(shards, min(len(shards), EXPLAINED)):
                told = explain(snapshot, space.name, shard.shard_id, STRATEGIES, max_moves=most)
                assert told is not None
                number = numbers.get(shard.shard_id)
                assert (told.number, told.move) == (number, None if number is None else moves[number - 1]), self.seed
                self.seen["explained"] += 1
                self.seen["later"] += told.stays == "LATER_PLAN"


class Promise:
    """What a plan promises, by the snapshot it was computed from."""

    def __init__(self, seed: int, snapshot: PlacementSnapshot, proposal: Proposal) -> None:
        self._seed, self._proposal = seed, proposal
        self._peaks = peak_loads(proposal)
        self.codes = {violation.code for violation in proposal.violations}
        self._excepted = {
            (one.namespace, one.node_id)
            for one in proposal.violations
            if one.code in ("PEAK_EXCEEDED", "BOUND_EXCEEDED")
        }
        self.policies = {space.name: space.policy for space in snapshot.namespaces}
        nodes = {node.node_id: node for node in snapshot.nodes}
        scope = proposal.scope or EVERYTHING
        placed = {
            space.name: place_namespace(space, snapshot.shards[space.name], nodes, STRATEGIES, scope)
            for space in snapshot.namespaces
        }
        self._placements = {name: one for name, one in placed.items() if one.placer is not None}
        for name, placement in self._placements.items():
            before = {shard.shard_id: shard.owner_node_id for shard in placement.shards}
            after = before | {move.shard_id: move.to_node_id for move in placement.moves}
            self._excepted |= {(name, node_id) for owners in (before, after) for node_id in self._above(name, owners)}

    def _above(self, name: str, owners: Mapping[str, str]) -> Sequence[str]:
        """The nodes above a bound, as the strategy has it."""
        placement = self._placements[name]
        held: dict[str, list[float]] = defaultdict(list)
        for shard in placement.shards:
            held[owners[shard.shard_id]].append(shard.capacity_hint)
        assert placement.placer is not None
        return [node_id for node_id, _ in placement.placer.exceeded(held)]

    def check(self, moves_made: int, owners: Mapping[tuple[str, str], str]) -> Iterator[str]:
        """After a wave. What there was to check."""
        held = Counter(owners.values())
        assert all(count <= self._peaks.get(node_id, 0) for node_id, count in held.items()), self._seed
        moved = {move.key for move in self._proposal.moves[:moves_made] if move.changes_owner}
        for name, placement in self._placements.items():
            now = {shard.shard_id: owners[name, shard.shard_id] for shard in placement.shards}
            above = {(name, node_id) for node_id in self._above(name, now)}
            assert above <= self._excepted, (self._seed, above - self._excepted)
            if placement.placer is not None and placement.placer.bounded:
                yield "bounded"
            together = Counter((shard.group, now[shard.shard_id]) for shard in placement.shards if shard.group)
            for shard in placement.shards:
                if shard.group is not None and (name, shard.shard_id) in moved:
                    assert together[shard.group, now[shard.shard_id]] == 1, (self._seed, shard)
                    yield "group"


def some_bounds(random: Random, shards: int, nodes: int) -> Mapping[str, Any]:
    """None, or so tight that the order of moves matters."""
    bounds: dict[str, Any] = {}
    if random.random() < 0.6:
        bounds["maxShardsPerNode"] = -(-shards // nodes) + random.choice([0, 0, 1, 3])
    if random.random() < 0.5:
        bounds |= {
            "maxLoadPercent": random.choice([100, 105, 125, 200]),
            "loadBy": random.choice(["count", "capacity"]),
        }
    return bounds


def some_shards(random: Random, namespace: str, count: int, owners: Sequence[str]) -> Iterator[NewShard]:
    """On nodes at random, some of them pinned, many in groups of two or three."""
    size = random.choice([0, 2, 3])
    for number in range(count):
        owner = random.choice(owners)
        pinned = owner != "gone" and random.random() < 0.05
        yield new(
            f"s{number:03}",
            owner,
            namespace=namespace,
            capacity_hint=random.choice([1.0, 1.0, 0.0, 2.5, 7.0]),
            anti_affinity_group=f"g{number // size}" if size and random.random() < 0.7 else None,
            pin=PinRequest("keep it") if pinned else None,
            leader_id=random.choice([None, owner, random.choice(owners)]),
        )
