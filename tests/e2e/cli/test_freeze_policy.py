"""freeze, thaw, policy: only what is named changes, whatever else is configured meanwhile."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from graph.cli.errors import ApiClient, Exit
from graph.cli.policy import set_policy
from graph.client.records import Json
from persistence.model.policy import NamespacePolicy, RecurringFreeze
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


@pytest.mark.usefixtures("two")
def test_a_freeze_that_comes_again_is_made_once_and_ended_for_good() -> None:
    weekly = ("--every", "0 18 * * fri", "--for", "P2DT14H", "--zone", "Europe/Berlin", "--reason", "weekend")
    assert mesh("freeze", "orders", *weekly).out.startswith("orders: frozen, change 3.\n")
    assert mesh("freeze", "orders", *weekly).out.startswith("orders: nothing to do.\n")
    (recurring,) = policy("orders")["recurringFreezes"]
    assert (recurring["schedule"], recurring["until"]) == ("0 18 * * fri", None)
    assert "weekend" in mesh("freeze").out
    mesh("thaw", "orders", "--reason", "x")
    assert policy("orders")["recurringFreezes"] == [recurring]
    assert mesh("thaw", "orders", "--recurring", "--reason", "x").out == "orders: thawed, change 4.\n"
    assert policy("orders")["recurringFreezes"] == []
    wrong = mesh("freeze", "orders", *weekly[:5], "Europe/Nowhere", "--reason", "x")
    assert (wrong.exit, "--zone" in wrong.err, "timeZone" in wrong.err) == (Exit.INVALID, True, False)


def test_a_name_that_is_none_keeps_all_from_being_frozen(two: MeshServer) -> None:
    count = changes(two)
    answer = freeze("orders", "ordres")
    assert (answer.exit, answer.out) == (Exit.NOT_FOUND, "")
    assert answer.err.startswith("There is no namespace ordres.\nDid you mean orders?")
    assert changes(two) == count


def set_freeze(*options: object) -> Answer:
    return mesh("policy", "set", "orders", *options, "--reason", "agreed")


def recurring() -> list[tuple[str, str, str, str | None, str]]:
    fields = ("schedule", "duration", "timeZone", "until", "reason")
    found = policy("orders")["recurringFreezes"]
    return [tuple(each[field] for field in fields) for each in found]


WEEKEND = ("--freeze-every", "0 18 * * fri", "--freeze-for", "P2DT14H", "--freeze-zone", "Europe/Berlin")


@pytest.mark.usefixtures("two")
def test_a_freeze_that_comes_again_is_added_changed_and_taken_away_by_its_schedule() -> None:
    assert set_freeze(*WEEKEND, "--freeze-reason", "weekend", "--window-moves", 9).exit == Exit.OK
    assert recurring() == [("0 18 * * fri", "P2DT14H", "Europe/Berlin", None, "weekend")]
    assert set_freeze(*WEEKEND, "--freeze-reason", "weekend").out.endswith("at version 2: nothing was changed.\n")
    year, nightly = "2030-01-01T00:00:00Z", ("--freeze-every", "0 22 * * *", "--freeze-for", "PT8H")
    assert set_freeze(*nightly, "--freeze-zone", "Etc/UTC", "--freeze-until", year).exit == Exit.OK
    assert set_freeze("--freeze-every", "0  18 * * FRI", "--freeze-for", "P3D").exit == Exit.OK
    assert recurring() == [
        ("0 18 * * fri", "P3D", "Europe/Berlin", None, "weekend"),
        ("0 22 * * *", "PT8H", "Etc/UTC", year, "agreed"),
    ]
    assert "nothing was changed" in set_freeze("--freeze-every", "0 22 * * *", "--freeze-until", year).out
    assert set_freeze("--freeze-every", "0 22 * * *", "--no-freeze-until").exit == Exit.OK
    assert set_freeze("--no-freeze-every", "0 18 * * fri").exit == Exit.OK
    assert recurring() == [("0 22 * * *", "PT8H", "Etc/UTC", None, "agreed")]
    assert policy("orders")["windowMoves"] == 9


@pytest.mark.usefixtures("two")
def test_a_schedule_that_several_zones_have_is_told_apart_by_the_zone() -> None:
    set_freeze(*WEEKEND)
    set_freeze(*WEEKEND[:5], "Asia/Tokyo")
    answer = set_freeze(*WEEKEND[:2], "--freeze-for", "P3D")
    assert (answer.exit, "of Europe/Berlin, Asia/Tokyo." in answer.err) == (Exit.INVALID, True)
    set_freeze(*WEEKEND[:2], "--freeze-for", "P3D", "--freeze-zone", "Asia/Tokyo")
    assert [(each[2], each[1]) for each in recurring()] == [("Europe/Berlin", "P2DT14H"), ("Asia/Tokyo", "P3D")]
    set_freeze("--no-freeze-every", WEEKEND[1], *WEEKEND)
    assert [each[2] for each in recurring()] == ["Europe/Berlin"]


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--freeze-for", "PT8H"], Exit.INVALID, "--freeze-every"),
        (["--freeze-until", "2h"], Exit.INVALID, "--freeze-every"),
        (["--freeze-every", "0 1 * * *", "--freeze-for", "PT8H"], Exit.INVALID, "--freeze-zone"),
        (["--freeze-every", "0 1 * * *", "--freeze-until", "2h", "--no-freeze-until"], Exit.INVALID, "not both"),
        (["--no-freeze-every", "0 1 * * *"], Exit.NOT_FOUND, "There is 0 18 * * fri for P2DT14H in Europe/Berlin"),
        ([*WEEKEND[:4], "--freeze-zone", "Europe/Nowhere"], Exit.INVALID, "--freeze-zone"),
        (["--freeze-every", "0 18 * * fri", "--freeze-for", "2 days"], Exit.INVALID, "--freeze-for"),
    ],
)
def test_what_is_wrong_with_a_freeze_is_said_in_options(options: list[str], code: Exit, message: str) -> None:
    set_freeze(*WEEKEND)
    before = recurring()
    answer = set_freeze(*options)
    assert (answer.exit, message in answer.err) == (code, True), answer.err
    assert recurring() == before


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["freeze", "orders", "--reason", "x"], "--until and --reason"),
        (["freeze", "--until", "2h", "--reason", "x"], "namespaces, or --all"),
        (["freeze", "orders", "--all", "--until", "2h", "--reason", "x"], "namespaces, or --all"),
        (["freeze", "orders", "--every", "0 0 * * *", "--reason", "x"], "--every takes --for and --zone"),
        (["freeze", "orders", "--until", "2h", "--zone", "UTC", "--reason", "x"], "--for and --zone are for --every"),
        (["freeze", "--for", "PT8H"], "--for and --zone are for --every"),
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


@pytest.mark.usefixtures("two")
def test_every_field_of_a_policy_but_its_freezes_can_be_set() -> None:
    before = policy("orders")
    options = {option for each in set_policy.params for option in (*each.opts, *each.secondary_opts)}
    names = {
        re.sub("[A-Z]", lambda letter: f"-{letter[0].lower()}", field) for field in before if "reezes" not in field
    }
    assert {f"--{name}" for name in names} <= options
    given = ("--involuntary-moves-limited", "--owners-must-be-registered", "--no-ticket-required")
    assert mesh("policy", "set", "orders", *given, "--reason", "x").exit == Exit.OK
    changed = {"involuntaryMovesLimited": True, "ownersMustBeRegistered": True, "ticketRequired": False}
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


def test_a_freeze_that_comes_again_is_shown_and_is_not_ended_by_a_thaw(two: MeshServer) -> None:
    now = datetime.now(UTC)
    every_day = RecurringFreeze(f"{now.minute} {now.hour} * * *", "PT2H", "UTC", "every day")
    weekend = RecurringFreeze("0 18 * * fri", "P2DT14H", "Europe/Berlin", "weekend", now + timedelta(days=400))
    given = replace(POLICY, recurring_freezes=(every_day, weekend))
    two.run(two.mesh.configure("big", expected=1, policy=given))
    shown = mesh("policy", "show", "big").out
    assert (
        f"{now.minute} {now.hour} * * * for PT2H in UTC (every day); 0 18 * * fri for P2DT14H in Europe/Berlin" in shown
    )
    listed = [line.split() for line in mesh("freeze").out.splitlines()]
    assert ["big", "now"] in [line[:2] for line in listed]
    assert 30 < sum(line[-2:] == ["every", "day"] for line in listed) < 33
    assert 3 < sum(line[-1:] == ["weekend"] for line in listed) < 7
    answer = mesh("thaw", "big", "--reason", "over")
    assert (answer.exit, answer.out) == (Exit.OK, "big: nothing to do.\n")
    assert answer.err.startswith("Warning: big stays frozen until ")
    assert answer.err.endswith(" by a freeze that comes again (every day).\n")
    # What the command does not know of stays.
    mesh("policy", "set", "big", "--window-moves", 9, "--reason", "tighter")
    assert len(policy("big")["recurringFreezes"]) == 2


def test_a_file_declares_freezes_that_come_again(two: MeshServer, tmp_path: Path) -> None:
    file = tmp_path / "namespaces.toml"
    file.write_text(
        """[namespaces.big.policy]
        involuntaryMovesLimited = true
        ownersMustBeRegistered = true
        [[namespaces.big.policy.recurringFreezes]]
        schedule = "0 18 * * fri"
        duration = "P2DT14H"
        timeZone = "Europe/Berlin"
        reason = "weekend"
        until = 2050-01-01T00:00:00Z
        """
    )
    assert mesh("namespaces", "apply", file, "--reason", "as declared").exit == Exit.OK
    weekend = RecurringFreeze("0 18 * * fri", "P2DT14H", "Europe/Berlin", "weekend", datetime(2050, 1, 1, tzinfo=UTC))
    assert two.run(two.mesh.namespace("big")).policy == replace(
        POLICY, involuntary_moves_limited=True, owners_must_be_registered=True, recurring_freezes=(weekend,)
    )
    file.write_text("[namespaces.big.policy]\nrecurringFreezes = []\n")
    assert mesh("namespaces", "apply", file, "--reason", "as declared").exit == Exit.OK
    assert policy("big")["recurringFreezes"] == []
    file.write_text(
        '[[namespaces.big.policy.recurringFreezes]]\nschedule = "0 18 * * fri"\nduration = "2 days"\n'
        'timeZone = "UTC"\nreason = "x"\n'
    )
    answer = mesh("namespaces", "apply", file, "--reason", "as declared")
    assert answer.exit == Exit.INVALID
    assert "policy.recurringFreezes[0].duration '2 days' is no duration" in answer.err
