"""list, get, history, diff: what an operator sees of the mesh, and what a program does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from graph.cli.errors import Exit
from graph.client.http import Requests
from graph.client.records import Json
from tests.support.command_line import omnirelay
from tests.support.mesh import Mesh, because, new, patch
from tests.support.mesh_server import MeshServer


async def move(mesh: Mesh, shard_id: str, owner: str, **why: str) -> None:
    shard = await mesh.shard(shard_id, "orders")
    assert shard is not None
    await mesh.update(patch(shard, owner_node_id=owner), change=because("hot", actor="alice", **why))


@pytest.mark.usefixtures("orders")
def test_list_shows_every_shard_with_its_owner() -> None:
    answer = omnirelay("mesh", "shards", "list")
    lines = [line.split() for line in answer.out.splitlines()]
    assert lines[0][:4] == ["NAMESPACE", "SHARD", "OWNER", "EPOCH"]
    assert [line[:3] for line in lines[1:]] == [
        ["orders", "s1", "node-1"],
        ["orders", "s2", "node-1"],
        ["orders", "s3", "node-2"],
    ]
    assert (answer.exit, answer.err) == (Exit.OK, "3 shards at revision 3.\n")


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--owner", "node-2"], ["s3"]),
        (["--owner", "node-1", "--owner", "node-2", "--limit", "2"], ["s1", "s2"]),
        (["--search", "2"], ["s2"]),
        (["--status", "active", "--namespace", "orders"], ["s1", "s2", "s3"]),
        (["--status", "DRAINING"], []),
        (["--as-of", "1"], ["s1"]),
        (["--as-of", "-1"], ["s1", "s2"]),
        (["--as-of", "1h"], []),
    ],
)
def test_list_can_be_narrowed(options: list[str], expected: list[str]) -> None:
    document = omnirelay("mesh", "shards", "list", "--json", *options).document
    assert [shard["shardId"] for shard in document["shards"]] == expected


def test_a_list_of_many_pages_is_one_exact_snapshot(server: MeshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.run(server.mesh.configure("orders"))
    names = [f"s{number:04}" for number in range(1_201)]
    server.run(server.mesh.create(*(new(name, namespace="orders") for name in names)))
    reader = server.mesh.store.shards
    read_page = type(reader).page

    async def page_then_write(*arguments: object) -> object:
        page = await read_page(*arguments)  # type: ignore[arg-type]  # handed on as they came
        await move(server.mesh, "s1200", f"node-{page.position.revision}")
        return page

    monkeypatch.setattr(type(reader), "page", page_then_write)
    document = omnirelay("mesh", "shards", "list", "--json").document
    assert [shard["shardId"] for shard in document["shards"]] == names
    assert document["shards"][-1]["ownerNodeId"] == "node-a"  # as it was at the revision of the first page
    assert document["revision"] == "1201"


def test_the_cursor_of_a_list_is_where_to_follow_it_from(orders: MeshServer) -> None:
    cursor = omnirelay("mesh", "shards", "list", "--json").document["cursor"]
    orders.run(move(orders.mesh, "s1", "node-2"))
    (line,) = omnirelay("mesh", "shards", "watch", "--json", "--after", cursor, "--limit", "1").documents
    assert (line["shardId"], line["revision"]) == ("s1", "4")


def test_get_shows_the_shard_and_who_changed_it_last(orders: MeshServer) -> None:
    orders.run(move(orders.mesh, "s1", "node-2", change_ticket="CHG-7"))
    answer = omnirelay("mesh", "shards", "get", "orders", "s1")
    facts = dict(line.split(maxsplit=1) for line in answer.out.splitlines() if not line.startswith("changed by"))
    assert facts["owner"] == "node-2 (epoch 2)"
    assert (facts["ticket"], facts["reason"]) == ("CHG-7", "hot")
    assert "changed by  alice (change 3)" in answer.out


def test_get_in_json_is_the_shard_and_its_last_change(orders: MeshServer) -> None:
    orders.run(move(orders.mesh, "s1", "node-2"))
    document = omnirelay("mesh", "shards", "get", "orders", "s1", "--json").document
    assert (document["shard"]["ownerNodeId"], document["lastChange"]["actor"]) == ("node-2", "alice")


def test_get_tells_the_last_change_from_the_one_that_gave_it_its_owner(orders: MeshServer) -> None:
    orders.run(move(orders.mesh, "s1", "node-2"))
    omnirelay(
        *("mesh", "shards", "set", "orders/s1", "--expected-version", 2, "--capacity", 3),
        *("--reason", "grown", "--actor", "bob"),
    )
    document = omnirelay("mesh", "shards", "get", "orders", "s1", "--json").document
    assert (document["lastChange"]["actor"], document["ownerChange"]["actor"]) == ("bob", "alice")
    assert "placed by   alice at " in omnirelay("mesh", "shards", "get", "orders", "s1").out


def test_get_of_one_shard_is_one_small_request(orders: MeshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        orders.run(move(orders.mesh, "s1", f"node-{number % 2 + 1}9"))
    answers: list[str] = []
    send = Requests.execute

    def weighed(server: Requests, name: str, variables: Json | None = None) -> Json:
        answer = send(server, name, variables)
        answers.append(json.dumps(answer))
        return answer

    monkeypatch.setattr(Requests, "execute", weighed)
    omnirelay("mesh", "shards", "get", "orders", "s1")
    assert len(answers) == 1
    assert len(answers[0]) < 2_000


def test_get_answers_about_the_past_with_the_change_of_then(orders: MeshServer) -> None:
    orders.run(move(orders.mesh, "s1", "node-2"))
    document = omnirelay("mesh", "shards", "get", "orders", "s1", "--as-of", "3", "--json").document
    assert (document["shard"]["ownerNodeId"], document["lastChange"]["actor"]) == ("node-1", "ops")


@pytest.mark.usefixtures("orders")
def test_get_of_nothing_says_where_to_look() -> None:
    answer = omnirelay("mesh", "shards", "get", "orders", "s9")
    assert (answer.exit, answer.out) == (Exit.NOT_FOUND, "")
    assert answer.err.startswith("There is no shard s9 in namespace orders.\n")
    assert "omnirelay mesh shards history orders s9" in answer.err


@pytest.mark.usefixtures("orders")
def test_get_in_a_namespace_that_there_is_not_names_the_nearest_one() -> None:
    answer = omnirelay("mesh", "shards", "get", "ordrs/s1")
    assert (answer.exit, answer.out) == (Exit.NOT_FOUND, "")
    assert answer.err.splitlines()[:2] == ["There is no namespace ordrs.", "Did you mean orders?"]


def test_history_is_newest_first_and_can_be_narrowed(orders: MeshServer) -> None:
    orders.run(move(orders.mesh, "s1", "node-2", change_ticket="CHG-7"))

    def revisions(*options: str) -> list[str]:
        rows = omnirelay("mesh", "shards", "history", "--json", *options).documents
        return [row["revision"] for row in rows]

    assert revisions() == ["4", "3", "2", "1"]
    assert revisions("orders", "s1") == ["4", "1"]
    assert revisions("--owner", "node-2") == ["4", "3"]
    assert revisions("--ticket", "CHG-7") == ["4"]
    assert revisions("--actor", "ops", "--limit", "2") == ["3", "2"]
    answer = omnirelay("mesh", "shards", "history", "--json", "--since", "1h", "orders", "s9")
    assert (answer.exit, answer.document["error"]["code"]) == (Exit.NOT_FOUND, "NOT_FOUND")


def test_history_shows_what_changed_by_whom_and_why(orders: MeshServer) -> None:
    orders.run(move(orders.mesh, "s1", "node-2"))
    answer = omnirelay("mesh", "shards", "history", "orders", "--limit", "1")
    assert answer.out.splitlines()[1].split()[2:8] == ["orders/s1", "2", "UPDATED", "node-1", "->", "node-2"]
    assert answer.err == "These are the newest 1; for more raise --limit.\n"


def test_diff_is_the_net_difference_with_a_summary(orders: MeshServer) -> None:
    orders.run(move(orders.mesh, "s1", "node-2"))
    orders.run(move(orders.mesh, "s1", "node-3"))
    orders.run(orders.mesh.create(new("s4", namespace="orders")))
    answer = omnirelay("mesh", "shards", "diff", "3")
    rows = [line.split() for line in answer.out.splitlines()]
    assert rows[1][:5] == ["orders/s1", "UPDATED", "node-1", "->", "node-3"]
    assert rows[2][:5] == ["orders/s4", "CREATED", "-", "->", "node-a"]
    summary = "Revision 3 to 6: 1 created, 1 moved, 0 changed, 0 deleted; 33.3 % of 3 shards moved."
    assert answer.out.splitlines()[3] == summary
    assert answer.exit == Exit.OK


@pytest.mark.parametrize(
    ("moments", "difference"),
    [
        (["3"], {"from": "3", "to": "4"}),
        (["-1"], {"from": "3", "to": "4"}),
        (["-4", "-1"], {"from": "0", "to": "3"}),
        (["4", "3"], {"from": "4", "to": "3"}),
        (["1h", "2"], {"from": "0", "to": "2"}),
    ],
)
def test_diff_takes_revisions_ages_and_times(
    orders: MeshServer, moments: list[str], difference: dict[str, str]
) -> None:
    orders.run(move(orders.mesh, "s1", "node-2"))
    document = omnirelay("mesh", "shards", "diff", *moments, "--json").document
    assert difference.items() <= document.items()


def test_diff_of_a_namespace_leaves_the_others_out(orders: MeshServer) -> None:
    orders.run(orders.mesh.configure("billing"))
    orders.run(orders.mesh.create(new("s9")))
    document = omnirelay("mesh", "shards", "diff", "0", "--namespace", "billing", "--json").document
    assert document["summary"] == {
        "created": 1, "moved": 0, "changed": 0, "deleted": 0, "shards": 0, "movedPercent": None,
    }  # fmt: skip
    assert [diff["shardId"] for diff in document["diffs"]] == ["s9"]


@pytest.mark.parametrize(
    ("moments", "shards"), [(["3"], 3), (["2"], 2), (["3", "5"], 3), (["6", "3"], 3), (["5", "6"], 4)]
)
def test_diff_counts_the_shards_of_the_past_where_the_server_stops_counting(
    orders: MeshServer, monkeypatch: pytest.MonkeyPatch, moments: list[str], shards: int
) -> None:
    """It looks at a thousand of them, or at none here."""
    orders.run(move(orders.mesh, "s1", "node-2"))
    orders.run(orders.mesh.create(new("s4", namespace="orders")))
    gone = orders.run(orders.mesh.shard("s2", "orders"))
    assert gone is not None
    orders.run(orders.mesh.delete(gone))
    stop_counting(orders, monkeypatch, now=False)
    summary = omnirelay("mesh", "shards", "diff", *moments, "--namespace", "orders", "--json").document["summary"]
    assert (summary["shards"], summary["movedPercent"]) == (shards, round(100 * summary["moved"] / shards, 6))
    stop_counting(orders, monkeypatch, now=True)
    answer = omnirelay("mesh", "shards", "diff", "3")
    assert answer.out.splitlines()[-1] == "Revision 3 to 6: 1 created, 1 moved, 0 changed, 1 deleted."
    assert omnirelay("mesh", "shards", "diff", "3", "--json").document["summary"]["shards"] is None


def stop_counting(orders: MeshServer, monkeypatch: pytest.MonkeyPatch, *, now: bool) -> None:
    """Of the past, or `now` as well."""
    reader = type(orders.mesh.store.shards)
    read_page = reader.page

    async def page(self: Any, where: Any, request: Any, as_of: Any = None) -> Any:
        found = await read_page(self, where, request, as_of)
        if as_of is None and not now:
            return found
        return replace(found, value=replace(found.value, total=0, total_is_exact=False))

    monkeypatch.setattr(reader, "page", page)


@pytest.mark.usefixtures("orders")
def test_diff_with_exit_code_answers_as_git_does() -> None:
    assert omnirelay("mesh", "shards", "diff", "3", "--exit-code").exit == Exit.OK
    assert omnirelay("mesh", "shards", "diff", "2", "--exit-code").exit == Exit.NO
    assert omnirelay("mesh", "shards", "diff", "9", "--exit-code").exit == Exit.POSITION
    assert omnirelay("mesh", "shards", "diff", "--bogus", "--exit-code").exit == Exit.INVALID


def test_what_was_compacted_says_so_and_where_history_begins(orders: MeshServer) -> None:
    orders.memory.tables = replace(orders.memory.tables, floor=2)
    answer = omnirelay("mesh", "shards", "diff", "1")
    assert answer.exit == Exit.POSITION
    assert answer.err.startswith("COMPACTED: revision 1 was compacted; the oldest position that can be served is 2.")


@pytest.mark.usefixtures("orders")
def test_a_filter_the_api_refuses_is_invalid_input() -> None:
    answer = omnirelay("mesh", "shards", "list", "--owner", "two words")
    assert answer.exit == Exit.INVALID
    assert "'two words' is not an identifier" in answer.err


@pytest.mark.usefixtures("orders")
def test_namespaces_are_listed() -> None:
    answer = omnirelay("mesh", "namespaces", "list")
    assert answer.out.splitlines()[1].split()[:5] == ["orders", "rendezvous", "{}", "1", "3"]
    (document,) = omnirelay("mesh", "namespaces", "list", "--json").documents
    assert (document["name"], document["shardCount"]) == ("orders", 3)


def test_without_a_server_it_says_how_to_get_one(server: MeshServer) -> None:
    server.stop()
    answer = omnirelay("mesh", "shards", "list")
    assert (answer.exit, answer.out) == (Exit.UNAVAILABLE, "")
    assert answer.err.startswith(f"There is no server at {server.url}: ")
    assert "omnirelay serve" in answer.err


@pytest.mark.usefixtures("server")
def test_a_server_of_something_else_is_told_apart(server: MeshServer) -> None:
    answer = omnirelay("mesh", "shards", "list", "--server", f"{server.url}/elsewhere")
    assert answer.exit == Exit.UNAVAILABLE
    assert f"{server.url}/elsewhere/graphql answered with HTTP 404, not with GraphQL" in answer.err


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize(
    "command",
    [
        ["shards", "list", "--namespace", "ordrs"],
        ["shards", "list", "--namespace", "ordrs", "--as-of", "1"],
        ["shards", "history", "ordrs"],
        ["shards", "history", "ordrs", "s1"],
        ["shards", "diff", "0", "--namespace", "ordrs"],
        ["shards", "watch", "--namespace", "ordrs"],
        ["shards", "export", "--namespace", "ordrs"],
        ["rebalance", "list", "--namespace", "ordrs"],
    ],
    ids=" ".join,
)
def test_a_namespace_that_does_not_exist_is_not_found(command: list[str]) -> None:
    answer = omnirelay("mesh", *command)
    assert (answer.exit, answer.out) == (Exit.NOT_FOUND, "")
    assert answer.err.splitlines() == [
        "There is no namespace ordrs.",
        "Did you mean orders?",
        "What namespaces there are: omnirelay mesh namespaces list",
    ]
