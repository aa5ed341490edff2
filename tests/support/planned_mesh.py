"""A store with nodes and plans, and the things to do with them, in few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from persistence.commands.command import ChangeRequest
from persistence.commands.nodes import RegisterNode, UpdateNode
from persistence.commands.plans import ApplyPlan, ApprovePlan, RejectPlan, RollbackTarget, StopPlan
from persistence.model.outcomes import NodeChanged, Outcome, PlanApplied, PlanChanged, PlanProposed
from persistence.model.paging import Page, PageRequest
from persistence.model.plans import RebalancePlan
from persistence.model.queries import NodeFilter, PlanFilter
from persistence.model.records import Node, Shard
from persistence.planning.planner import MAX_MOVES
from persistence.planning.proposal import Proposal
from persistence.service.rebalancer import PlanRequest, Rebalancer
from strategies.registry import Registry
from tests.support.mesh import BILLING, CHANGE, Mesh, everything, new


@dataclass(frozen=True)
class PlannedMesh(Mesh):
    """Commands that must succeed, and reads of everything there is."""

    @cached_property
    def rebalancer(self) -> Rebalancer:
        return Rebalancer(self.store, self.writer, Registry())

    async def register(self, node_id: str, *, change: ChangeRequest = CHANGE, **fields: Any) -> NodeChanged:
        return node_changed(await self.execute(RegisterNode(node_id, change, **fields)))

    async def registered(self, *node_ids: str, **fields: Any) -> Sequence[Node]:
        return [(await self.register(node_id, **fields)).node for node_id in node_ids]

    async def change_node(self, node: Node, *, change: ChangeRequest = CHANGE, **fields: Any) -> NodeChanged:
        """A change that expects the node as it is given."""
        return node_changed(await self.execute(UpdateNode(node.node_id, node.version, change, **fields)))

    async def mark(self, node_id: str, **fields: Any) -> NodeChanged:
        """A change of the node at whatever version it is."""
        return await self.change_node(await self.node(node_id), **fields)

    async def filled(self, count: int, owner: str = "node-a", namespace: str = BILLING) -> Sequence[Shard]:
        """So many shards on one node."""
        shards = (new(f"s{number:04}", owner, namespace=namespace) for number in range(count))
        return (await self.create(*shards)).shards

    async def unbalanced(self) -> Sequence[Shard]:
        """Three nodes, one of which owns all 12 shards."""
        await self.registered("node-a", "node-b", "node-c")
        return await self.filled(12)

    async def plan(self, *namespaces: str, max_moves: int = MAX_MOVES, change: ChangeRequest = CHANGE) -> PlanProposed:
        outcome = await self.rebalancer.plan(PlanRequest(namespaces or None, max_moves), change)
        assert isinstance(outcome, PlanProposed), outcome
        return outcome

    async def plan_to_rescue(self, count: int) -> PlanProposed:
        """A plan that moves so many shards of a node that is not there to one that is."""
        await self.registered("node-a")
        await self.filled(count, "gone")
        return await self.plan()

    async def ask_to_apply(
        self, plan: RebalancePlan, max_moves: int | None = None, *, change: ChangeRequest = CHANGE, resume: bool = False
    ) -> Outcome:
        return await self.execute(ApplyPlan(plan.id, change, max_moves, resume))

    async def apply(
        self, plan: RebalancePlan, max_moves: int | None = None, *, change: ChangeRequest = CHANGE, resume: bool = False
    ) -> PlanApplied:
        outcome = await self.ask_to_apply(plan, max_moves, change=change, resume=resume)
        assert isinstance(outcome, PlanApplied), outcome
        return outcome

    async def approve(self, plan: RebalancePlan, *, change: ChangeRequest = CHANGE) -> RebalancePlan:
        return plan_changed(await self.execute(ApprovePlan(plan.id, change)))

    async def reject(self, plan: RebalancePlan, *, change: ChangeRequest = CHANGE) -> RebalancePlan:
        return plan_changed(await self.execute(RejectPlan(plan.id, change)))

    async def stop(self, plan: RebalancePlan, *, change: ChangeRequest = CHANGE) -> RebalancePlan:
        return plan_changed(await self.execute(StopPlan(plan.id, change)))

    async def roll_back(
        self, *, max_moves: int = MAX_MOVES, change: ChangeRequest = CHANGE, **target: Any
    ) -> PlanProposed:
        request = PlanRequest(None, max_moves)
        outcome = await self.rebalancer.roll_back(RollbackTarget(**target), request, change)
        assert isinstance(outcome, PlanProposed), outcome
        return outcome

    async def kept_plan(self, plan: RebalancePlan) -> RebalancePlan:
        """As it is now."""
        found = await self.store.plans.get(plan.id)
        assert found is not None
        return found

    async def node(self, node_id: str) -> Node:
        found = await self.store.nodes.get(node_id)
        assert found is not None
        return found

    async def nodes(self, where: NodeFilter | None = None) -> Sequence[Node]:
        async def fetch(request: PageRequest[str]) -> Page[Node]:
            return await self.store.nodes.page(where or NodeFilter(), request)

        return await everything(fetch, lambda node: node.node_id)

    async def plans(self, where: PlanFilter | None = None) -> Sequence[RebalancePlan]:
        """Newest first."""

        async def fetch(request: PageRequest[int]) -> Page[RebalancePlan]:
            return await self.store.plans.page(where or PlanFilter(), request)

        return await everything(fetch, lambda plan: plan.created.id)

    async def proposal(self, plan: RebalancePlan) -> Proposal:
        found = await self.store.plans.proposal(plan.id)
        assert found is not None
        return found

    async def everything_kept(self) -> tuple[object, ...]:
        """To be compared with itself after what must leave no trace."""
        head = await self.store.stream.head()
        return head, await self.changes(), await self.table(), await self.nodes(), await self.plans()


def plan_changed(outcome: Outcome) -> RebalancePlan:
    """The plan after a decision that must have been made."""
    assert isinstance(outcome, PlanChanged), outcome
    return outcome.plan


def node_changed(outcome: Outcome) -> NodeChanged:
    """The outcome of a command that must have changed a node."""
    assert isinstance(outcome, NodeChanged), outcome
    return outcome
