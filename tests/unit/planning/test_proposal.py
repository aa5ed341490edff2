"""A plan is a document that names itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from persistence.model.fields import canonical_json, plan_id_problem
from persistence.model.records import MoveReason
from persistence.planning.proposal import PlannedNode, document_id, read_proposal, urgency
from tests.support.proposals import PINNED, UNPLACED, move, proposal

EVERYTHING = replace(
    proposal(
        *(move(number, reason) for number, reason in enumerate(MoveReason)),
        move(1, namespace="Grüße"),
        remaining=3,
        loads=4,
        violations=(PINNED, UNPLACED),
    ),
    nodes=(PlannedNode("node-1", 4, "e" * 32), PlannedNode("node-2", 1)),
)


def test_what_was_written_is_read_again() -> None:
    again = read_proposal(EVERYTHING.document)
    assert again == EVERYTHING
    assert (again.document, again.id) == (EVERYTHING.document, EVERYTHING.id)
    assert {type(one.reason) for one in again.moves} == {MoveReason}


@pytest.mark.parametrize("format_", ["omnirelay.plan.v2", "", None, 1])
def test_another_format_is_not_read(format_: object) -> None:
    document = canonical_json({**json.loads(EVERYTHING.document), "format": format_})
    with pytest.raises(ValueError, match=r"and not omnirelay\.plan\.v1"):
        read_proposal(document)


def test_the_document_is_canonical_json() -> None:
    """Written anew with sorted members and without spaces, it is the same."""
    assert EVERYTHING.document == canonical_json(json.loads(EVERYTHING.document))
    assert json.loads(EVERYTHING.document)["format"] == "omnirelay.plan.v1"


def test_a_plan_is_named_by_its_document() -> None:
    digest = hashlib.sha256(EVERYTHING.document.encode()).hexdigest()
    assert EVERYTHING.id == document_id(EVERYTHING.document) == digest[:32]
    assert replace(EVERYTHING, remaining_moves=4).id != EVERYTHING.id


@pytest.mark.parametrize("wrong", ["", "0" * 31, "0" * 33, "A" * 32, "g" * 32, "0" * 32 + "\n"])
def test_what_is_no_name_of_a_plan_is_told(wrong: str) -> None:
    assert plan_id_problem(wrong) == "must be the id of a plan: 32 hex digits"
    assert plan_id_problem(EVERYTHING.id) is None


def test_urgency_follows_the_order_of_the_reasons() -> None:
    assert [urgency(reason) for reason in MoveReason] == list(range(len(MoveReason)))


def test_a_plan_says_how_much_of_the_mesh_it_moves() -> None:
    assert proposal(move(1), move(2), shards=8).moved_percent == 25.0
    assert replace(EVERYTHING, namespaces=()).moved_percent == 0.0
