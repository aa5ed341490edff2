"""The service behind plans and explanations: takes a snapshot, computes in a thread, stores what is to be stored.

No more than `AT_ONCE` at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from persistence.commands.command import ChangeRequest
from persistence.commands.plans import DEFAULT_LIFETIME, RollbackTarget, StorePlan, StoreRollback
from persistence.commands.read_state import ReadSet
from persistence.handlers.rules.policies import waits
from persistence.model import fields as rules
from persistence.model.fields import Problems
from persistence.model.outcomes import NotFound, Outcome
from persistence.model.records import ShardKey
from persistence.planning.explanation import Explanation, explain
from persistence.planning.planner import MAX_MOVES, propose
from persistence.planning.proposal import NOTHING, Proposal
from persistence.planning.snapshot import PlacementSnapshot
from persistence.planning.what_if import DrainPreflight, WhatIf, preflight, suppose
from persistence.service.executor import CommandExecutor
from persistence.service.rollback import Past, propose_rollback, written
from strategies.registry import Registry

AT_ONCE: Final = 2
"""Snapshots that are worked on at a time in one process: each holds the shards of its namespaces in memory, and what
computes with them takes turns with every lookup."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """`namespaces` null: all of them. A plan may be begun within `lifetime_seconds`."""

    namespaces: Sequence[str] | None = None
    max_moves: int = MAX_MOVES
    lifetime_seconds: int = DEFAULT_LIFETIME

    def add_problems(self, problems: Problems) -> None:
        rules.add_identifiers_problems(problems, "namespaces", self.namespaces)
        if self.namespaces is not None and not self.namespaces:
            problems.add("namespaces", "must name at least one namespace; leave it out for all of them")
        if not 1 <= self.max_moves <= MAX_MOVES:
            problems.add("maxMoves", f"must be between 1 and {MAX_MOVES:,}, not {self.max_moves:,}")


class Rebalancer:
    """Raises InvalidArgument for what breaks a rule, PlacementImpossible where nothing can be placed."""

    def __init__(self, store: Past, writer: CommandExecutor, strategies: Registry) -> None:
        self._store = store
        self._placement = store.placement
        self._writer = writer
        self._strategies = strategies
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def simulate(self, request: PlanRequest, what_if: WhatIf) -> Proposal | NotFound:
        """What a plan would hold if the mesh were different. Nothing is stored."""
        _check(request.add_problems, lambda problems: what_if.add_problems(problems, self._strategies))
        async with self._turns:
            snapshot = await self._snapshot(request.namespaces)
            if isinstance(snapshot, NotFound):
                return snapshot
            return await asyncio.to_thread(_proposed, snapshot, what_if, self._strategies, request.max_moves)

    async def plan(self, request: PlanRequest, change: ChangeRequest) -> Outcome:
        """A plan of the mesh as it is, stored so that it can be reviewed and applied."""
        _check(request.add_problems)
        names = None if request.namespaces is None else tuple(sorted(set(request.namespaces)))
        command = StorePlan(NOTHING, change, names, request.max_moves, request.lifetime_seconds)
        if (answered := await self._writer.replayed(command)) is not None:
            return answered
        proposal = await self.simulate(request, WhatIf())
        if isinstance(proposal, NotFound):
            return proposal
        return await self._writer.execute(replace(command, proposal=proposal))

    async def roll_back(self, target: RollbackTarget, request: PlanRequest, change: ChangeRequest) -> Outcome:
        """A plan that takes changes back, stored as any other; of `request`, how much and for how long. Also raises
        Compacted and FutureCursor, where history does not have what is to be taken back."""
        _check(request.add_problems)
        command = StoreRollback(NOTHING, change, target, request.max_moves, request.lifetime_seconds)
        if (answered := await self._writer.replayed(command)) is not None:
            return answered
        async with self._turns:
            proposal = await propose_rollback(self._store, target, self._strategies, request.max_moves)
        if isinstance(proposal, NotFound):
            return proposal
        return await self._writer.execute(replace(command, proposal=proposal))

    async def explain(self, key: ShardKey) -> Explanation | NotFound:
        """Why a shard is where it is."""
        async with self._turns:
            snapshot = await self._snapshot([key.namespace])
            if isinstance(snapshot, NotFound):
                return snapshot
            found = await asyncio.to_thread(explain, snapshot, key.namespace, key.shard_id, self._strategies)
        if found is None or found.move is None:
            return found or NotFound(shards=(key,))
        async with self._store.unit_of_work() as unit:
            state = await unit.read(ReadSet(namespaces=(key.namespace,), shards=(key,), moves=True))
        waiting = waits(state, found.move, found.limited) if key.namespace in state.namespaces else ()
        return replace(found, waits=tuple(waiting))

    async def preflight(self, node_id: str) -> DrainPreflight | NotFound:
        """What draining the node would do, and what stands in the way."""
        _check(lambda problems: problems.add("nodeId", rules.identifier_problem(node_id)))
        async with self._turns:
            snapshot = await self._placement.snapshot()
            if all(node.node_id != node_id for node in snapshot.nodes):
                return NotFound(nodes=(node_id,))
            return await asyncio.to_thread(preflight, snapshot, node_id, self._strategies)

    async def _snapshot(self, namespaces: Sequence[str] | None) -> PlacementSnapshot | NotFound:
        snapshot = await self._placement.snapshot(namespaces)
        missing = set(namespaces or ()) - {namespace.name for namespace in snapshot.namespaces}
        return NotFound(namespaces=tuple(sorted(missing))) if missing else snapshot


def _check(*rules_of: Callable[[Problems], None]) -> None:
    """Raises InvalidArgument with everything that is wrong."""
    problems = Problems()
    for add_problems in rules_of:
        add_problems(problems)
    problems.raise_if_any()


def _proposed(snapshot: PlacementSnapshot, what_if: WhatIf, strategies: Registry, max_moves: int) -> Proposal:
    return written(propose(suppose(snapshot, what_if, strategies), strategies, max_moves=max_moves))
