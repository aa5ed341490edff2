"""The lives of plans: every command in every status, and random lives of many plans, rollbacks among them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from itertools import product
from pathlib import Path
from typing import Any, Final, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from persistence.commands.plans import ApplyPlan, ApprovePlan, RejectPlan, StopPlan
from persistence.model.outcomes import PlanApplied, PlanChanged, PlanClosed, StalePlan
from persistence.model.plans import PlanStatus, RebalancePlan
from persistence.model.records import ChangeKind, Rebalance, ShardKey
from persistence.planning import lifecycle
from persistence.planning.lifecycle import PlanAction, after
from tests.reference.store import memory_store
from tests.support.mesh import CHANGE, patch
from tests.support.model import first_broken_link, replay
from tests.support.planned_mesh import PlannedMesh

T = TypeVar("T")
DOCUMENTED: Final = (Path(__file__).parents[2] / "docs" / "governance.md").read_text(encoding="utf-8")
NODES: Final = ("node-a", "node-b", "node-c")
CLOSED: Final = (
    PlanStatus.REJECTED,
    PlanStatus.EXPIRED,
    PlanStatus.SUPERSEDED,
    PlanStatus.APPLIED,
    PlanStatus.NOTHING_TO_DO,
)


def test_every_command_in_every_status_leads_where_the_documentation_says() -> None:
    lines = DOCUMENTED.splitlines()
    (head,) = [line for line in lines if line.startswith("| status | `PROPOSE` |")]
    first = lines.index(head) + 2
    rows = lines[first : first + len(PlanStatus)]
    actions = [PlanAction(name) for name in re.findall(r"`([A-Z]+)`", head)]
    assert sorted(actions) == sorted(PlanAction)
    assert [re.findall(r"`([A-Z_]+)`", row)[0] for row in rows] == list(PlanStatus)
    for row, status in zip(rows, PlanStatus, strict=True):
        cells = [cell.strip().strip("`") for cell in row.strip("|").split("|")][1:]
        assert cells == [lifecycle.TRANSITIONS[status].get(action, "") for action in actions], status


def test_what_is_drawn_is_what_is_allowed() -> None:
    drawn = re.findall(r"^ +([A-Z]+) --> ([A-Z]+): (\w+)", DOCUMENTED, re.MULTILINE)
    allowed = {
        (str(status), str(reached), action.lower())
        for status, actions in lifecycle.TRANSITIONS.items()
        for action, reached in actions.items()
    }
    by_time = {(str(status), "EXPIRED", "time") for status in lifecycle.EXPIRING}
    last = {(str(status), "APPLIED", "last") for status in lifecycle.OPEN}
    assert set(drawn) == allowed | by_time | last


def test_a_plan_that_ended_moves_nothing_and_the_last_move_ends_it() -> None:
    for status, action, left in product(PlanStatus, PlanAction, (0, 1)):
        reached = after(status, action, moves_left=left)
        if status in CLOSED:
            assert reached in (None, PlanStatus.PROPOSED)
        if action in (PlanAction.APPLY, PlanAction.RESUME) and reached is not None:
            assert reached is (PlanStatus.APPLYING if left else PlanStatus.APPLIED)
        else:
            assert reached is not PlanStatus.APPLIED
    assert set(lifecycle.OPEN) == set(PlanStatus) - set(CLOSED)


class PlanLives(RuleBasedStateMachine):
    """Plans of a small mesh, decided on, applied and taken back in any order, while shards are edited by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.mesh = PlannedMesh(memory_store())

    def teardown(self) -> None:
        self.runner.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.wait(self.mesh.configure())
        self.wait(self.mesh.registered(*NODES))
        self.wait(self.mesh.filled(8))

    @rule(max_moves=st.sampled_from([10_000, 3]), waves=st.integers(0, 4))
    def plan(self, max_moves: int, waves: int) -> None:
        """Made, and begun before any other command."""
        plan = self.wait(self.mesh.plan(max_moves=max_moves)).plan
        for _ in range(min(waves, plan.move_count - plan.moves_made)):
            made = plan.moves_made
            plan = self.wait(self.mesh.apply(plan, 1)).plan
            assert plan.moves_made == made + 1

    @rule(number=st.integers(0, 7), owner=st.sampled_from(NODES), leader=st.sampled_from([None, *NODES]))
    def edit(self, number: int, owner: str, leader: str | None) -> None:
        shard = self.wait(self.mesh.table())[ShardKey("billing", f"s{number:04}")]
        self.wait(self.mesh.update(patch(shard, owner_node_id=owner, leader_id=leader)))

    @rule(back=st.integers(1, 4))
    def roll_back(self, back: int) -> None:
        """What was done last to shards; they have not changed since, so that owners are restored exactly."""
        head = self.wait(self.mesh.store.stream.head()).revision
        before = max(0, head - back)
        if before < 8:  # the shards were created then
            return
        plan = self.wait(self.mesh.roll_back(since_revision=before)).plan
        assert self.wait(self.mesh.proposal(plan)).rollback.conflicts == ()  # type: ignore[union-attr]
        if plan.move_count:
            self.wait(self.mesh.apply(plan))
        then, now = replay(self.wait(self.mesh.history())[:before]), self.wait(self.mesh.table())
        assert {key: (shard.owner_node_id, shard.leader_id) for key, shard in now.items()} == {
            key: (shard.owner_node_id, shard.leader_id) for key, shard in then.items()
        }

    @precondition(lambda self: self.wait(self.mesh.plans()))
    @rule(data=st.data(), kind=st.sampled_from([ApprovePlan, RejectPlan, StopPlan, ApplyPlan, ApplyPlan, ApplyPlan]))
    def decide(self, data: st.DataObject, kind: Any) -> None:
        plans = [plan for plan in self.wait(self.mesh.plans()) if plan.move_count]
        if not plans:
            return
        plan: RebalancePlan = data.draw(st.sampled_from(plans[:4]))
        size, resume = data.draw(st.sampled_from([None, 1, 2])), data.draw(st.booleans())
        command = ApplyPlan(plan.id, CHANGE, size, resume) if kind is ApplyPlan else kind(plan.id, CHANGE)
        action = {ApprovePlan: PlanAction.APPROVE, RejectPlan: PlanAction.REJECT, StopPlan: PlanAction.STOP}.get(
            kind, PlanAction.RESUME if resume and plan.moves_made else PlanAction.APPLY
        )
        outcome = self.wait(self.mesh.execute(command))
        if after(plan.status, action, moves_left=1) is None:
            assert outcome == PlanClosed(plan)
        elif isinstance(outcome, StalePlan):
            assert kind in (ApplyPlan, ApprovePlan)
            assert outcome.shards
        else:
            assert isinstance(outcome, PlanApplied | PlanChanged)
            left = plan.move_count - outcome.plan.moves_made
            assert outcome.plan.status is after(plan.status, action, moves_left=left)

    @invariant()
    def table_and_history_agree(self) -> None:
        history, changes = self.wait(self.mesh.history()), self.wait(self.mesh.changes())
        assert self.wait(self.mesh.table()) == replay(history)
        assert first_broken_link(changes, history) is None

    @invariant()
    def a_move_is_made_at_most_once_and_in_order(self) -> None:
        history, changes = self.wait(self.mesh.history()), self.wait(self.mesh.changes())
        for plan in self.wait(self.mesh.plans()):
            waves = {
                change.id
                for change in changes
                if change.kind is ChangeKind.APPLY_PLAN and isinstance(change.rebalance, Rebalance)
                if change.rebalance.plan_id == plan.id
            }
            made = [row.key for row in history if row.change.id in waves]
            moves = self.wait(self.mesh.proposal(plan)).moves
            assert made == [move.key for move in moves[: plan.moves_made]]


def test_plans_keep_every_promise_whatever_is_done_with_them() -> None:
    run_state_machine_as_test(PlanLives, settings=settings(max_examples=12, stateful_step_count=25, deadline=None))
