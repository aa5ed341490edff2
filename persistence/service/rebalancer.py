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
from persistence.errors import FieldError, InvalidArgument
from persistence.handlers.rules.policies import waits
from persistence.model import fields as rules
from persistence.model.fields import Problems
from persistence.model.outcomes import NotFound, Outcome
from persistence.model.records import ShardKey
from persistence.planning.explanation import Explanation, explain
from persistence.planning.planner import MAX_MOVES, propose
from persistence.planning.proposal import NOTHING, Proposal
from persistence.planning.scope import NOT_NARROWED, Narrowing, check_vacated
from persistence.planning.snapshot import PlacementSnapshot
from persistence.planning.what_if import DrainPreflight, WhatIf, preflight, suppose, vacated
from persistence.service.executor import CommandExecutor
from persistence.service.rollback import Past, propose_rollback, written
from strategies.parameters import MAX_THRESHOLD
from strategies.placing import keeps_owners
from strategies.registry import Registry

AT_ONCE: Final = 2
"""Snapshots that are worked on at a time in one process: each holds the shards of its namespaces in memory, and what
computes with them takes turns with every lookup."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """`namespaces` null: all of them. A plan may be begun within `lifetime_seconds`.

    `threshold`, in per cent, is for namespaces whose strategies keep owners: loads are brought as close to the nodes'
    shares, with the fewest moves.
    """

    namespaces: Sequence[str] | None = None
    max_moves: int = MAX_MOVES
    lifetime_seconds: int = DEFAULT_LIFETIME
    narrowing: Narrowing = NOT_NARROWED
    threshold: int | None = None

    def add_problems(self, problems: Problems) -> None:
        rules.add_identifiers_problems(problems, "namespaces", self.namespaces)
        if self.namespaces is not None and not self.namespaces:
            problems.add("namespaces", "must name at least one namespace; leave it out for all of them")
        if not 1 <= self.max_moves <= MAX_MOVES:
            problems.add("maxMoves", f"must be between 1 and {MAX_MOVES:,}, not {self.max_moves:,}")
        self.narrowing.add_problems(problems)
        if self.threshold is not None and not 0 <= self.threshold <= MAX_THRESHOLD:
            problems.add("threshold", f"must be between 0 and {MAX_THRESHOLD}, not {self.threshold:,}")


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
        return await self._proposal(request, what_if)

    async def plan(self, request: PlanRequest, change: ChangeRequest) -> Outcome:
        """A plan of the mesh as it is, stored so that it can be reviewed and applied."""
        _check(request.add_problems)
        names = None if request.namespaces is None else tuple(sorted(set(request.namespaces)))
        command = StorePlan(
            NOTHING,
            change,
            names,
            request.max_moves,
            request.lifetime_seconds,
            None if request.narrowing == NOT_NARROWED else request.narrowing,
            request.threshold,
        )
        if (answered := await self._writer.replayed(command)) is not None:
            return answered
        proposal = await self._proposal(request, None)
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

    async def preflight(self, nodes: Narrowing) -> DrainPreflight | NotFound:
        """What draining these nodes together would do, and what stands in the way."""
        _check(nodes.add_problems)
        async with self._turns:
            snapshot = await self._placement.snapshot()
            scope = nodes.scope(snapshot)
            if isinstance(scope, NotFound):
                return scope
            if missing := set(scope.vacate) - {node.node_id for node in snapshot.nodes}:
                return NotFound(nodes=tuple(sorted(missing)))
            return await asyncio.to_thread(preflight, snapshot, scope.vacate, self._strategies)

    async def _proposal(self, request: PlanRequest, what_if: WhatIf | None) -> Proposal | NotFound:
        """`what_if` null: of the mesh as it is, to be stored."""
        async with self._turns:
            snapshot = await self._snapshot(request.namespaces)
            if isinstance(snapshot, NotFound):
                return snapshot
            return await asyncio.to_thread(_proposed, snapshot, request, what_if, self._strategies)

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


def _proposed(
    snapshot: PlacementSnapshot, request: PlanRequest, what_if: WhatIf | None, strategies: Registry
) -> Proposal | NotFound:
    """Raises InvalidArgument for places without nodes, nodes that would not stay vacated, and a threshold where it has
    no meaning."""
    supposed = snapshot if what_if is None else suppose(snapshot, what_if, strategies)
    scope = request.narrowing.scope(supposed)
    if isinstance(scope, NotFound):
        return scope
    if what_if is None:
        check_vacated(supposed, scope, request.narrowing)
    if request.threshold is not None:
        _check_threshold(supposed, strategies)
    proposal = propose(
        vacated(supposed, scope),
        strategies,
        max_moves=request.max_moves,
        scope=scope,
        threshold=request.threshold,
    )
    return written(proposal)


def _check_threshold(snapshot: PlacementSnapshot, strategies: Registry) -> None:
    """Raises InvalidArgument for namespaces whose shards go where their strategy places them, however loads are, and
    for those whose loads are no numbers of shards."""
    placed = [
        space
        for space in snapshot.namespaces
        if space.strategy in strategies and not keeps_owners(strategies[space.strategy])
    ]
    if placed:
        rest = f" and {len(placed) - 1:,} more" if len(placed) > 1 else ""
        message = (
            f"is for strategies that keep owners, such as sticky; {placed[0].strategy} places the shards of "
            f"{placed[0].name}{rest}: name the namespaces to balance"
        )
        raise InvalidArgument(FieldError("threshold", message))
    for space in snapshot.namespaces:
        if space.strategy_parameters.get("loadBy") == "capacity":
            message = f"counts shards, and the load of {space.name} is capacity (loadBy)"
            raise InvalidArgument(FieldError("threshold", message))
