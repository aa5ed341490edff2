"""A day of governance, once through GraphQL and once on the command line.

A namespace whose rules require tickets, approval and small steps, and three people: alice operates, bob also approves,
carol may do everything. What they did, and what they were refused, must all be in the exported audit log, in order; the
log must verify by three independent ways; and what goes round the rules must be found.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import pytest

from graph.auth.principal import Scope
from graph.cli.errors import Exit
from persistence.codec.json_documents import write_policy
from persistence.model.policy import FreezeWindow, NamespacePolicy
from persistence.model.records import ChangeKind
from strategies.model import Node, Shard, Shards
from strategies.registry import Registry
from tests.support.command_line import Answer, omnirelay
from tests.support.desks import (
    NAMESPACE,
    STRATEGY,
    ApplyOneWave,
    ApplyTheRest,
    Approve,
    Because,
    CommandLineDesk,
    Configure,
    Desk,
    Edit,
    GraphQLDesk,
    Json,
    MakePlan,
    Refused,
    RollBack,
    Stop,
    Task,
)
from tests.support.fork_server import ROOT
from tests.support.real_server import real_server
from tests.support.tokens import SECRET, token

ALICE, BOB, CAROL = "alice", "bob", "carol"
TOKENS: Final = {
    ALICE: token(Scope.OPERATE, sub=ALICE),
    BOB: token(Scope.OPERATE, Scope.APPROVE, sub=BOB),
    CAROL: token(Scope.OPERATE, Scope.APPROVE, Scope.ADMIN, sub=CAROL),
}
RULES: Final = NamespacePolicy(ticket_required=True, ticket_pattern="CHG-[0-9]+", approval_required=True)
SHARDS: Final = tuple(f"slot-{number:02}" for number in range(40))
BUDGET: Final = 4
"""Moves in one change: by default 10 % of the shards."""

SETTING_UP, EDITING, FILLING, HURRYING, TAKING_BACK, CLOSING = (f"CHG-{number}00" for number in range(1, 7))


class Entry(NamedTuple):
    """The log's record of a step. `outcome` is null for what was done, else the refusal's."""

    kind: str
    actor: str
    ticket: str | None
    outcome: str | None = None


@dataclass(frozen=True)
class Day:
    """The desk that all operators work at, and a diary of what they did there."""

    desk: Desk
    reading: GraphQLDesk
    diary: list[Entry] = field(default_factory=list)

    def done(self, who: str, task: Task, ticket: str, *, forced: str | None = None) -> Sequence[Json]:
        changes = self.desk.do(who, task, Because(ticket, forced))
        self.diary.extend(Entry(task.kind, who, ticket) for _ in changes)
        return changes

    def refused(
        self, who: str, task: Task, ticket: str | None, outcome: str, words: str, *, forced: str | None = None
    ) -> None:
        with pytest.raises(Refused) as refusal:
            self.desk.do(who, task, Because(ticket, forced))
        assert words in refusal.value.message
        assert refusal.value.forbidden is (outcome == "Forbidden")
        self.diary.append(Entry(task.kind, who, ticket, outcome))

    def edit_of(self, shard_id: str, capacity: float) -> Edit:
        """An edit that expects the shard as it is now."""
        return Edit(shard_id, int(self.shard(shard_id)["version"]), capacity)

    def shard(self, shard_id: str) -> Json:
        return self.reading.ask(ALICE, "ShardDetails", namespace=NAMESPACE, shardId=shard_id)

    def owners(self) -> dict[str, str]:
        page = self.reading.ask(ALICE, "ExportShards", first=len(SHARDS))
        return {shard["shardId"]: shard["ownerNodeId"] for shard in page["nodes"]}


@pytest.fixture(params=["GraphQL", "the command line"])
def day(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[Day]:
    environment = {"OMNIRELAY_AUTH_SECRET": SECRET.decode()}
    with real_server(database_url, environment=environment) as server:
        graphql = GraphQLDesk(server.url, server.http, TOKENS)
        at_a_shell = CommandLineDesk(server.url, tmp_path, TOKENS)
        yield Day(graphql if request.param == "GraphQL" else at_a_shell, graphql)


def test_a_day_of_governance(day: Day, database_url: str, tmp_path: Path) -> None:
    given_a_namespace_under_rules(day)
    then_shards_are_edited_under_a_ticket_or_not_at_all(day)

    owners = day.owners()
    plan = when_a_node_joins_and_bob_plans_to_fill_it(day)
    then_somebody_else_than_bob_approves_it(day, plan)
    then_it_is_applied_within_the_budget_and_stops_when_told_to(day, plan)

    edited = when_a_shard_that_was_moved_is_edited(day, plan)
    taken_back = then_a_rollback_names_that_edit_as_a_conflict(day, plan, edited)
    when_the_rollback_is_approved_and_applied(day, taken_back)
    assert day.owners() == owners | {edited: "node-4"}

    when_carol_freezes_the_namespace(day)
    then_carol_alone_changes_it_by_force(day)
    when_carol_thaws_it_and_tightens_the_rules(day)

    log = tmp_path / "audit.jsonl"
    anchor = when_the_log_is_exported(database_url, log)
    then_it_verifies_with_and_without_the_database(database_url, log, anchor)
    assert entries_in(log) == day.diary
    then_every_change_kept_to_the_rules_of_its_time(database_url, given_back=len(taken_back["moves"]))

    when_somebody_with_the_password_takes_a_ticket_off(database_url, change_id := change_of_edit(log))
    then_it_is_found(database_url, log, anchor, change_id)


def given_a_namespace_under_rules(day: Day) -> None:
    nodes = [Node(f"node-{number}") for number in (1, 2, 3)]
    placer = Registry().placer(STRATEGY, {}, nodes)
    places = placer.owners(Shards.of(NAMESPACE, [Shard(shard_id) for shard_id in SHARDS]))
    shards = [
        {"namespace": NAMESPACE, "shardId": shard_id, "ownerNodeId": placer.nodes[place].node_id}
        for shard_id, place in zip(SHARDS, places, strict=True)
    ]
    for node in nodes:
        set_up(day, "RegisterNode", nodeId=node.node_id)
    policy = write_policy(RULES)
    set_up(day, "ConfigureNamespace", name=NAMESPACE, strategy=STRATEGY, policy=policy, expectedVersion="0")
    set_up(day, "CreateShards", shards=shards)


def set_up(day: Day, operation: str, **given: Any) -> None:
    """Carol does, before the day begins."""
    day.reading.change(CAROL, operation, Because(SETTING_UP), **given)
    kinds = {
        "RegisterNode": ChangeKind.REGISTER_NODE,
        "ConfigureNamespace": ChangeKind.CONFIGURE_NAMESPACE,
        "CreateShards": ChangeKind.CREATE_SHARDS,
    }
    day.diary.append(Entry(kinds[operation], CAROL, SETTING_UP))


def then_shards_are_edited_under_a_ticket_or_not_at_all(day: Day) -> None:
    edit = day.edit_of("slot-00", 2.5)
    day.refused(ALICE, edit, None, "PolicyViolation", f"TICKET_REQUIRED of {NAMESPACE}")
    day.refused(ALICE, edit, "soon", "PolicyViolation", f"TICKET_PATTERN of {NAMESPACE}")
    day.done(ALICE, edit, EDITING)
    day.refused(BOB, edit, EDITING, "VersionConflict", f"is at version 2, not 1: {ALICE} changed it")
    shard = day.shard("slot-00")
    assert (shard["capacityHint"], shard["changeTicket"]) == (2.5, EDITING)


def when_a_node_joins_and_bob_plans_to_fill_it(day: Day) -> Json:
    set_up(day, "RegisterNode", nodeId="node-4")
    (plan,) = day.done(BOB, MakePlan(), FILLING)
    assert {move["to_node_id"] for move in plan["moves"]} == {"node-4"}
    assert len(plan["moves"]) > 2 * BUDGET
    return plan


def then_somebody_else_than_bob_approves_it(day: Day, plan: Json) -> None:
    day.refused(ALICE, ApplyTheRest(plan["id"]), FILLING, "PolicyViolation", "APPROVAL_REQUIRED")
    day.refused(BOB, Approve(plan["id"]), FILLING, "PolicyViolation", "SELF_APPROVAL")
    day.done(CAROL, Approve(plan["id"]), FILLING)


def then_it_is_applied_within_the_budget_and_stops_when_told_to(day: Day, plan: Json) -> None:
    waves = list(day.done(ALICE, ApplyOneWave(plan["id"]), FILLING))
    day.done(BOB, Stop(plan["id"]), FILLING)
    day.refused(ALICE, ApplyTheRest(plan["id"]), FILLING, "PlanClosed", f"is STOPPED, by {BOB}")
    waves += day.done(ALICE, ApplyTheRest(plan["id"], resume=True), FILLING)
    sizes = [wave["change"]["rebalance"]["moved"] for wave in waves]
    assert (sum(sizes), set(sizes[:-1])) == (len(plan["moves"]), {BUDGET})
    life = day.reading.ask(ALICE, "PlanHistory", id=plan["id"])
    assert [change["kind"] for change in reversed(life["changes"]["nodes"])] == [
        *("PLAN_REBALANCE", "APPROVE_PLAN", "APPLY_PLAN", "STOP_PLAN"),
        *["APPLY_PLAN"] * (len(waves) - 1),
    ]
    assert {shard for shard, owner in day.owners().items() if owner == "node-4"} == moved_by(plan)


def when_a_shard_that_was_moved_is_edited(day: Day, plan: Json) -> str:
    edited = min(moved_by(plan))
    day.done(BOB, day.edit_of(edited, 4.0), EDITING)
    return edited


def then_a_rollback_names_that_edit_as_a_conflict(day: Day, plan: Json, edited: str) -> Json:
    (taken_back,) = day.done(ALICE, RollBack(FILLING), TAKING_BACK)
    (conflict,) = taken_back["rollback"]["conflicts"]
    assert (conflict["shard_id"], conflict["reason"]) == (edited, "CHANGED_SINCE")
    assert moved_by(taken_back) == moved_by(plan) - {edited}
    return taken_back


def when_the_rollback_is_approved_and_applied(day: Day, taken_back: Json) -> None:
    day.done(BOB, Approve(taken_back["id"]), TAKING_BACK)
    day.done(ALICE, ApplyTheRest(taken_back["id"]), TAKING_BACK)


def when_carol_freezes_the_namespace(day: Day) -> None:
    now = datetime.now(UTC)
    freeze = FreezeWindow(now - timedelta(hours=1), now + timedelta(hours=1), "the books are closed")
    day.done(CAROL, Configure(replace(RULES, freezes=(freeze,)), 1), CLOSING)


def then_carol_alone_changes_it_by_force(day: Day) -> None:
    edit = day.edit_of("slot-01", 0.5)
    day.refused(ALICE, edit, HURRYING, "PolicyViolation", f"FREEZE of {NAMESPACE}")
    day.refused(ALICE, edit, HURRYING, "Forbidden", "force needs a token with the scope mesh.admin", forced="hurry")
    day.done(CAROL, edit, HURRYING, forced="the shard burns")
    page = day.reading.page(CAROL, "NamespaceGovernance", name=NAMESPACE, first=2)
    assert [freeze["reason"] for freeze in page["namespace"]["policy"]["freezes"]] == ["the books are closed"]
    assert [change["forced"] for change in page["changes"]["nodes"]] == ["the shard burns", None]
    assert [refusal["outcome"] for refusal in page["refusals"]["nodes"]] == ["Forbidden", "PolicyViolation"]
    assert page["openPlans"]["totalCount"] == 0


def when_carol_thaws_it_and_tightens_the_rules(day: Day) -> None:
    day.done(CAROL, Configure(replace(RULES, ticket_pattern="CAB-[0-9]+", move_budget_percent=1), 2), CLOSING)


def when_the_log_is_exported(database_url: str, log: Path) -> str:
    assert audit("export", "--out", log, database_url=database_url).exit == Exit.OK
    return str(json.loads(log.read_text().splitlines()[-1])["end"])


def then_it_verifies_with_and_without_the_database(database_url: str, log: Path, anchor: str) -> None:
    verified = audit("verify", "--anchor", anchor, "--processes", 1, "--json", database_url=database_url).document
    assert (verified["findings"], verified["anchor"]) == ([], anchor)
    assert omnirelay("mesh", "audit", "verify", "--file", log).exit == Exit.OK
    script = (sys.executable, ROOT / "docs" / "verify_audit.py", log, anchor)
    independently = subprocess.run(script, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert independently.stdout.startswith("OK: "), independently


def entries_in(log: Path) -> list[Entry]:
    """Changes and refusals, each in a chain of its own, as one story: the database's clock tells which came first."""
    steps = [
        (datetime.fromisoformat(line.get("committedAt") or line["refusedAt"]), entry_of(line))
        for line in map(json.loads, log.read_text().splitlines())
        if line["type"] in ("change", "refusal")
    ]
    return [entry for _, entry in sorted(steps, key=lambda step: step[0])]


def entry_of(line: Json) -> Entry:
    return Entry(line["kind"], line["actor"], line["changeTicket"], line.get("outcome"))


def then_every_change_kept_to_the_rules_of_its_time(database_url: str, *, given_back: int) -> None:
    """Also those under tickets that the rules of now would refuse. Shards given back are where people want them."""
    report = audit("check", "--json", database_url=database_url).document
    assert (report["compliant"], report["offences"]) == (True, [])
    (forced,) = report["forced"]
    assert (forced["rule"], forced["actor"], forced["forced"]) == ("FREEZE", CAROL, "the shard burns")
    assert re.fullmatch(r"nothing from \S+Z to \S+Z: the books are closed", forced["allowed"])
    assert report["overriddenShards"] == str(given_back)


def change_of_edit(log: Path) -> int:
    changes = (line for line in map(json.loads, log.read_text().splitlines()) if line["type"] == "change")
    return next(int(change["id"]) for change in changes if entry_of(change) == Entry("UPDATE_SHARDS", ALICE, EDITING))


def when_somebody_with_the_password_takes_a_ticket_off(database_url: str, change_id: int) -> None:
    async def edit() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute("UPDATE changes SET change_ticket = NULL WHERE id = $1", change_id)
        finally:
            await connection.close()

    asyncio.run(edit())


def then_it_is_found(database_url: str, log: Path, anchor: str, change_id: int) -> None:
    checked = audit("check", "--json", database_url=database_url)
    (offence,) = checked.document["offences"]
    assert checked.exit == Exit.NO
    assert (offence["rule"], offence["changeId"], offence["actor"]) == ("TICKET_REQUIRED", str(change_id), ALICE)
    verified = audit("verify", "--processes", 1, "--json", database_url=database_url)
    (finding,) = verified.document["findings"]
    assert verified.exit == Exit.NO
    assert (finding["table"], finding["key"]) == ("changes", str(change_id))
    assert omnirelay("mesh", "audit", "verify", "--file", log, "--anchor", anchor).exit == Exit.OK


def moved_by(plan: Json) -> set[str]:
    return {move["shard_id"] for move in plan["moves"]}


def audit(command: str, *arguments: object, database_url: str) -> Answer:
    return omnirelay("mesh", "audit", command, *arguments, "--database-url", database_url)
