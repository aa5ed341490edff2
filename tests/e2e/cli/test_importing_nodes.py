"""nodes import: a file and the nodes made equal, a change each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graph.cli.errors import ApiClient, Exit
from tests.support.command_line import Answer, omnirelay


def bring_in(*words: object, stdin: str, form: str = "csv") -> Answer:
    data = stdin.encode()
    return omnirelay("mesh", "nodes", "import", "-", "--format", form, "--reason", "a fleet", *words, stdin=data)


def nodes() -> dict[str, tuple[object, ...]]:
    listed = omnirelay("mesh", "nodes", "list", "--json").documents
    return {one["nodeId"]: (one["region"], one["zone"], one["labels"], one["weight"], one["status"]) for one in listed}


FLEET = """nodeId,region,zone,labels,weight,status
__a,eu,a,disk=ssd;rack=r1,2,ACTIVE
10.0.0.2:7000@17000,eu,,,,
"""


@pytest.mark.usefixtures("server")
def test_nodes_are_registered_changed_and_left() -> None:
    dry = bring_in("--dry-run", stdin=FLEET)
    assert dry.out == "2 nodes of -: 2 would be registered, 0 would be updated, 0 equal already.\n"
    assert dry.err.splitlines()[0] == (
        "Would register __a: region eu, zone a, labels disk=ssd, rack=r1, weight 2, status ACTIVE."
    )
    assert nodes() == {}
    assert bring_in(stdin=FLEET).out == "2 nodes of -: 2 registered, 0 updated, 0 equal already.\n"
    assert nodes() == {
        "__a": ("eu", "a", {"disk": "ssd", "rack": "r1"}, 2, "ACTIVE"),
        "10.0.0.2:7000@17000": ("eu", None, {}, 1, "ACTIVE"),
    }
    changed = FLEET.replace(",2,ACTIVE", ",3,DRAINING")
    assert bring_in(stdin=changed).out == "2 nodes of -: 0 registered, 1 updated, 1 equal already.\n"
    assert nodes()["__a"][3:] == (3, "DRAINING")
    document = bring_in("--json", stdin=changed).document
    assert (document["equal"], document["changes"]) == (2, [])


@pytest.mark.usefixtures("server")
def test_what_a_file_leaves_out_stays_and_null_clears() -> None:
    assert bring_in(stdin=FLEET).exit == Exit.OK
    lines = '{"nodeId":"__a","zone":null}\n{"nodeId":7,"labels":{"disk":"hdd"}}\n'
    document = bring_in("--json", stdin=lines, form="jsonl").document
    assert (document["registered"], document["updated"]) == (1, 1)
    assert nodes()["__a"] == ("eu", None, {"disk": "ssd", "rack": "r1"}, 2, "ACTIVE")
    assert nodes()["7"] == (None, None, {"disk": "hdd"}, 1, "ACTIVE")


@pytest.mark.usefixtures("server")
def test_a_removed_node_is_registered_again() -> None:
    assert bring_in(stdin="nodeId\na\n").exit == Exit.OK
    assert omnirelay("mesh", "nodes", "remove", "a", "--reason", "gone").exit == Exit.OK
    assert bring_in(stdin="nodeId\na\n").out == "1 node of -: 1 registered, 0 updated, 0 equal already.\n"


@pytest.mark.parametrize(
    ("form", "text", "problem"),
    [
        ("csv", "\n", "line 1: there is nothing in it"),
        ("csv", "nodeid\na\n", "line 1: there is no column 'nodeid'; did you mean nodeId?"),
        ("csv", "nodeId,nodeId\na,b\n", "line 1: names a column twice"),
        ("csv", "zone\na\n", "line 1: the column nodeId is missing"),
        ("csv", "nodeId,zone\na\n", "line 2: has 1 fields, the header has 2"),
        ("csv", 'nodeId\n"a\n', "line 2: is broken: a quote is never closed"),
        ("csv", "nodeId\na b\n", "line 2, nodeId: 'a b' is not an identifier"),
        ("csv", "nodeId,weight\na,1.5\n", "line 2, weight: must be a whole number from 1 to 1,048,576, not 1.5"),
        ("csv", f"nodeId,weight\na,{'9' * 5_000}\n", "line 2, weight: must be a whole number"),
        ("csv", "nodeId,status\na,REMOVED\n", "line 2, status: 'REMOVED' is none of ACTIVE"),
        ("csv", "nodeId,labels\na,=b\n", "line 2, labels: '' is not a key"),
        ("csv", "nodeId\na\na\n", "line 3, nodeId: names a again, after line 2"),
        ("jsonl", "[]", "line 1: must be an object, in braces"),
        ("jsonl", "{", "line 1: is not JSON"),
        ("jsonl", "[" * 100_000, "line 1: is nested too deeply"),
        ("jsonl", '{"nodeId":' + "1" * 5_000 + "}", "line 1: holds a number that is too long"),
        ("jsonl", '{"id":1}', "line 1: there is no member 'id'"),
        ("jsonl", '{"nodeId":true}', "line 1, nodeId: must be a string, not 'True'"),
        ("jsonl", '{"nodeId":"a","labels":[]}', "line 1, labels: must be an object of strings"),
        ("jsonl", '{"zone":"a"}', "line 1, nodeId: is missing"),
        ("jsonl", '{"nodeId":"a","weight":null}', "line 1, weight: is missing"),
    ],
    ids=range(21),
)
def test_a_line_that_will_not_do_is_named_before_a_server_is_asked(form: str, text: str, problem: str) -> None:
    answer = bring_in("--server", "http://127.0.0.1:1", stdin=text, form=form)
    assert answer.exit == Exit.INVALID
    assert answer.err.splitlines()[1].startswith(f"  {problem}")


@pytest.mark.usefixtures("server")
def test_a_node_that_changed_meanwhile_stops_the_rest_and_the_same_again_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert bring_in(stdin="nodeId\na\nb\n").exit == Exit.OK
    send = ApiClient.change

    def interfered(self: ApiClient, name: str, given: dict[str, Any]) -> dict[str, Any]:
        if given["nodeId"] == "b" and name == "UpdateNode":
            monkeypatch.setattr(ApiClient, "change", send)
            send(self, name, given | {"weight": 9})
        return send(self, name, given)

    monkeypatch.setattr(ApiClient, "change", interfered)
    text = "nodeId,zone\na,z\nb,z\nc,z\n"
    stopped = bring_in(stdin=text)
    assert stopped.exit == Exit.REFUSED
    assert stopped.err.splitlines()[-1] == "Written before that: 1 node. Run the same command again to go on."
    assert bring_in(stdin=text).out == "3 nodes of -: 1 registered, 0 updated, 2 equal already.\n"
    assert {node[1] for node in nodes().values()} == {"z"}


@pytest.mark.usefixtures("server")
def test_the_format_is_as_the_name_ends(tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    file.write_text(FLEET)
    assert omnirelay("mesh", "nodes", "import", file, "--reason", "r").exit == Exit.OK
    assert omnirelay("mesh", "nodes", "import", "-", "--reason", "r", stdin=b"").exit == Exit.INVALID
