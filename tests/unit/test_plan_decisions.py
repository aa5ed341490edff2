"""What keeping and applying a plan writes, given what is there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from persistence.codec.encoding import digest_term, shard_checksum
from persistence.codec.json_documents import read_details
from persistence.commands.command import ChangeRequest, request_digest
from persistence.commands.plans import ApplyPlan, ApprovePlan, StorePlan
from persistence.commands.read_state import DecisionInputs, ReadSet, ReadState, StoredPlan
from persistence.commands.write_set import NamespaceDelta, WriteSet, proposed
from persistence.handlers.dispatch import decide
from persistence.handlers.plans import reads_of
from persistence.model.outcomes import NotFound, PlanClosed, PlanKnown
from persistence.model.plans import PlanStatus, RebalancePlan
from persistence.model.records import (
    Change,
    ChangeKind,
    DiffKind,
    MoveReason,
    NodeStatus,
    Pin,
    Rebalance,
    Shard,
    ShardContent,
    ShardKey,
    ShardStatus,
)
from persistence.planning.proposal import Move, Proposal
from tests.support.proposals import proposal
from tests.support.snapshots import STRATEGIES, namespace, node

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEEK: Final = timedelta(days=7)
CHANGE: Final = ChangeRequest("ops", "because", "CHG-9")
MOVES: Final = (
    Move("orders", "s1", 3, "node-a", "node-c", MoveReason.OWNER_DOWN),
    Move("orders", "s0", 3, "node-a", "node-b", MoveReason.PLACEMENT_CHANGED),
)
PROPOSAL: Final = proposal(*MOVES)
CREATED: Final = Change(
    5, ChangeKind.PLAN_REBALANCE, "ops", "why", None, None, ("orders",), None, None, 0, NOON, "0" * 64, None,
)  # fmt: skip


def shard(shard_id: str, **content: Any) -> Shard:
    given = {
        "strategy": "ring",
        "owner_node_id": "node-a",
        "leader_id": "node-l",
        "capacity_hint": 1.5,
        "locality_hint": "eu",
        "status": ShardStatus.PAUSED,
        "pinned": Pin("ops", "hot", NOON),
        "change_ticket": "CHG-1",
        **content,
    }
    key = ShardKey("orders", shard_id)
    return Shard(*key, **given, version=3, owner_epoch=2, checksum=shard_checksum(key, ShardContent(**given)),
                 revision=4, created_at=NOON, updated_at=NOON)  # fmt: skip


def kept(what: Proposal = PROPOSAL) -> StoredPlan:
    return StoredPlan(proposed(what, CREATED, WEEK), what)


def there(plan: StoredPlan | None) -> ReadState:
    shards = {one.key: one for one in (shard("s0"), shard("s1"))}
    nodes = {node_id: node(node_id) for node_id in ("node-b", "node-c")}
    namespaces, inputs = {"orders": namespace("orders", shard_count=100)}, DecisionInputs()
    return ReadState(namespaces, shards, nodes=nodes, plan=plan, inputs=inputs)


def written(command: StorePlan | ApplyPlan | ApprovePlan, state: ReadState) -> WriteSet:
    decision = decide(command, state, STRATEGIES)
    assert isinstance(decision, WriteSet), decision
    return decision


def test_a_new_plan_is_kept_as_it_was_proposed() -> None:
    write_set = written(StorePlan(PROPOSAL, CHANGE), there(None))
    assert (write_set.kind, write_set.namespaces, write_set.shards) == (ChangeKind.PLAN_REBALANCE, ("orders",), ())
    assert (write_set.proposal, write_set.rebalance) == (PROPOSAL, Rebalance(PROPOSAL.id, 2, 100))
    plan = proposed(PROPOSAL, CREATED, WEEK)
    assert plan == RebalancePlan(
        PROPOSAL.id, PlanStatus.PROPOSED, 7, ("orders",), 2, 100, CREATED, NOON + WEEK, CREATED
    )


def test_a_plan_that_is_kept_already_is_known() -> None:
    assert decide(StorePlan(PROPOSAL, CHANGE), there(kept()), STRATEGIES) == PlanKnown(kept().plan)


@pytest.mark.parametrize("command", [ApplyPlan(PROPOSAL.id, CHANGE), ApprovePlan(PROPOSAL.id, CHANGE)])
def test_a_plan_is_begun_before_it_expires_and_not_only_decided_on(command: ApplyPlan | ApprovePlan) -> None:
    assert written(command, there(kept())).conditions.expires_at == NOON + WEEK


def test_a_plan_that_was_begun_goes_on_after_its_expiry() -> None:
    plan = kept()
    begun = replace(plan, plan=replace(plan.plan, status=PlanStatus.APPLYING, moves_made=1))
    assert written(ApplyPlan(PROPOSAL.id, CHANGE), there(begun)).conditions.expires_at is None


def test_what_was_asked_for_is_the_request_and_not_what_came_of_it() -> None:
    command = StorePlan(PROPOSAL, CHANGE, ("orders",), 5)
    assert request_digest(command) == request_digest(replace(command, proposal=proposal()))
    others = (replace(command, namespaces=None), replace(command, max_moves=6))
    assert len({*map(request_digest, (command, *others)), request_digest(ApplyPlan(PROPOSAL.id, CHANGE))}) == 4


def test_a_plan_relies_on_configurations_destinations_and_shards() -> None:
    assert ApplyPlan(PROPOSAL.id, CHANGE).reads == StorePlan(PROPOSAL, CHANGE).reads == ReadSet(plan=PROPOSAL.id)
    assert reads_of(ApplyPlan(PROPOSAL.id, CHANGE), kept()) == ReadSet(
        older_than=CREATED.id,
        namespaces=["orders"],
        nodes=["node-b", "node-c"],
        shards=[move.key for move in MOVES],
        moves=True,
    )


def test_a_move_changes_owner_strategy_and_ticket_alone() -> None:
    write_set = written(ApplyPlan(PROPOSAL.id, CHANGE), there(kept()))
    assert (write_set.kind, write_set.proposal) == (ChangeKind.APPLY_PLAN, None)
    assert write_set.rebalance == Rebalance(PROPOSAL.id, 2, 100)
    for write, move in zip(write_set.shards, MOVES, strict=True):
        before = shard(move.shard_id)
        assert (write.key, write.kind, write.previous, write.move_reason) == (
            move.key,
            DiffKind.UPDATED,
            before,
            move.reason,
        )
        assert write.content == replace(
            before.content, strategy="rendezvous", owner_node_id=move.to_node_id, change_ticket="CHG-9"
        )
        assert (write.version, write.owner_epoch) == (4, 3)
    terms = [(digest_term(w.key.shard_id, 3, shard(w.key.shard_id).checksum), w) for w in write_set.shards]
    digest = 0
    for before_term, write in terms:
        digest ^= before_term ^ digest_term(write.key.shard_id, 4, write.checksum)
    assert write_set.deltas == (NamespaceDelta("orders", digest, 0),)


def test_the_audit_digest_covers_the_reason_of_a_move() -> None:
    down = written(ApplyPlan(PROPOSAL.id, CHANGE), there(kept()))
    (first, *rest) = down.shards
    other = replace(down, shards=(first._replace(move_reason=MoveReason.OWNER_REMOVED), *rest))
    none = replace(down, shards=(first._replace(move_reason=None), *rest))
    assert len({down.digest(), other.digest(), none.digest()}) == 3


def test_a_plan_that_was_applied_is_closed() -> None:
    plan = replace(kept().plan, status=PlanStatus.APPLIED, moves_made=2)
    state = there(StoredPlan(plan, PROPOSAL))
    assert decide(ApplyPlan(plan.id, CHANGE), state, STRATEGIES) == PlanClosed(plan)


def test_a_plan_that_is_not_there_is_not_found() -> None:
    assert decide(ApplyPlan("0" * 32, CHANGE), there(None), STRATEGIES) == NotFound(plans=("0" * 32,))


@pytest.mark.parametrize("status", [status for status in NodeStatus if status is not NodeStatus.ACTIVE])
def test_whatever_is_gone_is_told_with_what_is_there_instead(status: NodeStatus) -> None:
    state = there(kept())
    changed = replace(shard("s1"), version=4)
    state = replace(
        state,
        namespaces={},
        shards={changed.key: changed},
        nodes={"node-c": node("node-c", status)},
    )
    outcome = decide(ApplyPlan(PROPOSAL.id, CHANGE), state, STRATEGIES)
    assert not isinstance(outcome, WriteSet)
    assert [(one.key.shard_id, one.expected, one.actual, one.current) for one in getattr(outcome, "shards", ())] == [
        ("s1", 3, 4, changed),
        ("s0", 3, 0, None),
    ]
    assert getattr(outcome, "namespaces", None) == ("orders",)
    assert getattr(outcome, "node_ids", None) == ("node-b", "node-c")


def test_what_a_change_says_of_a_plan_is_read_again() -> None:
    rebalance = Rebalance("0" * 32, 3, 12)
    assert read_details({"plan": "0" * 32, "moved": 3, "shardCount": 12}) == (None, rebalance, None)
    assert read_details(None) == (None, None, None)
