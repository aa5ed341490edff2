"""One unit of work: decided on the tables as they were, committed on the tables as they are if nothing read differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from persistence.commands.read_state import DecisionInputs, InputsRequired, ReadSet, ReadState, RecentMoves, StoredPlan
from persistence.commands.write_set import WriteSet
from persistence.errors import StoreError, TransientConflict
from persistence.handlers.rules.policies import depending_on_time, limiting_moves
from persistence.model.outcomes import Committed, PlanApplied, PlanChanged, PlanProposed
from persistence.model.plans import PlanKind, RebalancePlan
from persistence.model.records import Change, ConfigurationChange, Namespace, Node, NodeStatus, ShardKey
from persistence.planning import lifecycle
from persistence.planning.waves import is_limited
from persistence.ports.writes import CONFIGURATIONS
from tests.reference.commit import committed
from tests.reference.tables import Clock, Memory, Tables


class MemoryUnitOfWork:
    """Nothing is written before `commit`, so leaving without it leaves no trace."""

    def __init__(self, memory: Memory, *read: tuple[ReadSet, ReadState]) -> None:
        self._memory = memory
        self._tables = memory.tables
        self._reads = list(read)
        self._inputs = DecisionInputs()

    async def earlier(self, actor: str, idempotency_key: str) -> tuple[bytes, Committed] | None:
        found = self._tables.answers.get((actor, idempotency_key))
        if found is None:
            return None
        digest, answer = found
        if isinstance(answer, PlanProposed | PlanApplied | PlanChanged):
            # With what became of a plan since, as with the counts of a node.
            answer = replace(answer, plan=self._plan(answer.plan.id).plan)
        return digest, answer

    async def read(self, reads: ReadSet) -> ReadState:
        tables = self._tables
        node_of = tables.node if reads.configure else tables.uncounted
        nodes = ((node_id, node_of(node_id)) for node_id in reads.nodes)
        namespaces = {name: tables.namespaces[name] for name in reads.namespaces if name in tables.namespaces}
        state = ReadState(
            namespaces,
            {key: tables.shards[key] for key in reads.shards if key in tables.shards},
            {key: tables.tombstones[key] for key in reads.shards if key in tables.tombstones},
            {node_id: node for node_id, node in nodes if node is not None},
            None if reads.plan is None or reads.plan not in tables.plans else self._plan(reads.plan),
            () if reads.older_than is None else self._older(reads.older_than, reads.namespaces),
            *policy_facts(tables, namespaces.values(), reads, self._memory.clock),
        )
        self._reads.append((reads, state))
        return state

    def _plan(self, plan_id: str) -> StoredPlan:
        """With the status it has now."""
        stored = self._tables.plans[plan_id]
        return replace(stored, plan=lifecycle.as_of(stored.plan, self._memory.clock()))

    def _older(self, change_id: int, namespaces: Collection[str]) -> tuple[RebalancePlan, ...]:
        plans = (self._plan(plan_id).plan for plan_id in self._tables.plans)
        return tuple(
            plan
            for plan in sorted(plans, key=lambda plan: -plan.created.id)
            if plan.created.id < change_id
            and plan.kind is PlanKind.REBALANCE
            and plan.status in lifecycle.OPEN
            and not set(namespaces).isdisjoint(plan.namespaces)
        )

    async def read_inputs(self, required: InputsRequired) -> DecisionInputs:
        nodes = ((node_id, self._tables.uncounted(node_id)) for node_id in required.node_ids)
        self._inputs = DecisionInputs(
            self._memory.clock() if required.clock else None,
            {node_id: node for node_id, node in nodes if node is not None},
            {group: self._tables.members(group) for group in required.groups},
        )
        self._reads.append((ReadSet(nodes=required.node_ids), ReadState(nodes=self._inputs.nodes)))
        return self._inputs

    async def last_changes(self, shards: Collection[ShardKey]) -> Mapping[ShardKey, Change]:
        keys = set(shards)
        return {row.key: row.change for row in self._tables.history if row.key in keys}

    async def last_configuration(self, namespace: str) -> Change | None:
        changes = reversed(self._tables.changes)
        return next((one for one in changes if one.configuration and one.configuration.namespace == namespace), None)

    async def last_node_change(self, node_id: str) -> Change | None:
        changes = reversed(self._tables.changes)
        return next((one for one in changes if one.configuration and one.configuration.node_id == node_id), None)

    async def changed_fields(self, since: Mapping[ShardKey, int]) -> Mapping[ShardKey, Sequence[str]]:
        rows = [row for row in self._tables.history if row.key in since and row.version > since[row.key]]
        return {
            key: sorted({name for row in rows if row.key == key for name in row.changed_fields})
            for key in {row.key for row in rows}
        }

    async def configurations(self, namespace: str, version: int) -> Sequence[Change]:
        return self._configured(version, lambda configuration: configuration.namespace == namespace)

    async def node_changes(self, node_id: str, version: int) -> Sequence[Change]:
        return self._configured(version, lambda configuration: configuration.node_id == node_id)

    def _configured(self, version: int, of: Callable[[ConfigurationChange], bool]) -> Sequence[Change]:
        return [
            change
            for change in reversed(self._tables.changes)
            if (made := change.configuration) is not None and of(made) and made.current["version"] > version
        ][:CONFIGURATIONS]

    async def barrier(self) -> None:
        """There is no copy that could lack what is read here."""

    async def commit(self, write_set: WriteSet) -> Committed:
        tables = self._memory.tables
        broken = next(_broken(tables, write_set, self._reads, self._inputs), None)
        if broken is not None:
            raise TransientConflict(f"the {broken} that this change was decided on changed before it was committed")
        after, answer = committed(tables, write_set, self._memory.clock())
        self._memory.publish(after)
        return answer


def _broken(
    tables: Tables, write_set: WriteSet, read: Sequence[tuple[ReadSet, ReadState]], inputs: DecisionInputs
) -> Iterator[str]:
    """What is not as it was read."""
    request = write_set.request
    if request.idempotency_key is not None and (request.actor, request.idempotency_key) in tables.answers:
        yield "idempotency key"
    written = {write.key for write in write_set.shards}
    for reads, state in read:
        if _versions(reads.namespaces, state.namespaces) != _versions(reads.namespaces, tables.namespaces):
            yield "namespaces"
        if _versions(reads.nodes, state.nodes) != _versions(reads.nodes, tables.registered):
            yield "nodes"
        if any(_latest(tables.plans.get(plan_id)) != latest for plan_id, latest in _plans_read(reads, state)):
            yield "plans"
        keys = written.intersection(reads.shards) if written else reads.shards
        if any(state.shards.get(key) != tables.shards.get(key) for key in keys):
            yield "shards"
        if any(state.tombstones.get(key) != tables.tombstones.get(key) for key in keys):
            yield "shards"
    if any(tables.members(group) != members for group, members in inputs.groups.items()):
        yield "anti-affinity groups"
    removed = write_set.node
    if removed is not None and removed.status is NodeStatus.REMOVED and tables.in_use(removed.node_id):
        yield "node's shards"


def _versions(names: Sequence[str], members: Mapping[str, Namespace] | Mapping[str, Node]) -> list[int | None]:
    """Null for what is not there."""
    return [members[name].version if name in members else None for name in names]


def _latest(stored: StoredPlan | None) -> int | None:
    return None if stored is None else stored.plan.latest.id


def _plans_read(reads: ReadSet, state: ReadState) -> Iterator[tuple[str, int | None]]:
    if reads.plan is not None:
        yield reads.plan, _latest(state.plan)
    for older in state.older:
        yield older.id, older.latest.id


class MemoryUnitsOfWork:
    """The store's UnitOfWorkFactory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[MemoryUnitOfWork]:
        yield MemoryUnitOfWork(self._memory)


class MemoryGroup:
    """Each change in turn, on the tables that the one before has left."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._state = ReadState()

    async def limit(self, seconds: float) -> None:
        """Nothing waits here."""

    async def read(self, shards: Sequence[ShardKey], node_ids: Collection[str] = ()) -> ReadState:
        names = list({key.namespace for key in shards})
        reads = ReadSet(namespaces=names, nodes=sorted(node_ids), shards=shards)
        state = await MemoryUnitOfWork(self._memory).read(reads)
        required = any(one.policy.owners_must_be_registered for one in state.namespaces.values())
        nodes_read = frozenset(node_ids if required else ())
        self._state = replace(state, nodes=state.nodes if required else {}, nodes_read=nodes_read)
        return self._state

    async def commit(self, changes: Sequence[tuple[ReadSet, WriteSet]]) -> Sequence[Committed | StoreError]:
        return [await self._commit(reads, write_set) for reads, write_set in changes]

    async def _commit(self, reads: ReadSet, write_set: WriteSet) -> Committed | StoreError:
        try:
            return await MemoryUnitOfWork(self._memory, (reads, self._state)).commit(write_set)
        except TransientConflict as conflict:
            return conflict


class MemoryGroups:
    """The store's ChangeGroupFactory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[MemoryGroup]:
        yield MemoryGroup(self._memory)


def policy_facts(
    tables: Tables, namespaces: Iterable[Namespace], reads: ReadSet, clock: Clock
) -> tuple[datetime | None, datetime | None, RecentMoves]:
    """`now`, `clock` and `recent` of the state that is read."""
    timed = depending_on_time(namespaces, reads)
    if not timed:
        return None, None, RecentMoves()
    time = clock()
    now = max(time, tables.changes[-1].committed_at)
    moves: Counter[str] = Counter()
    of_shards: Counter[ShardKey] = Counter()
    for namespace in limiting_moves(timed, reads):
        begins = time - timedelta(seconds=namespace.policy.window_seconds)
        moved = [row for row in tables.history if row.namespace == namespace.name and row.moves]
        moved = [row for row in moved if is_limited(row.move_reason, namespace.policy)]
        within = [row.key for row in moved if row.change.committed_at > begins]
        moves[namespace.name] = len(within)
        of_shards.update(within)
    return now, time, RecentMoves(moves, of_shards, tables.revision)
