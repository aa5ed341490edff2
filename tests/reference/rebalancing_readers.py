"""The readers behind rebalancing: nodes, plans, and what plans are made of."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from persistence.codec.json_documents import configured_node
from persistence.model.paging import Page, PageRequest
from persistence.model.plans import RebalancePlan
from persistence.model.queries import NodeFilter, PlanFilter
from persistence.model.records import AsOf, Change, Node, NodeStatus, Shard
from persistence.planning import lifecycle
from persistence.planning.proposal import Proposal
from persistence.planning.snapshot import PlacedShard, PlacementSnapshot
from tests.reference.readers import page_by
from tests.reference.tables import Memory, Tables


class MemoryNodes:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def get(self, node_id: str, *, shards_counted: bool = True) -> Node | None:
        return self._found(node_id, shards_counted=shards_counted)

    async def page(self, where: NodeFilter, page: PageRequest[str], *, shards_counted: bool = True) -> Page[Node]:
        found = (self._found(node_id, shards_counted=shards_counted) for node_id in self._memory.tables.registered)
        nodes = [node for node in found if node is not None and _among(where, node)]
        return page_by(lambda node: node.node_id, nodes, page)

    async def page_as_of(self, where: NodeFilter, page: PageRequest[str], as_of: AsOf) -> Page[Node]:
        registered = self._memory.tables.registered
        newest: dict[str, Change] = {}
        for change in self._memory.tables.changes_at(as_of):
            if change.configuration is not None and change.configuration.node_id is not None:
                newest[change.configuration.node_id] = change
        nodes = [
            configured_node(
                node_id,
                registered[node_id].created_at,
                change.change_ticket,
                change.committed_at,
                change.configuration.current,
            )
            for node_id, change in newest.items()
            if change.configuration is not None
        ]
        return page_by(lambda node: node.node_id, [node for node in nodes if _among(where, node)], page)

    async def statuses(self, node_ids: Sequence[str]) -> Mapping[str, NodeStatus]:
        registered = self._memory.tables.registered
        return {node_id: registered[node_id].status for node_id in node_ids if node_id in registered}

    async def around(self, node_id: str, limit: int) -> Sequence[str]:
        nodes = self._memory.tables.registered.values()
        names = sorted(node.node_id for node in nodes if node.status is not NodeStatus.REMOVED)
        return [*names[: bisect_left(names, node_id)][-limit:], *names[bisect_right(names, node_id) :][:limit]]

    def _found(self, node_id: str, *, shards_counted: bool) -> Node | None:
        tables = self._memory.tables
        return tables.node(node_id) if shards_counted else tables.uncounted(node_id)

    async def absent(self, node_ids: Collection[str]) -> Collection[str]:
        nodes = self._memory.tables.registered
        return {each for each in node_ids if each not in nodes or nodes[each].status is NodeStatus.REMOVED}


class MemoryPlans:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def get(self, plan_id: str) -> RebalancePlan | None:
        stored, tables = self._memory.tables.plans.get(plan_id), self._memory.tables
        return None if stored is None else _shown(stored.plan, tables, self._memory.clock())

    async def proposal(self, plan_id: str) -> Proposal | None:
        stored = self._memory.tables.plans.get(plan_id)
        return None if stored is None else stored.proposal

    async def page(self, where: PlanFilter, page: PageRequest[int]) -> Page[RebalancePlan]:
        return page_by(lambda plan: plan.created.id, self._matching(where), page, descending=True)

    def _matching(self, where: PlanFilter) -> Sequence[RebalancePlan]:
        tables, now = self._memory.tables, self._memory.clock()
        plans = (_shown(stored.plan, tables, now) for stored in tables.plans.values())
        return [
            plan
            for plan in plans
            if (where.namespace is None or where.namespace in plan.namespaces)
            and (where.statuses is None or plan.status in where.statuses)
            and (where.kinds is None or plan.kind in where.kinds)
        ]


class MemoryPlacement:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def snapshot(self, namespaces: Collection[str] | None = None) -> PlacementSnapshot:
        tables, now = self._memory.tables, self._memory.clock()
        spaces = [
            space for name, space in sorted(tables.namespaces.items()) if namespaces is None or name in namespaces
        ]
        nodes = [node for node in map(tables.uncounted, sorted(tables.registered)) if node is not None]
        shards: dict[str, list[PlacedShard]] = {space.name: [] for space in spaces}
        for key, shard in sorted(tables.shards.items()):
            if key.namespace in shards:
                pinned = shard.pinned is not None and (shard.pinned.until is None or shard.pinned.until > now)
                shards[key.namespace].append(_placed(shard, pinned=pinned))
        present = [node for node in nodes if node.status is not NodeStatus.REMOVED]
        return PlacementSnapshot(tables.head.position, spaces, present, shards)


def _shown(plan: RebalancePlan, tables: Tables, now: datetime) -> RebalancePlan:
    return replace(lifecycle.as_of(plan, now), newest_change=len(tables.changes))


def _placed(shard: Shard, *, pinned: bool) -> PlacedShard:
    return PlacedShard(
        shard.shard_id,
        shard.owner_node_id,
        shard.version,
        shard.strategy,
        shard.capacity_hint,
        shard.locality_hint,
        pinned,
        shard.anti_affinity_group,
        shard.leader_id,
    )


def _among(where: NodeFilter, node: Node) -> bool:
    present = node.status is not NodeStatus.REMOVED
    return (
        (present if where.statuses is None else node.status in where.statuses)
        and (where.regions is None or node.region in where.regions)
        and (where.zones is None or node.zone in where.zones)
    )
