"""Plans that are narrowed, from the request to what is applied: on every store."""

from __future__ import annotations

import pytest

from persistence.errors import InvalidArgument
from persistence.model.outcomes import IdempotencyKeyReused, NotFound, PlanProposed
from persistence.model.records import MoveReason, NodeStatus
from persistence.planning.proposal import Proposal
from persistence.planning.scope import Narrowing, PlanScope
from persistence.planning.what_if import DrainPreflight, WhatIf
from persistence.service.rebalancer import PlanRequest
from tests.support.mesh import CHANGE, because
from tests.support.planned_mesh import PlannedMesh

A = Narrowing(("node-a",))


async def mixed(mesh: PlannedMesh, count: int = 30) -> None:
    """Two nodes in a zone and two in another; all shards are on one of each, so most belong elsewhere."""
    await mesh.configure("search")
    await mesh.registered("node-a", "node-b", zone="z1")
    await mesh.registered("node-c", "node-d", zone="z2")
    await mesh.filled(count, "node-a")
    await mesh.filled(count, "node-c", "search")


async def narrowed(mesh: PlannedMesh, narrowing: Narrowing) -> PlanProposed:
    outcome = await mesh.rebalancer.plan(PlanRequest(narrowing=narrowing), CHANGE)
    assert isinstance(outcome, PlanProposed), outcome
    return outcome


async def proposal_of(mesh: PlannedMesh, made: PlanProposed) -> Proposal:
    found = await mesh.store.plans.proposal(made.plan.id)
    assert found is not None
    return found


async def test_what_a_drain_counts_is_what_its_plan_moves(mesh: PlannedMesh) -> None:
    await mixed(mesh)
    counted = await mesh.rebalancer.preflight(A)
    assert isinstance(counted, DrainPreflight)
    await mesh.mark("node-a", status=NodeStatus.DRAINING)
    made = await narrowed(mesh, A)
    proposal = await proposal_of(mesh, made)
    assert len(counted.moves) == made.plan.move_count == 30
    assert proposal.moves == counted.moves
    assert proposal.scope == PlanScope(("node-a",))
    assert {move.reason for move in proposal.moves} == {MoveReason.OWNER_DRAINING}
    await mesh.apply(made.plan)
    assert (await mesh.node("node-a")).shard_count == 0
    assert (await mesh.node("node-c")).shard_count >= 30


async def test_a_zone_is_vacated_as_its_nodes_are(mesh: PlannedMesh) -> None:
    await mixed(mesh)
    zone = Narrowing(zones=("z1",))
    counted = await mesh.rebalancer.preflight(zone)
    assert isinstance(counted, DrainPreflight)
    assert (counted.node_ids, counted.shard_count, len(counted.moves)) == (("node-a", "node-b"), 30, 30)
    assert {move.to_node_id for move in counted.moves} <= {"node-c", "node-d"}
    for node_id in counted.node_ids:
        await mesh.mark(node_id, status=NodeStatus.DRAINING)
    made = await narrowed(mesh, zone)
    assert (await proposal_of(mesh, made)).moves == counted.moves
    again = await narrowed(mesh, Narrowing(("node-b", "node-a")))
    assert (again.plan.id, again.replayed) == (made.plan.id, True)


async def test_a_plan_does_not_vacate_a_node_that_gets_its_shards_back(mesh: PlannedMesh) -> None:
    await mixed(mesh)
    with pytest.raises(InvalidArgument) as refused:
        await mesh.rebalancer.plan(PlanRequest(narrowing=A), CHANGE)
    assert [one.field for one in refused.value.errors] == ["vacate"]
    simulated = await mesh.rebalancer.simulate(PlanRequest(narrowing=A), WhatIf())
    assert isinstance(simulated, Proposal)
    assert len(simulated.moves) == 30


async def test_only_for_some_reasons(mesh: PlannedMesh) -> None:
    await mixed(mesh)
    await mesh.mark("node-c", status=NodeStatus.DOWN)
    made = await narrowed(mesh, Narrowing(only_reasons=(MoveReason.OWNER_DOWN,)))
    assert made.plan.move_count == 30
    assert {move.from_node_id for move in (await proposal_of(mesh, made)).moves} == {"node-c"}


async def test_a_node_that_is_nowhere_is_not_found(mesh: PlannedMesh) -> None:
    await mixed(mesh)
    nobody = Narrowing(("node-a", "nobody"))
    missing = NotFound(nodes=("nobody",))
    assert await mesh.rebalancer.simulate(PlanRequest(narrowing=nobody), WhatIf()) == missing
    assert await mesh.rebalancer.plan(PlanRequest(narrowing=nobody), CHANGE) == missing
    assert await mesh.rebalancer.preflight(nobody) == missing


async def test_a_key_is_for_a_plan_narrowed_to_the_same(mesh: PlannedMesh) -> None:
    await mixed(mesh)
    await mesh.mark("node-a", status=NodeStatus.DRAINING)
    keyed = because("once", idempotency_key="key-1")
    first = await mesh.rebalancer.plan(PlanRequest(narrowing=A), keyed)
    assert isinstance(first, PlanProposed)
    again = await mesh.rebalancer.plan(PlanRequest(narrowing=A), keyed)
    assert isinstance(again, PlanProposed)
    assert (again.plan, again.replayed) == (first.plan, True)
    for other in (
        PlanRequest(),
        PlanRequest(narrowing=Narrowing(("node-b",))),
        PlanRequest(narrowing=A, threshold=10),
        PlanRequest(narrowing=Narrowing(("node-a",), only_reasons=(MoveReason.OWNER_DRAINING,))),
    ):
        assert await mesh.rebalancer.plan(other, keyed) == IdempotencyKeyReused("key-1", first.change)
