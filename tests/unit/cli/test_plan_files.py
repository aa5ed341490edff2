"""A plan is named by its id or by a file: one that was changed names no plan at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import pytest

from graph.cli.errors import Exit, Failure
from graph.cli.plans import NamedPlan, named_plan, no_such_plan
from graph.client.address import read_address
from graph.client.records import Json
from tests.support.proposals import move, proposal
from tests.support.scripted_api import Script

PLAN: Final = proposal(move(1), move(2))
SERVER: Final = read_address("http://127.0.0.1:8080")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "plan.json"


def test_an_id_names_its_plan() -> None:
    assert named_plan(PLAN.id, SERVER) == NamedPlan(PLAN.id)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_file_names_the_plan_whose_document_it_holds(file: Path, end: str) -> None:
    file.write_bytes(f"{PLAN.document}{end}".encode())
    assert named_plan(str(file), SERVER) == NamedPlan(PLAN.id, str(file))


def test_stdin_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{PLAN.document}\n".encode())))
    assert named_plan("-", SERVER) == NamedPlan(PLAN.id, "stdin")


def test_a_file_that_was_edited_names_another_plan(file: Path) -> None:
    file.write_text(PLAN.document.replace("node-2", "node-3"))
    assert named_plan(str(file), SERVER).id != PLAN.id


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"7", b"null", b"no plan", b"\xff", b'{"moves": 7}'])
def test_a_file_that_is_no_plan_is_told_apart(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(Failure) as failed:
        named_plan(str(file), SERVER)
    assert (failed.value.exit, failed.value.message) == (Exit.INVALID, f"{file} is not a plan.")
    assert "rebalance plan --json" in failed.value.advice[0]


def test_what_is_neither_an_id_nor_a_file_is_refused(file: Path) -> None:
    with pytest.raises(Failure, match=r"neither the id of a plan, .* nor its beginning, nor a file") as failed:
        named_plan(str(file), SERVER)
    assert failed.value.exit is Exit.INVALID


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot be read: Is a directory") as failed:
        named_plan(str(tmp_path), SERVER)
    assert failed.value.exit is Exit.INVALID


def test_a_plan_that_is_not_kept_is_not_found_and_a_file_may_have_been_edited() -> None:
    by_id, by_file = no_such_plan(NamedPlan(PLAN.id)), no_such_plan(NamedPlan(PLAN.id, "plan.json"))
    assert (by_id.exit, by_file.exit) == (Exit.NOT_FOUND, Exit.NOT_FOUND)
    assert by_id.message == f"There is no plan {PLAN.id}."
    assert by_file.message.startswith("plan.json is not a plan of this server")
    assert "edited" in by_file.advice[0]


def plans(*ids: str) -> Json:
    created = {"actor": "ops", "reason": "room", "changeTicket": None, "committedAt": "2026-01-31T09:30:00Z"}
    nodes = [{"id": each, "status": "PROPOSED", "created": created} for each in ids]
    return {"rebalancePlans": {"nodes": nodes, "pageInfo": {"hasNextPage": False, "endCursor": None}}}


ONE, OTHER = "abcd" + 28 * "0", "abcd1" + 27 * "0"


def test_the_beginning_of_an_id_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    Script(PlanIds=plans(ONE, OTHER)).install(monkeypatch)
    assert named_plan("abcd1", SERVER) == NamedPlan(OTHER)
    assert named_plan("abcd0", SERVER) == NamedPlan(ONE)


def test_a_beginning_of_several_ids_lists_them(monkeypatch: pytest.MonkeyPatch) -> None:
    Script(PlanIds=plans(ONE, OTHER)).install(monkeypatch)
    with pytest.raises(Failure, match="abcd is the beginning of 2 plans' ids") as failed:
        named_plan("abcd", SERVER)
    assert failed.value.exit is Exit.INVALID
    assert failed.value.advice[0] == f"  {ONE}  PROPOSED, made by ops at 2026-01-31T09:30:00Z (room)"


def test_a_beginning_of_no_id_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    Script(PlanIds=plans(ONE)).install(monkeypatch)
    with pytest.raises(Failure, match="no plan whose id begins with beef") as failed:
        named_plan("beef", SERVER)
    assert failed.value.exit is Exit.NOT_FOUND


@pytest.mark.parametrize("text", ["abc", "abcg", 33 * "a"])
def test_what_is_too_short_or_too_long_is_no_beginning(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script().install(monkeypatch)
    with pytest.raises(Failure, match="nor its beginning, nor a file"):
        named_plan(text, SERVER)
    assert not script.requests


def test_a_file_of_that_name_is_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("abcd").write_text(PLAN.document)
    assert named_plan("abcd", SERVER) == NamedPlan(PLAN.id, "abcd")
