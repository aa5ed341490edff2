"""set and namespaces apply: changes that are carried out, and refusals with how to go on."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from graph.cli.errors import Exit
from persistence.codec.json_documents import write_policy
from persistence.commands.nodes import RegisterNode
from persistence.model.policy import NamespacePolicy
from persistence.model.records import Shard
from tests.support.command_line import Answer, omnirelay
from tests.support.mesh import CHANGE
from tests.support.mesh_server import MeshServer


def set_shard(shard_id: str, *options: object) -> Answer:
    return omnirelay("mesh", "shards", "set", "orders", shard_id, "--reason", "hot shard", *options)


def apply(file: Path, *options: object) -> Answer:
    return omnirelay("mesh", "namespaces", "apply", file, "--reason", "as declared", *options)


def shard(server: MeshServer, shard_id: str) -> Shard:
    found = server.run(server.mesh.shard(shard_id, "orders"))
    assert found is not None
    return found


def test_set_moves_a_shard_and_records_who_why_and_under_which_ticket(orders: MeshServer) -> None:
    answer = set_shard("s1", "--expected-version", 1, "--owner", "node-9", "--ticket", "CHG-1", "--actor", "alice")
    assert answer.exit == Exit.OK
    assert "node-9 (epoch 2)" in answer.out
    change = orders.run(orders.mesh.changes())[-1]
    assert (change.actor, change.reason, change.change_ticket) == ("alice", "hot shard", "CHG-1")


def test_set_changes_what_it_is_told_and_nothing_else(orders: MeshServer) -> None:
    document = set_shard(
        "s1", "--expected-version", 1, "--json", "--leader", "r1", "--capacity", "2.5", "--locality", "eu/a",
        "--status", "draining",
    ).document  # fmt: skip
    assert document["revision"] == document["shard"]["revision"] == "4"
    after = shard(orders, "s1")
    assert (after.owner_node_id, after.leader_id, after.capacity_hint) == ("node-1", "r1", 2.5)
    assert (after.locality_hint, after.status) == ("eu/a", "DRAINING")
    assert set_shard("s1", "--expected-version", 2, "--no-leader", "--no-locality").exit == Exit.OK
    after = shard(orders, "s1")
    assert (after.leader_id, after.locality_hint, after.capacity_hint) == (None, None, 2.5)


def test_set_puts_a_shard_into_a_group_and_takes_it_out(orders: MeshServer) -> None:
    answer = set_shard("s1", "--expected-version", 1, "--group", "replicas-of-7")
    assert answer.exit == Exit.OK
    assert ["group", "replicas-of-7"] in [line.split() for line in answer.out.splitlines()]
    assert set_shard("s1", "--expected-version", 2, "--no-group").exit == Exit.OK
    assert shard(orders, "s1").anti_affinity_group is None
    assert set_shard("s1", "--expected-version", 3, "--group", "g", "--no-group").exit == Exit.INVALID


def test_a_conflict_says_what_it_is_now_who_changed_it_and_how_to_go_on(orders: MeshServer) -> None:
    set_shard("s1", "--expected-version", 1, "--owner", "node-9", "--actor", "alice", "--ticket", "CHG-1")
    answer = set_shard("s1", "--expected-version", 1, "--owner", "node-2", "--no-leader", "--server", orders.url)
    assert (answer.exit, answer.out) == (Exit.REFUSED, "")
    first, *facts = answer.err.splitlines()
    assert first.startswith("Refused: shard orders/s1 is at version 2, not 1: alice changed it at ")
    assert first.endswith(" (CHG-1: hot shard); node-9 owns it now.")
    assert any(line.split() == ["owner", "node-9", "(epoch", "2)"] for line in facts)
    again = shlex.split(facts[-1])
    assert again[:3] == ["omnirelay", "mesh", "shards"]
    assert omnirelay(*again[1:]).exit == Exit.OK
    assert shard(orders, "s1").owner_node_id == "node-2"


def test_a_shard_that_is_not_there_is_not_found(orders: MeshServer) -> None:
    answer = set_shard("s9", "--expected-version", 1, "--owner", "node-2")
    assert (answer.exit, answer.err) == (
        Exit.NOT_FOUND,
        "Refused: there is no shard orders/s9.\nWhat there is: omnirelay mesh shards list --namespace orders\n",
    )
    assert len(orders.run(orders.mesh.changes())) == 2


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--owner", "node-2"], "Missing option '--expected-version'"),
        (["--expected-version", 0, "--owner", "node-2"], "0 is not in the range"),
        (["--expected-version", 1], "Nothing to change"),
        (["--expected-version", 1, "--leader", "r1", "--no-leader"], "not both"),
        (["--expected-version", 1, "--capacity", "nan"], "must be a finite number"),
        (["--expected-version", 1, "--capacity", "-1"], "must be 0 or more"),
        (["--expected-version", 1, "--status", "gone"], "'gone' is not one of"),
        (["--expected-version", 1, "--owner", "two words"], "'two words' is not an identifier"),
        (["--expected-version", 1, "--owner", "n", "--actor", " "], "--actor must not be blank"),
    ],
)
def test_input_that_cannot_be_is_refused_before_anything_is_written(options: list[object], words: str) -> None:
    answer = set_shard("s1", *options)
    assert answer.exit == Exit.INVALID
    assert words in answer.err


@pytest.mark.usefixtures("orders")
def test_a_reason_is_required() -> None:
    answer = omnirelay("mesh", "shards", "set", "orders", "s1", "--expected-version", "1", "--owner", "node-2")
    assert answer.exit == Exit.INVALID
    assert "Missing option '--reason'" in answer.err


@pytest.fixture
def declaration(tmp_path: Path) -> Path:
    file = tmp_path / "mesh.toml"
    file.write_text(
        'port = 8081\n[namespaces.orders]\nstrategy = "ring"\nparameters = { virtualNodes = 256 }\n'
        '[namespaces.billing]\nstrategy = "rendezvous"\n'
    )
    return file


def test_apply_creates_and_configures_what_differs_and_leaves_the_rest(orders: MeshServer, declaration: Path) -> None:
    first = apply(declaration)
    assert first.out.splitlines() == [
        "orders: updated (ring, virtualNodes 256).",
        "  strategy: rendezvous -> ring",
        "  parameters.virtualNodes: - -> 256",
        "billing: created (rendezvous, default parameters).",
    ]
    second = apply(declaration, "--json")
    assert [(item["name"], item["action"], item["version"]) for item in second.documents] == [
        ("orders", "unchanged", "2"),
        ("billing", "unchanged", "1"),
    ]
    assert orders.run(orders.mesh.namespace("orders")).strategy_parameters == {"virtualNodes": 256}


def test_apply_configures_again_what_is_placed_by_another_version_of_its_algorithm(
    orders: MeshServer, declaration: Path
) -> None:
    apply(declaration)
    tables = orders.memory.tables
    older = replace(tables.namespaces["billing"], algorithm_version=9)
    orders.memory.tables = replace(tables, namespaces={**tables.namespaces, "billing": older})
    answer = apply(declaration, "--dry-run")
    assert [line.split(" (")[0] for line in answer.out.splitlines()] == [
        "orders: unchanged",
        "billing: would be updated",
        "  algorithmVersion: 9 -> 1",
    ]
    assert apply(declaration, "--json").documents[1]["action"] == "updated"
    assert orders.run(orders.mesh.namespace("billing")).algorithm_version == 1
    assert apply(declaration, "--json").documents[1]["action"] == "unchanged"


@pytest.mark.parametrize(
    ("placement", "actions"), [("", ["updated", "unchanged"]), ('strategy = "rendezvous"\n', ["updated", "unchanged"])]
)
def test_apply_of_a_policy_alone_keeps_the_version_of_the_algorithm(
    orders: MeshServer, tmp_path: Path, placement: str, actions: list[str]
) -> None:
    tables = orders.memory.tables
    older = replace(tables.namespaces["orders"], algorithm_version=9)
    orders.memory.tables = replace(tables, namespaces={**tables.namespaces, "orders": older})
    declaration = tmp_path / "policy.toml"
    declaration.write_text(f"[namespaces.orders]\n{placement}policy = {{windowMoves = 7}}\n")
    assert [apply(declaration, "--json").documents[0]["action"] for _ in actions] == actions
    found = orders.run(orders.mesh.namespace("orders"))
    assert (found.algorithm_version, found.policy.window_moves) == (1 if placement else 9, 7)


def test_a_dry_run_of_apply_writes_nothing(orders: MeshServer, declaration: Path) -> None:
    before = orders.run(orders.mesh.changes())
    answer = apply(declaration, "--dry-run")
    assert answer.out.splitlines() == [
        "orders: would be updated (ring, virtualNodes 256).",
        "  strategy: rendezvous -> ring",
        "  parameters.virtualNodes: - -> 256",
        "billing: would be created (rendezvous, default parameters).",
    ]
    assert orders.run(orders.mesh.changes()) == before


def test_apply_gives_a_namespace_its_policy(orders: MeshServer, declaration: Path) -> None:
    declaration.write_text(
        '[namespaces.orders]\n[namespaces.orders.policy]\nticketPattern = "CHG-[0-9]+"\nmoveBudgetPercent = 50\n'
        "[[namespaces.orders.policy.freezes]]\n"
        'begins = 2026-12-24T00:00:00+01:00\nends = 2027-01-02T00:00:00Z\nreason = "holidays"\n'
    )
    assert [apply(declaration, "--json").document["action"] for _ in range(2)] == ["updated", "unchanged"]
    policy = orders.run(orders.mesh.namespace("orders")).policy
    assert (policy.ticket_pattern, policy.move_budget_percent) == ("CHG-[0-9]+", 50)
    assert [freeze.reason for freeze in policy.freezes] == ["holidays"]
    declaration.write_text("[namespaces.orders]\n")
    assert apply(declaration, "--json").document["action"] == "unchanged"


def test_apply_changes_the_fields_that_the_file_names_and_prints_each(orders: MeshServer, declaration: Path) -> None:
    declaration.write_text(
        '[namespaces.orders]\nstrategy = "locality"\nparameters = {mode = "strict", zoneBoost = 8}\n'
        "[namespaces.orders.policy]\nmoveBudgetPercent = 50\nwindowMoves = 9\n[[namespaces.orders.policy.freezes]]\n"
        'begins = 2026-12-24T00:00:00Z\nends = 2027-01-02T00:00:00Z\nreason = "holidays"\n'
    )
    apply(declaration)
    before = orders.run(orders.mesh.namespace("orders")).configuration
    # The address needs keys, which a server may have from its environment.
    declaration.write_text('host = "192.0.2.1"\n[namespaces.orders.policy]\nticketRequired = true\n')
    answer = apply(declaration, "--dry-run")
    assert answer.out.splitlines()[1:] == ["  policy.ticketRequired: false -> true"]
    assert "orders: the file declares no freezes, which leaves 1 freeze: freezes = [] ends them." in answer.err
    apply(declaration)
    after = orders.run(orders.mesh.namespace("orders")).configuration
    assert after == replace(before, policy=replace(before.policy, ticket_required=True))
    declaration.write_text(
        "[namespaces.orders]\nparameters = {zoneBoost = 9}\n"
        'defaults = ["policy.windowMoves", "policy.ticketRequired"]\n'
        "[namespaces.orders.policy]\nfreezes = []\n"
    )
    (document,) = apply(declaration, "--json").documents
    assert [(change["field"], change["before"], change["after"]) for change in document["changes"]] == [
        ("parameters.zoneBoost", 8, 9),
        ("policy.ticketRequired", True, False),
        ("policy.windowMoves", 9, None),
        ("policy.freezes", write_policy(before.policy)["freezes"], []),
    ]
    after = orders.run(orders.mesh.namespace("orders")).configuration
    assert after.policy == NamespacePolicy(move_budget_percent=50)
    assert after.strategy_parameters == {"mode": "strict", "zoneBoost": 9}


def test_a_change_that_a_policy_refuses_says_which_rule_and_can_be_forced(orders: MeshServer) -> None:
    policy = NamespacePolicy(ticket_required=True, ticket_pattern="CHG-[0-9]+", shard_window_moves=1)
    orders.run(orders.mesh.configure("orders", expected=1, policy=policy))
    moved = set_shard("s1", "--expected-version", 1, "--owner", "node-2", "--ticket", "CHG-1")
    assert moved.exit == Exit.OK
    again = set_shard("s1", "--expected-version", 2, "--owner", "node-1")
    assert (again.exit, again.out) == (Exit.REFUSED, "")
    assert again.err.splitlines() == [
        (
            "Refused: TICKET_REQUIRED of orders: no ticket; allowed: a ticket that matches CHG-[0-9]+. "
            "Name the ticket that the change is made under (and 1 more)."
        ),
        (
            "  TICKET_REQUIRED of orders: no ticket; allowed: a ticket that matches CHG-[0-9]+. "
            "Name the ticket that the change is made under."
        ),
        (
            "  SHARD_THRASH of orders/s1: 2 moves of the shard in 3,600 seconds, with this one; "
            "allowed: 1 move of a shard in 3,600 seconds. "
            "Leave the shard where it is until earlier moves have left the window, or force it with a reason."
        ),
    ]
    forced = set_shard(
        "s1", "--expected-version", 2, "--owner", "node-1", "--ticket", "CHG-2", "--force-reason", "node-2 burns"
    )
    assert forced.exit == Exit.OK
    assert any(line.split() == ["forced", "node-2", "burns"] for line in forced.out.splitlines())


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "declares no namespace"),
        ("[namespaces.orders.policy]\nmoveBudget = 5", "namespaces.orders.policy.moveBudget"),
        ('[namespaces.orders.policy]\nticketRequired = "yes"', "namespaces.orders.policy.ticketRequired"),
        ('[namespaces.orders.policy]\nticketPattern = "("', "policy.ticketPattern is not a regular expression of RE2"),
        ("[namespaces.orders.policy]\nwindowMoves = 0", "policy.windowMoves must be between 1 and"),
        ("[namespaces.orders", "not TOML"),
        ("[namespaces.orders]\nstrateg = 1", "namespaces.orders.strateg"),
        ("[namespaces.orders]\nparameters = { at = 2026-01-31 }", "must be JSON, not date"),
        ("[namespaces.orders]\nparameters = { weight = nan }", "must hold finite numbers only"),
        ('[namespaces.orders]\nstrategy = "rign"', "did you mean ring?"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "mesh.toml"
    file.write_text(text)
    answer = apply(file)
    assert answer.exit == Exit.INVALID
    assert words in answer.err


@pytest.mark.usefixtures("orders")
def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    answer = apply(tmp_path / "missing.toml")
    assert answer.exit == Exit.INVALID
    assert "No such file or directory" in answer.err


def test_an_owner_that_may_be_a_slip_is_warned_of(orders: MeshServer) -> None:
    orders.run(orders.mesh.execute(RegisterNode("node-eu-1", CHANGE)))
    answer = set_shard("s1", "--expected-version", 1, "--owner", "node-ue-1", "--leader", "node-eu-1")
    assert (answer.exit, answer.err) == (Exit.OK, "Warning: node-ue-1 is not registered; did you mean node-eu-1?\n")


def test_a_refusal_is_json_too(orders: MeshServer) -> None:
    orders.run(orders.mesh.configure("orders", expected=1, policy=NamespacePolicy(ticket_required=True)))
    refused = set_shard("s1", "--expected-version", 1, "--owner", "node-2", "--json")
    assert (refused.exit, refused.document["__typename"]) == (Exit.REFUSED, "PolicyViolation")
    assert [violation["rule"] for violation in refused.document["violations"]] == ["TICKET_REQUIRED"]
    stale = set_shard("s1", "--expected-version", 7, "--owner", "node-2", "--ticket", "CHG-1", "--json")
    assert (stale.exit, stale.document["__typename"]) == (Exit.REFUSED, "VersionConflict")
    assert stale.document["conflicts"][0]["actualVersion"] == "1"
    assert stale.err.startswith("Refused: ")
