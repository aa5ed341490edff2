"""Mutations that look at more than they change before they write: making a plan, and draining a node."""

from dataclasses import replace
from typing import Annotated, TypeAlias

import strawberry

from graph.context import Info
from graph.inputs.nodes import DrainNodeInput
from graph.inputs.rebalancing import PlanRebalanceInput, RollbackChangeInput
from graph.outcomes import DrainBlocked, InvalidInput, NodeDrained, PlacementImpossible
from persistence.errors import InvalidArgument
from persistence.outcomes import NodeChanged, NotFound, Outcome
from persistence.planning import planner
from persistence.planning.preflight import NOTHING_TO_DRAIN

Planned: TypeAlias = Outcome | PlacementImpossible | InvalidInput
Drained: TypeAlias = Outcome | NodeDrained | DrainBlocked | InvalidInput
_What = strawberry.argument(description="What to do, by whom, and why.")


async def plan_rebalance(
    info: Info,
    input: Annotated[PlanRebalanceInput, _What],  # noqa: A002 - by schema
) -> Planned:
    try:
        return await info.context.rebalancer.plan(input.request(), input.change.request(info.context.principal))
    except InvalidArgument as refused:
        return InvalidInput.of(refused)
    except planner.PlacementImpossible as impossible:
        return PlacementImpossible.of(impossible)


async def rollback_change(
    info: Info,
    input: Annotated[RollbackChangeInput, _What],  # noqa: A002 - by schema
) -> Outcome | InvalidInput:
    try:
        return await info.context.rebalancer.roll_back(
            input.target(), input.request(), input.change.request(info.context.principal)
        )
    except InvalidArgument as refused:
        return InvalidInput.of(refused)


async def drain_node(info: Info, input: Annotated[DrainNodeInput, _What]) -> Drained:  # noqa: A002 - by schema
    try:
        return await _drain(info, input)
    except InvalidArgument as refused:
        return InvalidInput.of(refused)


async def _drain(info: Info, request: DrainNodeInput) -> Drained:
    """Raises InvalidArgument."""
    command = request.command(info.context.principal)
    answered = await info.context.writer.replayed(command)
    preflight = await info.context.rebalancer.preflight(command.node_id)
    if answered is None:
        if isinstance(preflight, NotFound):
            return preflight
        if preflight.blockers and not request.accept_blockers:
            return DrainBlocked(preflight)
        answered = await info.context.writer.execute(command)
    if isinstance(answered, NodeChanged):
        seen = NOTHING_TO_DRAIN if isinstance(preflight, NotFound) else preflight
        return NodeDrained(answered.change, answered.node, replace(seen, node_id=command.node_id), answered.replayed)
    return answered
