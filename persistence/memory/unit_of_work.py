"""One transaction at a time: whoever is inside holds the lock until it leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from persistence.circumstances import Asked, Circumstances
from persistence.memory.commit import committed
from persistence.memory.policy_facts import policy_facts
from persistence.memory.tables import Memory
from persistence.outcomes import Committed, PlanApplied, PlanChanged, PlanProposed
from persistence.planning import lifecycle
from persistence.read_set import ReadSet
from persistence.records import Change, PlanKind, RebalancePlan, ShardKey
from persistence.writes import ReadState, WriteSet


class MemoryUnitOfWork:
    """Nothing is written before `commit`, so leaving without it leaves no trace."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def earlier(self, actor: str, idempotency_key: str) -> tuple[bytes, Committed] | None:
        found = self._memory.tables.answers.get((actor, idempotency_key))
        if found is None:
            return None
        digest, answer = found
        if isinstance(answer, PlanProposed | PlanApplied | PlanChanged):
            # What became of a plan since is told, as the counts of a node are.
            answer = replace(answer, plan=self._memory.plan(answer.plan.id).plan)
        return digest, answer

    async def read(self, reads: ReadSet) -> ReadState:
        """The one lock is held already; whatever is asked for lies under it."""
        tables = self._memory.tables
        node_of = tables.node if reads.configure else tables.uncounted
        nodes = ((node_id, node_of(node_id)) for node_id in reads.nodes)
        namespaces = {name: tables.namespaces[name] for name in reads.namespaces if name in tables.namespaces}
        return ReadState(
            namespaces,
            {key: tables.shards[key] for key in reads.shards if key in tables.shards},
            {key: tables.tombstones[key] for key in reads.shards if key in tables.tombstones},
            {node_id: node for node_id, node in nodes if node is not None},
            None if reads.plan is None or reads.plan not in tables.plans else self._memory.plan(reads.plan),
            () if reads.older_than is None else self._older(reads.older_than, reads.namespaces),
            *policy_facts(tables, namespaces.values(), reads, self._memory.clock),
        )

    def _older(self, change_id: int, namespaces: Collection[str]) -> tuple[RebalancePlan, ...]:
        plans = (self._memory.plan(plan_id).plan for plan_id in self._memory.tables.plans)
        return tuple(
            plan
            for plan in sorted(plans, key=lambda plan: -plan.created.id)
            if plan.created.id < change_id
            and plan.kind is PlanKind.REBALANCE
            and plan.status in lifecycle.OPEN
            and not set(namespaces).isdisjoint(plan.namespaces)
        )

    async def look(self, asked: Asked) -> Circumstances:
        tables = self._memory.tables
        nodes = ((node_id, tables.uncounted(node_id)) for node_id in asked.node_ids)
        return Circumstances(
            self._memory.clock() if asked.time else None,
            {node_id: node for node_id, node in nodes if node is not None},
            {group: tables.members(group) for group in asked.groups},
        )

    async def last_changes(self, shards: Collection[ShardKey]) -> Mapping[ShardKey, Change]:
        wanted = set(shards)
        return {row.key: row.change for row in self._memory.tables.history if row.key in wanted}

    async def last_configuration(self, namespace: str) -> Change | None:
        changes = reversed(self._memory.tables.changes)
        return next((one for one in changes if one.configuration and one.configuration.namespace == namespace), None)

    async def last_node_change(self, node_id: str) -> Change | None:
        changes = reversed(self._memory.tables.changes)
        return next((one for one in changes if one.configuration and one.configuration.node_id == node_id), None)

    async def barrier(self) -> None:
        """There is no copy that could lack what is read here."""

    async def commit(self, write_set: WriteSet) -> Committed:
        tables, answer = committed(self._memory.tables, write_set, self._memory.clock())
        self._memory.publish(tables)
        return answer


class MemoryUnitsOfWork:
    """The store's UnitOfWorkFactory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[MemoryUnitOfWork]:
        async with self._memory.writing:
            yield MemoryUnitOfWork(self._memory)
