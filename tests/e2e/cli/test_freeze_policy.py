"""freeze, thaw, policy: only what is named changes, whatever else is configured meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from graph.cli.errors import ApiClient, Exit
from graph.client.records import Json
from persistence.model.policy import NamespacePolicy
from tests.support.command_line import Answer, omnirelay
from tests.support.mesh import Mesh
from tests.support.mesh_server import MeshServer

POLICY = NamespacePolicy(ticket_required=True, window_moves=7, move_budget_percent=100)


@pytest.fixture
def two(server: MeshServer) -> MeshServer:
    """The server, with the namespaces `big` and `orders`."""

    async def fill(mesh: Mesh) -> None:
        await mesh.configure("big", policy=POLICY)
        await mesh.configure("orders", strategy="ring", parameters={"virtualNodes": 16}, policy=POLICY)

    server.run(fill(server.mesh))
    return server


def mesh(*arguments: object) -> Answer:
    return omnirelay("mesh", *arguments)


def freeze(*arguments: object, until: str = "2h") -> Answer:
    return mesh("freeze", *arguments, "--until", until, "--reason", "release night")


def policy(name: str) -> dict[str, Any]:
    document: dict[str, Any] = mesh("policy", "show", name, "--json").document["policy"]
    return document


def changes(server: MeshServer) -> int:
    return len(server.run(server.mesh.changes()))


@pytest.mark.usefixtures("two")
def test_a_freeze_changes_the_freezes_of_the_namespaces_named_and_nothing_else() -> None:
    before = policy("orders")
    answer = freeze("orders")
    assert (answer.exit, answer.err) == (Exit.OK, "")
    assert answer.out.startswith("orders: frozen, change 3.\n\nNAMESPACE  FROZEN  FROM ")
    (window,) = policy("orders")["freezes"]
    assert window["reason"] == "release night"
    assert policy("orders") | {"freezes": []} == before
    assert policy("big")["freezes"] == []


@pytest.mark.usefixtures("two")
def test_a_frozen_namespace_keeps_its_strategy_and_parameters() -> None:
    freeze("orders")
    (listed,) = [one for one in mesh("namespaces", "list", "--json").documents if one["name"] == "orders"]
    assert (listed["strategy"], listed["strategyParameters"]) == ("ring", {"virtualNodes": 16})


def test_freezing_again_changes_nothing_and_longer_adds_a_window(two: MeshServer) -> None:
    freeze("orders")
    count = changes(two)
    answer = freeze("orders", until="1h")
    assert answer.out.startswith("orders: nothing to do.\n")
    assert changes(two) == count
    freeze("orders", until="3h")
    assert len(policy("orders")["freezes"]) == 2


def test_all_namespaces_are_frozen_by_one_change_each_and_thawed(two: MeshServer) -> None:
    count = changes(two)
    documents = freeze("--all", "--json").documents
    assert [(one["name"], one["action"]) for one in documents] == [("big", "frozen"), ("orders", "frozen")]
    assert changes(two) == count + 2
    answer = mesh("thaw", "--all", "--reason", "morning")
    assert answer.out == "big: thawed, change 5.\norders: thawed, change 6.\n"
    assert policy("big")["freezes"] == policy("orders")["freezes"] == []


@pytest.mark.usefixtures("two")
def test_a_thaw_ends_the_present_freezes_and_leaves_those_to_come() -> None:
    freeze("orders")
    freeze("orders", "--from", "4h", until="5h")
    listed = [line.split()[:2] for line in mesh("freeze").out.splitlines()]
    assert listed == [["NAMESPACE", "FROZEN"], ["orders", "now"], ["orders", "later"]]
    mesh("thaw", "orders", "--reason", "morning")
    assert len(policy("orders")["freezes"]) == 1
    answer = mesh("freeze")
    assert answer.out.splitlines()[1].split()[:2] == ["orders", "later"]
    assert answer.err == "0 of 2 namespaces are frozen now.\n"
    assert mesh("thaw", "orders", "--reason", "morning").out.startswith("orders: nothing to do.\n")


def test_a_name_that_is_none_keeps_all_from_being_frozen(two: MeshServer) -> None:
    count = changes(two)
    answer = freeze("orders", "ordres")
    assert (answer.exit, answer.out) == (Exit.NOT_FOUND, "")
    assert answer.err.startswith("There is no namespace ordres.\nDid you mean orders?")
    assert changes(two) == count


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["freeze", "orders", "--reason", "x"], "--until and --reason"),
        (["freeze", "--until", "2h", "--reason", "x"], "namespaces, or --all"),
        (["freeze", "orders", "--until", "2020-01-01T00:00:00Z", "--reason", "x"], "not later than now"),
        (["freeze", "orders", "--from", "3h", "--until", "2h", "--reason", "x"], "not later than now"),
        (["thaw", "--reason", "x"], "namespaces, or --all"),
        (["policy", "set", "orders", "--reason", "x"], "Nothing to change"),
        (["policy", "set", "orders", "--window-moves", "1", "--no-window-moves", "--reason", "x"], "not both"),
    ],
)
def test_what_is_left_out_is_asked_for(arguments: list[str], message: str) -> None:
    answer = mesh(*arguments)
    assert answer.exit == Exit.INVALID
    assert message in answer.err


@pytest.mark.usefixtures("two")
def test_setting_a_field_leaves_the_others_and_prints_what_changed() -> None:
    before = policy("orders")
    answer = mesh(
        *("policy", "set", "orders", "--move-budget-percent", 5, "--no-window-moves", "--approval-required"),
        *("--reason", "tighter"),
    )
    assert [line.split() for line in answer.out.splitlines()] == [
        ["FIELD", "BEFORE", "AFTER"],
        ["approvalRequired", "no", "yes"],
        ["moveBudgetPercent", "100", "5"],
        ["windowMoves", "7", "-"],
        ["orders", "is", "at", "version", "2", "now,", "change", "3."],
    ]
    changed = {"approvalRequired": True, "moveBudgetPercent": 5.0, "windowMoves": None}
    assert policy("orders") == before | changed


def test_setting_what_is_set_already_changes_nothing(two: MeshServer) -> None:
    count = changes(two)
    document = mesh("policy", "set", "orders", "--ticket-required", "--reason", "x", "--json").document
    assert (document["action"], document["change"], document["fields"]) == ("unchanged", None, {})
    assert changes(two) == count


@pytest.mark.usefixtures("two")
def test_get_shows_a_namespace_its_policy_and_who_configured_it_last() -> None:
    mesh("policy", "set", "orders", "--window-moves", 9, "--reason", "tighter", "--actor", "alice")
    answer = mesh("namespaces", "get", "orders")
    facts = dict(line.split(maxsplit=1) for line in answer.out.splitlines())
    assert (facts["strategy"], facts["windowMoves"]) == ("ring (algorithm version 1)", "9")
    assert facts["changed"].split()[:3] == ["by", "alice", "at"]
    document = mesh("namespaces", "get", "orders", "--json").document
    assert (document["namespace"]["version"], document["lastChange"]["reason"]) == ("2", "tighter")
    assert mesh("namespaces", "get", "ordres").exit == Exit.NOT_FOUND


@pytest.mark.usefixtures("two")
def test_a_version_that_was_expected_is_insisted_on() -> None:
    answer = mesh("policy", "set", "orders", "--window-moves", 9, "--expected-version", 4, "--reason", "x")
    assert answer.exit == Exit.REFUSED
    assert answer.err.splitlines()[-1] == "What it is now: omnirelay mesh policy show orders"


def test_what_others_configure_meanwhile_is_kept(two: MeshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    send = ApiClient.change
    raced: list[str] = []

    def change_after_another(api: ApiClient, name: str, given: Json, **variables: object) -> Json:
        if name == "ConfigureNamespace" and not raced:
            raced.append(name)
            other = NamespacePolicy(ticket_required=True, window_moves=99, move_budget_percent=100)
            two.run(two.mesh.configure("orders", expected=1, policy=other))
        return send(api, name, given, **variables)

    monkeypatch.setattr(ApiClient, "change", change_after_another)
    assert freeze("orders").exit == Exit.OK
    found = policy("orders")
    assert (found["windowMoves"], len(found["freezes"])) == (99, 1)
    assert raced
