"""The auditor itself: it names what was tampered with, and plans that did what they may not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from persistence.model.records import Change, ChangeKind, Rebalance, ShardDiff, ShardKey
from tests.reference.store import memory_store
from tests.support.mesh import because
from tests.support.planned_mesh import PlannedMesh
from tests.support.recount import broken_promises
from tests.support.replay import contradictions

APPLIED = 8
"""The change that makes the plan's moves."""


@pytest.fixture
async def mesh() -> PlannedMesh:
    """A plan of two moves was proposed by ops, approved by bob, and applied."""
    mesh = PlannedMesh(memory_store())
    await mesh.configure()
    await mesh.registered("node-a", "node-b")
    await mesh.filled(12)
    await mesh.updated((await mesh.table())[ShardKey("billing", "s0000")], leader_id="x")
    plan = (await mesh.plan(max_moves=2)).plan
    await mesh.approve(plan, change=because("fine", actor="bob"))
    applied = await mesh.apply(plan)
    assert (applied.change.id, applied.change.shard_count) == (APPLIED, 2)
    return mesh


async def test_an_untouched_log_is_in_order(mesh: PlannedMesh) -> None:
    changes, history, table = await mesh.changes(), await mesh.history(), await mesh.table()
    assert [*contradictions(changes, history, table), *broken_promises(changes, history)] == []


async def test_every_gap_and_difference_is_named(mesh: PlannedMesh) -> None:
    changes, history, table = await mesh.changes(), await mesh.history(), await mesh.table()
    last = history[-1]
    assert last.current is not None
    for tampered, named in (
        (contradictions([*changes[:2], *changes[3:]], history, table), "ids of changes have gaps"),
        (contradictions(changes, [*history[:3], *history[4:]], table), "revisions have gaps"),
        (contradictions(changes, [*history[:-1], replace(last, version=7)], table), "version 7"),
        (contradictions(changes, [*history[:-1], replace(last, previous=None)], table), "not what the row before left"),
        (contradictions(changes, history, table | {last.key: replace(last.current, leader_id="y")}), "the table has"),
        (contradictions([changes[0], changes[2], changes[1], *changes[3:]], history, table), "committed before"),
    ):
        assert any(named in sentence for sentence in tampered), named


async def test_a_plan_that_is_applied_as_it_may_not_be_is_named(mesh: PlannedMesh) -> None:
    changes, history = await mesh.changes(), await mesh.history()
    applied = changes[APPLIED - 1]
    assert applied.rebalance is not None
    again = [*changes, replace(applied, id=APPLIED + 1)], [*history, *_own(history, APPLIED, APPLIED + 1)]
    assert {"PLAN_CLOSED", "MOVED_ONCE"} <= _rules(*again)
    rejected = replace(applied, kind=ChangeKind.REJECT_PLAN, shard_count=0)
    assert "PLAN_CLOSED" in _rules([*changes[: APPLIED - 1], rejected, again[0][-1]], [*history[:-2], *again[1][-2:]])
    late = replace(applied, kind=ChangeKind.APPROVE_PLAN, shard_count=0)
    assert "APPROVED_LATE" in _rules([*changes, late], history)
    more = replace(applied, rebalance=Rebalance(applied.rebalance.plan_id, 3, 12))
    assert "MOVED_ONCE" in _rules([*changes[: APPLIED - 1], more], history)


def _own(history: Sequence[ShardDiff], change_id: int, number: int) -> Sequence[ShardDiff]:
    """The rows of a change, as if another had made them."""
    return [replace(row, change=replace(row.change, id=number)) for row in history if row.change.id == change_id]


def _rules(changes: Sequence[Change], history: Sequence[ShardDiff]) -> set[str]:
    return {sentence.split(" of ")[0].split()[-1] for sentence in broken_promises(changes, history)}
