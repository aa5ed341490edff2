"""changes and refusals: what was done and what was tried, found by who, why and when."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest

from graph.cli.errors import Exit
from persistence.model.policy import NamespacePolicy
from tests.support.command_line import Answer, omnirelay
from tests.support.mesh import Mesh, because, new, patch
from tests.support.mesh_server import MeshServer


@pytest.fixture
def told(orders: MeshServer) -> MeshServer:
    """After a namespace and three shards (changes 1 and 2): alice moves one under CHG-41, bob another under CHG-50, a
    node is registered and changed."""

    async def act(mesh: Mesh) -> None:
        for shard_id, actor, ticket in (("s1", "alice", "CHG-41"), ("s2", "bob", "CHG-50")):
            shard = await mesh.shard(shard_id, "orders")
            assert shard is not None
            why = because("=hot", actor=actor, change_ticket=ticket)
            await mesh.update(patch(shard, owner_node_id="node-2"), change=why)

    orders.run(act(orders.mesh))
    omnirelay("mesh", "nodes", "register", "node-1", "--zone", "a", "--reason", "room", "--ticket", "CHG-42")
    omnirelay(
        "mesh", "nodes", "set", "node-1", "--expected-version", 1, "--weight", 3, "--zone", "b", "--reason", "big"
    )
    return orders


def changes(*options: object) -> list[str]:
    answer = omnirelay("mesh", "changes", "list", *options, "-o", "name")
    assert answer.exit == Exit.OK, answer.err
    return answer.out.split()


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["6", "5", "4", "3", "2", "1"]),
        (["--ticket", "CHG-4*"], ["5", "3"]),
        (["--ticket", "CHG-4[2-9]"], ["5"]),
        (["--ticket", "CHG-?0"], ["4"]),
        (["--ticket", "CHG-41"], ["3"]),
        (["--ticket", "chg-*"], []),
        (["--ticket", "*-4*"], ["5", "3"]),
        (["--ticket", "*"], ["6", "5", "4", "3", "2", "1"]),
        (["--node", "node-1"], ["6", "5"]),
        (["--search", "HOT"], ["4", "3"]),
        (["--forced"], []),
        (["--actor", "alice"], ["3"]),
        (["--kind", "register_node", "--kind", "update_node"], ["6", "5"]),
        (["--namespace", "orders", "--limit", "2"], ["4", "3"]),
        (["--since", "1h"], ["6", "5", "4", "3", "2", "1"]),
        (["--until", "1h"], []),
        (["--limit", "2", "--sort", "change"], ["5", "6"]),
        (["--sort", "-actor", "--ticket", "CHG-*"], ["5", "4", "3"]),
    ],
)
def test_changes_are_found_by_who_why_and_when(options: list[str], expected: list[str]) -> None:
    assert changes(*options) == expected


@pytest.mark.usefixtures("told")
def test_a_change_is_listed_with_what_it_was_about() -> None:
    rows = list(csv.reader(io.StringIO(omnirelay("mesh", "changes", "list", "-o", "csv").out)))
    about = {row[0]: row[rows[0].index("ABOUT")] for row in rows[1:]}
    assert (about["6"], about["3"], about["2"]) == ("node node-1", "orders, 1 shard", "orders, 3 shards")
    reasons = {row[0]: row[rows[0].index("REASON")] for row in rows[1:]}
    assert reasons["3"] == "'=hot"
    assert omnirelay("mesh", "changes", "list", "--json").documents[3]["reason"] == "=hot"


@pytest.mark.usefixtures("told")
def test_a_change_of_shards_is_shown_with_each() -> None:
    answer = omnirelay("mesh", "changes", "show", 3)
    facts = dict(line.split(maxsplit=1) for line in answer.out.splitlines() if line)
    assert (facts["actor"], facts["ticket"], facts["revisions"]) == ("alice", "CHG-41", "4")
    assert facts["orders/s1"].split() == ["UPDATED", "node-1", "->", "node-2", "-", "-", "4"]
    document = omnirelay("mesh", "changes", "show", 2, "--limit", 2, "--json").document
    assert (document["change"]["shardCount"], len(document["shards"])) == (3, 2)


@pytest.mark.usefixtures("told")
def test_a_change_of_a_configuration_is_shown_field_by_field() -> None:
    lines = [line.split() for line in omnirelay("mesh", "changes", "show", 6).out.splitlines()]
    table = lines[lines.index(["FIELD", "BEFORE", "AFTER"]) + 1 :]
    assert sorted(line for line in table if line[0] != "version") == [["weight", "1", "3"], ["zone", "a", "b"]]


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("change", "exit_code"), [("99", Exit.NOT_FOUND), ("x", Exit.INVALID), (20 * "9", Exit.INVALID)]
)
def test_a_change_that_is_none_is_told_apart(change: str, exit_code: Exit) -> None:
    assert omnirelay("mesh", "changes", "show", change).exit == exit_code


@pytest.mark.usefixtures("told")
def test_a_namespace_that_is_none_is_not_taken_for_one_without_changes() -> None:
    answer = omnirelay("mesh", "changes", "list", "--namespace", "ordres")
    assert (answer.exit, "orders" in answer.err) == (Exit.NOT_FOUND, True)


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    answer = omnirelay("mesh", "changes", "list", "--since", "1h", "--until", "2h")
    assert (answer.exit, "nothing lies between them" in answer.err) == (Exit.INVALID, True)


@pytest.fixture
def refused(orders: MeshServer) -> MeshServer:
    """The server, after it has refused a move for want of a ticket (alice), and one of another version (ops)."""
    policy = NamespacePolicy(ticket_required=True, ticket_pattern="CHG-[0-9]+")
    orders.run(orders.mesh.configure("orders", expected=1, policy=policy))
    move("s1", 1, "--actor", "alice")
    move("s2", 7, "--ticket", "CHG-7")
    return orders


def move(shard_id: str, version: int, *options: str) -> Answer:
    expected = ("--expected-version", version, "--owner", "node-2")
    return omnirelay("mesh", "shards", "set", "orders", shard_id, *expected, "--reason", "hot", *options)


@pytest.mark.usefixtures("refused")
def test_refusals_say_who_was_refused_what_and_why() -> None:
    answer = omnirelay("mesh", "refusals", "list")
    lines = [line.split() for line in answer.out.splitlines()]
    assert [(line[0], *line[3:6]) for line in lines[1:]] == [
        ("2", "VersionConflict", "orders", "ops"),
        ("1", "PolicyViolation", "orders", "alice"),
    ]
    assert lines[2][-1] == "TICKET_REQUIRED"
    assert answer.err == "2 refusals.\n"


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--actor", "alice"], ["1"]),
        (["--ticket", "CHG-*"], ["2"]),
        (["--outcome", "policyviolation"], ["1"]),
        (["--since", "1h", "--limit", "1"], ["2"]),
        (["--until", "1h"], []),
    ],
)
def test_refusals_can_be_narrowed(options: list[str], expected: list[str]) -> None:
    assert omnirelay("mesh", "refusals", "list", *options, "-o", "name").out.split() == expected


@pytest.mark.usefixtures("refused")
def test_an_outcome_that_there_is_not_is_not_taken_for_no_refusals() -> None:
    answer = omnirelay("mesh", "refusals", "list", "--outcome", "PolicyViolatoin")
    assert (answer.exit, answer.out) == (Exit.INVALID, "")
    assert "'policyviolation'" in answer.err


@pytest.mark.usefixtures("told")
def test_times_may_be_written_out() -> None:
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert len(changes("--until", ahead)) == 6
    assert omnirelay("mesh", "changes", "list", "--since", ahead).exit == Exit.INVALID


def test_many_tickets_are_read_page_by_page_until_there_are_enough(server: MeshServer) -> None:
    async def fill(mesh: Mesh) -> None:
        await mesh.configure("orders")
        for number in range(3):
            why = because("x", change_ticket=f"A-{number}")
            await mesh.create(new(f"s{number}", namespace="orders"), change=why)

    server.run(fill(server.mesh))
    assert changes("--ticket", "A-*", "--limit", 2) == ["4", "3"]
