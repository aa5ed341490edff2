"""Policies: configured with the namespace, and kept to by every change of its shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from persistence.codec.json_documents import write_policy
from persistence.commands.command import Command
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.shards import CreateShards, DeleteShards, UpdateShards
from persistence.commands.write_set import WriteSet
from persistence.errors import InvalidArgument
from persistence.handlers.dispatch import decide
from persistence.model.outcomes import BrokenRule, NamespaceConfigured, PlanApplied, PolicyViolation
from persistence.model.policy import DEFAULT_POLICY, FreezeWindow, NamespacePolicy, PolicyRule, RecurringFreeze
from strategies.registry import Registry
from tests.support.mesh import ANY_MOVES, BILLING, CHANGE, SEARCH, Mesh, as_it_is, because, new, patch
from tests.support.model import verified_links
from tests.support.planned_mesh import PlannedMesh
from tests.support.recount import broken_promises

NOW = datetime.now(UTC)
HOURS = timedelta(hours=3)
FROZEN = FreezeWindow(NOW - timedelta(hours=1), NOW + timedelta(hours=9), "quarter end")
FULL = NamespacePolicy(
    ticket_required=True,
    ticket_pattern="(CHG|INC)-[0-9]+",
    approval_required=True,
    move_budget_percent=12.5,
    window_seconds=60,
    window_moves=7,
    shard_window_moves=2,
    involuntary_moves_limited=True,
    owners_must_be_registered=False,
    freezes=(FreezeWindow(NOW + timedelta(days=1), NOW + timedelta(days=2), "Ünïcode freeze"),),
    recurring_freezes=(
        RecurringFreeze("0 18 * * fri", "P2DT14H", "Europe/Berlin", "Wöchentlich"),
        RecurringFreeze("0 0 1 1 *", "P1D", "UTC", "new year", NOW + timedelta(days=1_000)),
    ),
)
TICKET = because("asked for", change_ticket="CHG-1")
FORCED = because("asked for", forced="the region is down")


async def under(mesh: Mesh, **policy: Any) -> None:
    """Give `billing` this policy, with any number of moves a change unless it bounds them."""
    given = NamespacePolicy(**{"move_budget_percent": 100, **policy})
    await mesh.configure(expected=(await mesh.namespace()).version, policy=given)


async def refused(mesh: Mesh, command: Command) -> PolicyViolation:
    """The answer to a command that must be refused, and leave no trace."""
    before = await mesh.store.stream.head(), await mesh.changes(), await mesh.table()
    outcome = await mesh.execute(command)
    assert isinstance(outcome, PolicyViolation), outcome
    assert (await mesh.store.stream.head(), await mesh.changes(), await mesh.table()) == before
    return outcome


async def the_rule(mesh: Mesh, command: Command) -> BrokenRule:
    (broken,) = (await refused(mesh, command)).violations
    return broken


def configuration(policy: NamespacePolicy | None = None, *, expected: int = 1) -> ConfigureNamespace:
    command = ConfigureNamespace(BILLING, "rendezvous", {}, expected, CHANGE)
    return command if policy is None else ConfigureNamespace(BILLING, "rendezvous", {}, expected, CHANGE, policy)


async def test_a_new_namespace_has_the_default_policy(mesh: Mesh) -> None:
    outcome = await mesh.execute(ConfigureNamespace(SEARCH, "ring", {}, 0, CHANGE))
    assert isinstance(outcome, NamespaceConfigured)
    assert outcome.namespace.policy == (await mesh.namespace(SEARCH)).policy == DEFAULT_POLICY


async def test_a_policy_is_kept_as_given_versioned_and_audited(mesh: Mesh) -> None:
    outcome = await mesh.execute(configuration(FULL))
    assert isinstance(outcome, NamespaceConfigured)
    assert (outcome.namespace.policy, outcome.namespace.version) == (FULL, 2)
    assert await mesh.namespace() == outcome.namespace
    configured = outcome.change.configuration
    assert configured is not None
    assert configured.previous is not None
    assert (configured.previous["policy"], configured.current["policy"]) == (
        write_policy(ANY_MOVES),
        write_policy(FULL),
    )


async def test_a_configuration_without_a_policy_keeps_the_one_there_is(mesh: Mesh) -> None:
    await mesh.configure(expected=1, policy=FULL)
    outcome = await mesh.execute(configuration(expected=2))
    assert isinstance(outcome, NamespaceConfigured)
    assert (outcome.namespace.policy, outcome.namespace.version) == (FULL, 3)


async def test_a_retry_is_answered_with_the_policy_it_set(mesh: Mesh) -> None:
    command = ConfigureNamespace(BILLING, "ring", {}, 1, because("strict", idempotency_key="k"), FULL)
    first = await mesh.execute(command)
    await mesh.configure(expected=2)
    again = await mesh.execute(command)
    assert isinstance(first, NamespaceConfigured)
    assert isinstance(again, NamespaceConfigured)
    assert (again.replayed, again.namespace.policy, again.change) == (True, FULL, first.change)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"ticket_pattern": "CHG-("}, "policy.ticketPattern"),
        ({"ticket_pattern": r"(a)\1"}, "policy.ticketPattern"),
        ({"ticket_pattern": ""}, "policy.ticketPattern"),
        ({"ticket_pattern": "a\ud800"}, "policy.ticketPattern"),
        ({"move_budget_percent": 0.0}, "policy.moveBudgetPercent"),
        ({"move_budget_percent": float("nan")}, "policy.moveBudgetPercent"),
        ({"move_budget_percent": 100.5}, "policy.moveBudgetPercent"),
        ({"window_seconds": 0}, "policy.windowSeconds"),
        ({"window_moves": 0}, "policy.windowMoves"),
        ({"shard_window_moves": -1}, "policy.shardWindowMoves"),
        ({"freezes": (FreezeWindow(NOW, NOW, "x"),)}, "policy.freezes[0].ends"),
        ({"freezes": (FROZEN, FreezeWindow(NOW.replace(tzinfo=None), NOW, "x"))}, "policy.freezes[1].begins"),
        ({"freezes": (FreezeWindow(NOW, NOW + timedelta(1), " "),)}, "policy.freezes[0].reason"),
        ({"freezes": (FROZEN,) * 33}, "policy.freezes"),
    ],
)
async def test_a_policy_that_cannot_be_is_refused_by_field(mesh: Mesh, fields: Mapping[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await mesh.execute(configuration(NamespacePolicy(**fields)))
    assert [error.field for error in caught.value.errors] == [named]
    assert (await mesh.namespace()).version == 1


async def test_every_change_of_shards_needs_the_ticket(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    await under(mesh, ticket_required=True, ticket_pattern="CHG-[0-9]+")
    expected = BrokenRule(
        PolicyRule.TICKET_REQUIRED,
        BILLING,
        None,
        "no ticket",
        "a ticket that matches CHG-[0-9]+",
        "Name the ticket that the change is made under.",
    )
    for command in (
        CreateShards([new("s2")], FORCED),
        UpdateShards([patch(shard, leader_id="x")], CHANGE),
        DeleteShards([as_it_is(shard)], CHANGE),
    ):
        assert await the_rule(mesh, command) == expected
    other = because("asked for", change_ticket="xCHG-1")
    assert (await the_rule(mesh, CreateShards([new("s2")], other))).rule is PolicyRule.TICKET_PATTERN
    await mesh.create(new("s2"), change=TICKET)


async def test_a_ticket_that_is_not_required_has_its_form(mesh: Mesh) -> None:
    await under(mesh, ticket_pattern="CHG-[0-9]+")
    await mesh.created("s1")
    broken = await the_rule(mesh, CreateShards([new("s2")], because("x", change_ticket="CHG-1 ")))
    assert (broken.rule, broken.actual) == (PolicyRule.TICKET_PATTERN, "ticket 'CHG-1 '")


async def test_one_change_moves_no_more_than_its_share(mesh: Mesh) -> None:
    await under(mesh, move_budget_percent=10)
    shards = (await mesh.create(*(new(f"s{number:03}") for number in range(45)))).shards
    patches = [patch(shard, owner_node_id="node-b") for shard in shards]
    assert await refused(mesh, UpdateShards(patches[:6], CHANGE)) == PolicyViolation(
        (
            BrokenRule(
                PolicyRule.MOVE_BUDGET,
                BILLING,
                None,
                "6 of 45 shards, 13.3 %",
                "5, 10 %",
                "Plan it and apply it in waves, or force it with a reason.",
            ),
        )
    )
    await mesh.update(*patches[:5])
    await mesh.update(*(patch(shard, leader_id="x") for shard in shards[5:]))
    await mesh.delete(*(await mesh.table()).values())


async def test_a_plan_keeps_to_the_budget_of_each_of_its_namespaces(mesh: PlannedMesh) -> None:
    await under(mesh, move_budget_percent=20, involuntary_moves_limited=True)
    await mesh.configure(SEARCH)
    await mesh.filled(10, "gone")
    await mesh.filled(10, "gone", SEARCH)
    await mesh.registered("node-a")
    plan = (await mesh.plan()).plan
    outcome = await mesh.ask_to_apply(plan)
    assert isinstance(outcome, PolicyViolation)
    assert [(one.rule, one.namespace, one.actual) for one in outcome.violations] == [
        (PolicyRule.MOVE_BUDGET, BILLING, "10 of 10 shards, 100 %")
    ]
    applied = await mesh.ask_to_apply(plan, change=FORCED)
    assert isinstance(applied, PlanApplied)
    assert applied.change.forced == "the region is down"


async def test_a_window_counts_every_move_of_the_namespace(mesh: Mesh) -> None:
    shards = list((await mesh.create(new("s1"), new("s2"), new("s3"))).shards)
    shards[0] = await mesh.updated(shards[0], owner_node_id="node-b")
    await under(mesh, window_moves=2)
    shards[1] = await mesh.updated(shards[1], owner_node_id="node-b")
    broken = await the_rule(mesh, UpdateShards([patch(shards[2], owner_node_id="node-b")], CHANGE))
    assert broken == BrokenRule(
        PolicyRule.WINDOW_BUDGET,
        BILLING,
        None,
        "3 moves in 3,600 seconds, 2 of them made already",
        "2 moves in 3,600 seconds",
        "Move at most 0 now and the rest as earlier moves leave the window, or force it with a reason.",
    )
    # What moves nothing is not counted, and is not held up.
    await mesh.updated(shards[2], owner_node_id="node-a")
    await mesh.created("s4")
    assert list(broken_promises(await mesh.changes(), await mesh.history())) == []


async def test_a_shard_is_not_moved_to_and_fro(mesh: Mesh) -> None:
    await under(mesh, shard_window_moves=2)
    restless, calm = (await mesh.create(new("s1"), new("s2"))).shards
    for owner in ("node-b", "node-a"):
        restless = await mesh.updated(restless, owner_node_id=owner)
    moves = [patch(shard, owner_node_id="node-c") for shard in (restless, calm)]
    assert await the_rule(mesh, UpdateShards(moves, CHANGE)) == BrokenRule(
        PolicyRule.SHARD_THRASH,
        BILLING,
        "s1",
        "3 moves of the shard in 3,600 seconds, with this one",
        "2 moves of a shard in 3,600 seconds",
        "Leave the shard where it is until earlier moves have left the window, or force it with a reason.",
    )
    await mesh.update(moves[1])
    assert (await mesh.update(moves[0], change=FORCED)).change.forced == "the region is down"


async def test_moves_beyond_a_limit_are_not_counted_to_the_end(mesh: Mesh) -> None:
    shards = list((await mesh.create(new("s1"), new("s2"))).shards)
    for owner in ("node-b", "node-c", "node-d", "node-e"):
        shards[0] = await mesh.updated(shards[0], owner_node_id=owner)
    await under(mesh, window_moves=2)
    whole = await the_rule(mesh, UpdateShards([patch(shards[1], owner_node_id="node-b")], CHANGE))
    assert whole.actual == "at least 4 moves in 3,600 seconds, at least 3 of them made already"
    assert whole.remedy.startswith("Move at most 0 now")
    await mesh.configure(expected=2, policy=NamespacePolicy(shard_window_moves=1, move_budget_percent=100))
    each = await the_rule(mesh, UpdateShards([patch(shards[0], owner_node_id="node-b")], CHANGE))
    assert each.actual == "at least 3 moves of the shard in 3,600 seconds, with this one"


async def test_a_frozen_namespace_changes_in_nothing(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    await under(mesh, freezes=(FROZEN, FreezeWindow(FROZEN.ends, FROZEN.ends + timedelta(hours=1), "longer")))
    for command in (
        CreateShards([new("s2")], CHANGE),
        UpdateShards([patch(shard, leader_id="x")], CHANGE),
        DeleteShards([as_it_is(shard)], CHANGE),
    ):
        broken = await the_rule(mesh, command)
        assert broken.rule is PolicyRule.FREEZE
        assert "quarter end" in broken.allowed
        assert f"{FROZEN.ends + timedelta(hours=1):%H:%M:%SZ}" in broken.remedy
    await mesh.update(patch(shard, leader_id="x"), change=FORCED)
    await under(mesh, freezes=(FreezeWindow(NOW - timedelta(2), NOW - timedelta(1), "over"), FULL.freezes[0]))
    await mesh.created("s3")


def recurring(begins: datetime, **more: Any) -> RecurringFreeze:
    """For an hour from that minute on, once a day."""
    return RecurringFreeze(f"{begins.minute} {begins.hour} * * *", "PT1H", "UTC", "every day", **more)


async def test_a_freeze_that_comes_again_is_a_freeze(mesh: Mesh) -> None:
    now = datetime.now(UTC)
    shard = await mesh.created("s1")
    await under(mesh, recurring_freezes=(recurring(now - timedelta(minutes=20)),))
    begins = (now - timedelta(minutes=20)).replace(second=0, microsecond=0)
    broken = await the_rule(mesh, UpdateShards([patch(shard, leader_id="x")], CHANGE))
    assert broken.rule is PolicyRule.FREEZE
    assert broken.allowed == (
        f"changes before {begins:%Y-%m-%dT%H:%M:%SZ} or from {begins + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ} on "
        "(every day)"
    )
    await mesh.update(patch(shard, leader_id="x"), change=FORCED)
    over = recurring(now - timedelta(minutes=20), until=begins - timedelta(days=1))
    await under(mesh, recurring_freezes=(recurring(now - timedelta(minutes=80)), recurring(now + HOURS), over))
    await mesh.created("s2")


async def test_a_freeze_that_comes_again_is_kept_to_at_the_commit(mesh: Mesh) -> None:
    """What is decided before it begins is not committed in it."""
    begins = (datetime.now(UTC) + HOURS).replace(second=0, microsecond=0)
    command = CreateShards([new("s1")], CHANGE)

    async def frozen_from(freeze: RecurringFreeze, **at: Any) -> datetime | None:
        await under(mesh, recurring_freezes=(freeze,))
        async with mesh.store.unit_of_work() as unit:
            decision = decide(command, replace(await unit.read(command.reads), **at), Registry())
        assert isinstance(decision, WriteSet)
        return decision.conditions.frozen_from

    assert await frozen_from(recurring(begins)) == begins
    later = begins + timedelta(hours=2)
    assert await frozen_from(recurring(begins), now=later) == begins + timedelta(days=1)
    # No further than that is it known when the next one begins.
    assert await frozen_from(recurring(begins, until=begins), now=later) == later + timedelta(days=1)


async def test_all_broken_rules_are_told_at_once(mesh: Mesh) -> None:
    await mesh.configure(SEARCH)
    shards = (await mesh.create(*(new(f"s{number:03}") for number in range(150)), new("s", namespace=SEARCH))).shards
    await mesh.update(*(patch(shard, owner_node_id="node-b") for shard in shards))
    await under(
        mesh, ticket_required=True, move_budget_percent=1, window_moves=1, shard_window_moves=1, freezes=(FROZEN,)
    )
    again = [patch(shard, owner_node_id="node-c") for shard in (await mesh.table()).values()]
    outcome = await refused(mesh, UpdateShards(again, CHANGE))
    rules = [broken.rule for broken in outcome.violations]
    assert rules[:5] == [
        PolicyRule.TICKET_REQUIRED,
        PolicyRule.FREEZE,
        PolicyRule.MOVE_BUDGET,
        PolicyRule.WINDOW_BUDGET,
        PolicyRule.SHARD_THRASH,
    ]
    assert (len(rules), outcome.omitted) == (100, 54)
    assert {broken.namespace for broken in outcome.violations} == {BILLING}
    forced = await refused(mesh, UpdateShards(again, FORCED))
    assert [broken.rule for broken in forced.violations] == [PolicyRule.TICKET_REQUIRED]


async def test_a_forced_change_says_so_for_good(mesh: PlannedMesh) -> None:
    plain = await mesh.create(new("s1"))
    forced = await mesh.create(new("s2"), change=FORCED)
    changes = await mesh.changes()
    assert [change.forced for change in changes] == [None, None, "the region is down"]
    assert changes[1:] == [plain.change, forced.change]
    history, digests = await mesh.history(), await mesh.store.changes.content_digests(0, 10)
    assert verified_links(changes, history, digests) == 3
    with pytest.raises(InvalidArgument) as caught:
        await mesh.create(new("s3"), change=because("x", forced=" "))
    assert [error.field for error in caught.value.errors] == ["change.force.reason"]


async def test_a_retry_that_is_not_forced_is_another_request(mesh: Mesh) -> None:
    await mesh.create(new("s1"), change=because("x", idempotency_key="k", forced="why"))
    outcome = await mesh.execute(CreateShards([new("s1")], because("x", idempotency_key="k")))
    assert type(outcome).__name__ == "IdempotencyKeyReused"
