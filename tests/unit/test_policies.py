"""The rules of a policy, its documents, and patterns that cannot run away."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.namespace_declarations import PolicyDeclaration
from graph.schema import namespaces
from graph.schema.namespace_mutations import NamespacePolicyInput
from persistence.codec.encoding import shard_checksum
from persistence.codec.json_documents import read_policy, write_policy
from persistence.commands.command import ChangeRequest, request_digest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.read_state import ReadState, RecentMoves
from persistence.commands.shards import CreateShards, NewShard, ShardPatch, UpdateShards
from persistence.commands.write_set import CommitConditions, WriteSet
from persistence.handlers.dispatch import decide
from persistence.handlers.rules.policies import fewest_shards
from persistence.model.fields import Problems
from persistence.model.outcomes import PolicyViolation
from persistence.model.policy import DEFAULT_POLICY, FreezeWindow, NamespacePolicy, PolicyRule, RecurringFreeze
from persistence.model.policy_rules import add_policy_problems, matches, pattern_problem
from persistence.model.records import Shard, ShardContent, ShardKey, ShardStatus
from persistence.planning.waves import move_budget
from tests.support.snapshots import STRATEGIES, namespace

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
CHANGE = ChangeRequest("ops", "because")


def shard(number: int) -> Shard:
    content = ShardContent("rendezvous", "node-a", None, 1.0, None, ShardStatus.ACTIVE, None, None)
    key = ShardKey("billing", f"s{number}")
    fields: dict[str, Any] = {name: getattr(content, name) for name in ShardContent.__slots__}
    fields |= {"version": 1, "owner_epoch": 1, "revision": 1}
    return Shard(*key, **fields, checksum=shard_checksum(key, content), created_at=NOON, updated_at=NOON)


def state(policy: NamespacePolicy, *, count: int = 100, now: datetime | None = None, recent: int = 0) -> ReadState:
    """Of `billing`, which has so many shards; each was moved `recent` times, as often as all of them together."""
    shards = {one.key: one for one in map(shard, range(12))}
    moves = RecentMoves({"billing": recent}, dict.fromkeys(shards, recent))
    return ReadState({"billing": namespace(policy=policy, shard_count=count)}, shards, now=now, recent=moves)


def moves(count: int, change: ChangeRequest = CHANGE) -> UpdateShards:
    return UpdateShards(
        [ShardPatch("billing", f"s{number}", 1, owner_node_id="node-b") for number in range(count)], change
    )


def rules(policy: NamespacePolicy, command: Any, **more: Any) -> list[PolicyRule]:
    decision = decide(command, state(policy, **more), STRATEGIES)
    return [broken.rule for broken in decision.violations] if isinstance(decision, PolicyViolation) else []


def held(policy: NamespacePolicy, command: Any, **more: Any) -> CommitConditions:
    decision = decide(command, state(policy, **more), STRATEGIES)
    assert isinstance(decision, WriteSet), decision
    return decision.conditions


def test_a_freeze_holds_from_its_beginning_until_right_before_its_end() -> None:
    policy = NamespacePolicy(freezes=(FreezeWindow(NOON, NOON + HOUR, "release"),))
    frozen = {
        moment: rules(policy, moves(1), now=moment) for moment in (NOON - TICK, NOON, NOON + HOUR - TICK, NOON + HOUR)
    }
    assert [*frozen.values()] == [[], [PolicyRule.FREEZE], [PolicyRule.FREEZE], []]


def test_a_change_before_a_freeze_is_to_be_committed_before_it() -> None:
    later = FreezeWindow(NOON + 2 * HOUR, NOON + 3 * HOUR, "later")
    policy = NamespacePolicy(freezes=(later, FreezeWindow(NOON, NOON + HOUR, "release")))
    assert held(policy, moves(1), now=NOON - HOUR) == CommitConditions(NOON - HOUR, NOON)
    assert held(policy, moves(1), now=NOON + HOUR) == CommitConditions(NOON + HOUR, later.begins)
    forced = replace(CHANGE, forced="why")
    assert held(policy, moves(1, forced), now=NOON - HOUR) == CommitConditions(NOON - HOUR)


@pytest.mark.parametrize(
    ("count", "percent", "budget"),
    [(0, 10, 1), (1, 10, 1), (10, 10, 1), (11, 10, 2), (500, 10, 50), (501, 10, 51), (7, 100, 7), (3_000, 0.1, 3),
     (1_000_000, 1e-9, 1), (10_000, 33.3, 3_330)],
)  # fmt: skip
def test_a_budget_is_rounded_up_and_never_less_than_one(count: int, percent: float, budget: int) -> None:
    assert move_budget(count, NamespacePolicy(move_budget_percent=percent)) == budget


@given(
    moved=st.integers(0, 10_000),
    percent=st.integers(1, 100_000).map(lambda thousandths: thousandths / 1_000),
)
def test_the_fewest_shards_are_those_whose_budget_suffices(moved: int, percent: float) -> None:
    policy = NamespacePolicy(move_budget_percent=percent)
    fewest = fewest_shards(moved, policy)
    assert move_budget(fewest, policy) >= moved
    assert fewest == 0 or move_budget(fewest - 1, policy) < moved
    exact = Fraction(str(percent)) * fewest / 100
    assert moved - 1 < exact or moved <= 1


def test_a_budget_that_was_kept_to_must_hold_when_it_is_spent() -> None:
    assert held(DEFAULT_POLICY, moves(1), count=0) == CommitConditions()
    assert held(DEFAULT_POLICY, moves(3), count=21) == CommitConditions(None, None, {"billing": 21})
    assert rules(DEFAULT_POLICY, moves(3), count=20) == [PolicyRule.MOVE_BUDGET]
    assert held(DEFAULT_POLICY, moves(3, replace(CHANGE, forced="why")), count=20) == CommitConditions()


@pytest.mark.parametrize(("recent", "allowed"), [(0, True), (1, True), (2, False), (3, False)])
def test_a_window_holds_as_many_moves_as_it_says(recent: int, allowed: bool) -> None:  # noqa: FBT001 - a column
    whole = rules(NamespacePolicy(window_moves=2), moves(1), now=NOON, recent=recent)
    each = rules(NamespacePolicy(shard_window_moves=2), moves(1), now=NOON, recent=recent)
    assert (whole, each) == (([], []) if allowed else ([PolicyRule.WINDOW_BUDGET], [PolicyRule.SHARD_THRASH]))


def test_forcing_leaves_the_rules_of_tickets_in_force() -> None:
    freeze = FreezeWindow(NOON, NOON + HOUR, "release")
    policy = NamespacePolicy(
        ticket_required=True, move_budget_percent=1, window_moves=1, shard_window_moves=1, freezes=(freeze,)
    )
    facts = {"now": NOON, "recent": 1, "count": 12}
    assert {*rules(policy, moves(2), **facts)} == {
        PolicyRule.TICKET_REQUIRED,
        PolicyRule.FREEZE,
        PolicyRule.MOVE_BUDGET,
        PolicyRule.WINDOW_BUDGET,
        PolicyRule.SHARD_THRASH,
    }
    assert rules(policy, moves(2, replace(CHANGE, forced="why")), **facts) == [PolicyRule.TICKET_REQUIRED]
    assert rules(policy, moves(2, replace(CHANGE, forced="why", change_ticket="CHG-1")), **facts) == []


def test_what_moves_nothing_spends_nothing() -> None:
    policy = NamespacePolicy(move_budget_percent=1, window_moves=1, shard_window_moves=1)
    kept = [ShardPatch("billing", f"s{number}", 1, owner_node_id="node-a", leader_id="x") for number in range(12)]
    assert rules(policy, UpdateShards(kept, CHANGE), now=NOON, recent=9) == []
    created = [NewShard("billing", f"new-{number}", "node-b") for number in range(40)]
    assert rules(policy, CreateShards(created, CHANGE), now=NOON, recent=9) == []


@pytest.mark.parametrize(
    ("pattern", "whole", "not_whole"),
    [
        ("CHG-[0-9]+", ["CHG-1", "CHG-42"], ["xCHG-1", "CHG-1x", "CHG-", "chg-1", "CHG-1\n", ""]),
        ("CHG-1|INC-2", ["CHG-1", "INC-2"], ["CHG-12", "CHG-1|INC-2", "xINC-2"]),
        ("(?i)chg-[[:digit:]]{1,3}", ["CHG-1", "chg-123"], ["chg-1234"]),
        ("Ä.+", ["Äb"], ["Ä", "ab"]),
        (".*", ["anything"], ["two\nlines"]),
    ],
)
def test_a_pattern_matches_the_whole_ticket(pattern: str, whole: list[str], not_whole: list[str]) -> None:
    assert pattern_problem(pattern) is None
    assert [ticket for ticket in (*whole, *not_whole) if matches(pattern, ticket)] == whole


@pytest.mark.parametrize(
    "pattern", ["(a+)+", "(a|a)*", "(a|aa)+", "(.*)*b", "(a*)*b", "a?" * 80 + "a" * 80, "(x+x+)+y"]
)
def test_no_pattern_runs_away(pattern: str) -> None:
    assert pattern_problem(pattern) is None
    began = time.process_time()
    assert not matches(pattern, "a" * 1_023 + "!")
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "pattern", ["(", "[a", "*a", r"(a)\1", "a(?=b)", "(?<!a)b", "a{2,1}", "a{1001}", "((a{100}){100}){100}", r"\pX"]
)
def test_a_pattern_that_could_run_away_or_is_none_is_refused_with_what_is_wrong(pattern: str) -> None:
    problem = pattern_problem(pattern)
    assert problem is not None
    assert problem.startswith("is not a regular expression of RE2: ")
    assert len(problem) > len("is not a regular expression of RE2: ")


FREEZES = st.tuples(st.datetimes(timezones=st.sampled_from([UTC, timezone(HOUR)])), st.text(min_size=1)).map(
    lambda drawn: FreezeWindow(drawn[0], drawn[0] + HOUR, drawn[1])
)
POLICIES = st.builds(
    NamespacePolicy,
    ticket_required=st.booleans(),
    ticket_pattern=st.none() | st.text(min_size=1, max_size=20),
    approval_required=st.booleans(),
    move_budget_percent=st.floats(0, 100, exclude_min=True),
    window_seconds=st.integers(1, 2_592_000),
    window_moves=st.none() | st.integers(1, 10**9),
    shard_window_moves=st.none() | st.integers(1, 10**9),
    freezes=st.lists(FREEZES.filter(lambda freeze: freeze.begins.year < 9_999), max_size=3).map(tuple),
)


@given(POLICIES)
def test_a_policy_is_read_as_it_was_written(policy: NamespacePolicy) -> None:
    assert read_policy(orjson.loads(orjson.dumps(write_policy(policy)))) == policy


def test_every_problem_of_a_policy_is_named_at_once() -> None:
    policy = NamespacePolicy(
        ticket_pattern="x" * 257, move_budget_percent=-1, window_seconds=2_592_001, window_moves=0, shard_window_moves=0
    )
    problems = Problems()
    add_policy_problems(problems, policy)
    assert {error.field: error.message for error in problems} == {
        "policy.ticketPattern": "is 257 characters long; at most 256 are allowed",
        "policy.moveBudgetPercent": "must be more than 0 and at most 100, not -1",
        "policy.windowSeconds": "must be between 1 and 2,592,000, not 2,592,001",
        "policy.windowMoves": "must be between 1 and 1,000,000,000, not 0",
        "policy.shardWindowMoves": "must be between 1 and 1,000,000,000, not 0",
    }


def test_a_request_that_is_not_forced_has_the_digest_it_had_before_any_could_be() -> None:
    command = CreateShards([NewShard("billing", "s1", "node-a")], replace(CHANGE, idempotency_key="k"))
    assert request_digest(command).hex() == "ef7f8030c2f343ce314f6a77e26538af6e8d7afe5db394542709fa1ef2c77afd"
    assert request_digest(replace(command, change=replace(command.change, forced="x"))) != request_digest(command)


def test_a_policy_has_the_same_fields_and_defaults_wherever_it_is_declared() -> None:
    names = [field.name for field in fields(NamespacePolicy)]
    assert list(PolicyDeclaration.model_fields) == names
    for shown in (namespaces.NamespacePolicy, NamespacePolicyInput):
        assert [field.name for field in fields(shown)] == names
    assert PolicyDeclaration().merged(DEFAULT_POLICY) == NamespacePolicyInput().policy() == DEFAULT_POLICY


def test_rules_that_came_later_leave_the_digest_of_requests_without_them() -> None:
    """A retry after an upgrade is the request that it was."""
    command = ConfigureNamespace("billing", "ring", {}, 0, ChangeRequest("ops", "because"), NamespacePolicy())
    weekend = RecurringFreeze("0 18 * * fri", "P2DT14H", "UTC", "weekend")
    later: dict[str, Any] = {
        "involuntary_moves_limited": True,
        "owners_must_be_registered": True,
        "recurring_freezes": (weekend,),
    }
    assert request_digest(command).hex() == "f545425780369fb15df03034b96cf18a9219ec7f0ca3f02a2209c53e43f45d04"
    for name, value in later.items():
        changed = replace(command, policy=replace(DEFAULT_POLICY, **{name: value}))
        assert request_digest(changed) != request_digest(command)


def test_a_document_of_before_is_read_with_the_later_rules_at_their_defaults() -> None:
    document = write_policy(DEFAULT_POLICY)
    del document["involuntaryMovesLimited"], document["ownersMustBeRegistered"], document["recurringFreezes"]
    assert read_policy(document) == DEFAULT_POLICY
