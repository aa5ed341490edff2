"""Carries intents out against a store, whatever it holds by now, and notes what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from persistence.commands.command import ChangeRequest, Command
from persistence.commands.nodes import UpdateNode
from persistence.commands.plans import ApplyPlan, ApprovePlan, RejectPlan, RollbackTarget, StopPlan
from persistence.commands.shards import CreateShards, DeleteShards, PinRequest, ShardPatch, UpdateShards
from persistence.errors import InvalidArgument, TransientConflict
from persistence.model.outcomes import Outcome
from persistence.model.paging import PageRequest
from persistence.model.plans import PlanStatus, RebalancePlan
from persistence.model.queries import ChangeFilter, PlanFilter, ShardFilter
from persistence.model.records import ChangeKind, NodeStatus, Shard, ShardKey, ShardStatus
from persistence.planning.lifecycle import OPEN
from persistence.planning.planner import PlacementImpossible
from persistence.service.rebalancer import PlanRequest
from tests.governance.deeds import Deed
from tests.governance.intents import Intent
from tests.governance.scenario import NODES, Scenario
from tests.governance.tally import Tally
from tests.support.mesh import as_it_is, because, new, patch
from tests.support.planned_mesh import PlannedMesh

_LATEST: Final = 4
"""Plans and changes that are looked at: older plans are mostly stale."""


class Operator:
    """One of those who share a store. Every request is a new one: none is retried."""

    def __init__(self, mesh: PlannedMesh, scenario: Scenario, tally: Tally) -> None:
        self._mesh = mesh
        self._scenario = scenario
        self._tally = tally

    async def do(self, intent: Intent) -> None:
        try:
            outcome = await self._done(intent)
        except (InvalidArgument, PlacementImpossible, TransientConflict) as refused:
            self._tally.add_error(intent.deed, refused)
        else:
            self._tally.add(intent.deed, outcome)

    async def _done(self, intent: Intent) -> Outcome | None:
        """Null where there was nothing to do it to."""
        change = because(str(intent.deed), actor=intent.actor, change_ticket=intent.ticket, forced=intent.forced)
        match intent.deed:
            case Deed.PLAN:
                names = [intent.namespace] if intent.size > 1 else sorted({intent.namespace, self._scenario.names[0]})
                most = intent.random.choice([1, 3, 10, 40])
                return await self._mesh.rebalancer.plan(PlanRequest(names, most), change)
            case Deed.ROLL_BACK:
                return await self._roll_back(intent, change)
            case Deed.APPROVE | Deed.REJECT | Deed.APPLY | Deed.STOP:
                command: Command | None = await self._on_plan(intent, change)
            case Deed.CHANGE_NODE:
                command = await self._on_node(intent, change)
            case _:
                command = await self._on_shards(intent, change)
        return None if command is None else await self._mesh.execute(command)

    async def _roll_back(self, intent: Intent, change: ChangeRequest) -> Outcome | None:
        kinds = (ChangeKind.UPDATE_SHARDS, ChangeKind.APPLY_PLAN)
        latest = ChangeFilter(intent.namespace, kinds=kinds)
        page = await self._mesh.store.changes.page(latest, PageRequest(_LATEST), newest_first=True)
        if not page.items:
            return None
        target = RollbackTarget(change_id=intent.random.choice(page.items).id)
        return await self._mesh.rebalancer.roll_back(target, PlanRequest(), change)

    async def _on_plan(self, intent: Intent, change: ChangeRequest) -> Command | None:
        plan = await self._plan(intent)
        if plan is None:
            return None
        match intent.deed:
            case Deed.APPROVE:
                return ApprovePlan(plan.id, change)
            case Deed.REJECT:
                return RejectPlan(plan.id, change)
            case Deed.STOP:
                return StopPlan(plan.id, change)
            case _:
                most = intent.random.choice([None, 1, 2, 5])
                return ApplyPlan(plan.id, change, most, resume=intent.random.random() < 0.5)

    async def _plan(self, intent: Intent) -> RebalancePlan | None:
        """One of the latest of the namespace with something to decide on, rather a newer one; a closed one at times."""
        closed_too = intent.random.random() < 0.1
        waits = (PlanStatus.PROPOSED,) if intent.deed is Deed.APPROVE else OPEN
        where = PlanFilter(intent.namespace, None if closed_too else waits)
        page = await self._mesh.store.plans.page(where, PageRequest(_LATEST))
        plans = [plan for plan in page.items if plan.move_count]
        return plans[int(len(plans) * intent.random.random() ** 3)] if plans else None

    async def _on_node(self, intent: Intent, change: ChangeRequest) -> Command:
        node = await self._mesh.node(intent.random.choice(NODES))
        status = intent.random.choice([NodeStatus.ACTIVE] * 4 + [NodeStatus.CORDONED, NodeStatus.DRAINING])
        return UpdateNode(node.node_id, node.version, change, weight=intent.random.choice([1, 1, 2]), status=status)

    async def _on_shards(self, intent: Intent, change: ChangeRequest) -> Command | None:
        random = intent.random
        if intent.deed is Deed.CREATE:
            # After those of the beginning: `_shards` reads on from one of them.
            names = (f"t{random.getrandbits(40):010x}" for _ in range(intent.size))
            group = random.choice([None, _group(intent, self._scenario.shards_each)])
            shards = [
                new(name, random.choice(NODES), namespace=intent.namespace, anti_affinity_group=group) for name in names
            ]
            return CreateShards(shards, change)
        there = await self._shards(intent)
        if not there:
            return None
        if intent.deed is Deed.DELETE:
            return DeleteShards([as_it_is(shard) for shard in there], change)
        return UpdateShards([self._patch(intent, shard) for shard in there], change)

    def _patch(self, intent: Intent, shard: Shard) -> ShardPatch:
        random = intent.random
        match intent.deed:
            case Deed.PIN:
                end = random.choice([None, timedelta(seconds=random.uniform(0.2, 3))])
                return patch(shard, pin=PinRequest("as it is", None if end is None else datetime.now(UTC) + end))
            case Deed.UNPIN:
                return patch(shard, pin=None, **random.choice([{}, {"owner_node_id": random.choice(NODES)}]))
            case Deed.REGROUP:
                return patch(
                    shard, anti_affinity_group=random.choice([None, _group(intent, self._scenario.shards_each)])
                )
            case Deed.EDIT:
                status = random.choice([ShardStatus.ACTIVE, ShardStatus.PAUSED])
                return patch(shard, status=status, leader_id=random.choice(NODES), capacity_hint=random.random())
            case _:
                return patch(shard, owner_node_id=random.choice(NODES))

    async def _shards(self, intent: Intent) -> Sequence[Shard]:
        """Neighbours, of which some are of one group. There may be fewer than wanted."""
        after = ShardKey(intent.namespace, f"s{int(intent.place * self._scenario.shards_each):04}")
        page = PageRequest(intent.size, after)
        return (await self._mesh.store.shards.page(ShardFilter(intent.namespace), page)).value.items


def _group(intent: Intent, shards_each: int) -> str:
    """One of the groups that there are in the beginning."""
    return f"g{2 * intent.random.randrange(1 + shards_each // 6)}"
