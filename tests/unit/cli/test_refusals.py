"""Why a change was refused, in a sentence for each kind of answer that is stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from graph.cli.refusals.list import why_refused
from persistence.commands.command import Command
from persistence.commands.nodes import UpdateNode
from persistence.commands.plans import ApplyPlan
from persistence.commands.refusals import Forbidden, refusal_of
from persistence.model.outcomes import (
    BrokenRule,
    IdempotencyKeyReused,
    NodeInUse,
    NotFound,
    PlanClosed,
    PlanKnown,
    PolicyViolation,
    Refused,
    StaleNamespace,
    StaleNode,
    StalePlan,
    StalePlanned,
    StaleShard,
    VersionConflict,
)
from persistence.model.plans import PlanStatus, RebalancePlan
from persistence.model.policy import PolicyRule
from persistence.model.records import Change, ChangeKind, NodeStatus, ShardKey
from tests.support.mesh import because
from tests.support.snapshots import node

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

APPLY = ApplyPlan("0" * 32, because("apply"))


def change(id_: int = 17) -> Change:
    return Change(id_, ChangeKind.UPDATE_SHARDS, "alice", "hot", None, None, ("orders",), 1, 1, 1, NOON, "0" * 64, None)


def plan(status: PlanStatus) -> RebalancePlan:
    return RebalancePlan("ab" * 16, status, 7, ("orders",), 2, 9, change(), NOON, change())


def stale(number: int, expected: int, actual: int, by: Change | None = None) -> StaleShard:
    return StaleShard(ShardKey("orders", f"s{number}"), expected, actual, None, by)


CASES: list[tuple[Command, Any, str]] = [
    (APPLY, VersionConflict((stale(1, 3, 4, change()),)), "shard orders/s1 was at version 4, not 3, since change 17"),
    (APPLY, VersionConflict((stale(1, 3, 0),)), "shard orders/s1 was not there, so not at version 3"),
    (APPLY, VersionConflict((stale(1, 0, 2),)), "shard orders/s1 was there already, at version 2"),
    (
        APPLY,
        VersionConflict(tuple(stale(number, 1, 2) for number in range(12))),
        "shard orders/s0 was at version 2, not 1 (and 11 more)",
    ),
    (
        APPLY,
        StaleNamespace("orders", 1, 2, None, change()),
        "namespace orders was at version 2, not 1, since change 17",
    ),
    (APPLY, StaleNode("node-1", 0, 2, None, None), "node node-1 was there already, at version 2"),
    (
        UpdateNode("node-1", 1, because("gone"), status=NodeStatus.REMOVED),
        NodeInUse(node("node-1")),
        "node node-1 still owned or led shards",
    ),
    (APPLY, PlanClosed(plan(PlanStatus.STOPPED)), f"plan {'ab' * 16} was STOPPED"),
    (
        APPLY,
        StalePlan(plan(PlanStatus.PROPOSED), (), (), (StalePlanned("node-1", 1, 2), StalePlanned("node-2", 1, 0))),
        f"plan {'ab' * 16} did not fit any more: node node-1 was at version 2, not 1 (and 1 more)",
    ),
    (APPLY, NotFound(plans=("0" * 32,)), f"there was no plan {'0' * 32}"),
    (
        APPLY,
        NotFound(shards=tuple(ShardKey("orders", f"s{number}") for number in range(12))),
        "there was no shard orders/s0, orders/s1, orders/s2 (and 9 more)",
    ),
    (
        APPLY,
        IdempotencyKeyReused("k1", change()),
        "idempotency key k1 belonged to another request, which became change 17",
    ),
    (APPLY, Forbidden("mesh.force"), "the caller's token did not have the scope mesh.force"),
    (
        APPLY,
        PolicyViolation((BrokenRule(PolicyRule.FREEZE, "orders", None, "now", "none", "Wait."),) * 2),
        "FREEZE",
    ),
    (
        APPLY,
        PolicyViolation((BrokenRule(PolicyRule.FREEZE, "orders", None, "x" * 5_000, "none", "Wait."),)),
        "5,128 characters of what was in the way were too many to be stored",
    ),
]


def stored(command: Command, outcome: object) -> dict[str, Any]:
    """As the API has it."""
    write = refusal_of(command, outcome, 0)
    return {"outcome": write.outcome, "request": json.loads(write.request), "details": json.loads(write.details)}


@pytest.mark.parametrize(("command", "outcome", "sentence"), CASES)
def test_each_kind_of_answer_has_a_sentence(command: Command, outcome: object, sentence: str) -> None:
    assert why_refused(stored(command, outcome)) == sentence


def test_no_kind_of_answer_is_left_out() -> None:
    # A plan that is known is answered as one that was proposed.
    kinds = {*get_args(Refused), IdempotencyKeyReused, Forbidden} - {PlanKnown}
    assert {type(outcome) for _, outcome, _ in CASES} == kinds


@pytest.mark.parametrize(
    "refusal",
    [
        {"outcome": "Tomorrows", "request": {}, "details": {"why": "later"}},
        {"outcome": "StaleNode", "request": {}, "details": {"why": "later"}},
        {"outcome": "VersionConflict", "request": {}, "details": {"stale": []}},
    ],
)
def test_what_another_version_stored_is_shown_as_it_is(refusal: dict[str, Any]) -> None:
    assert json.loads(why_refused(refusal)) == refusal["details"]


def test_a_plan_that_an_earlier_version_stored_has_no_status() -> None:
    refusal = {"outcome": "PlanClosed", "request": {}, "details": {"plan": {"id": "ab"}}}
    assert why_refused(refusal) == "plan ab was closed"
