"""Moves of a plan that a process was handed: unpickled a few at a time, equal to those that were packed."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.server import packed_moves
from graph.server.packed_moves import PackedMoves, pack_moves
from persistence.model.records import MoveReason
from persistence.planning.proposal import NOTHING, LeaderChange, Move, Proposal
from persistence.planning.what_if import DrainPreflight

pack_moves()


def moves(count: int) -> tuple[Move, ...]:
    reason = next(iter(MoveReason))
    leader = LeaderChange("a", None)
    return tuple(Move("ns", f"s{number}", number, "a", "b", reason, None, leader) for number in range(count))


def handed(record: Any) -> Any:
    return pickle.loads(pickle.dumps(record, pickle.HIGHEST_PROTOCOL))  # noqa: S301 - as above


def test_a_proposal_is_the_same_with_its_moves_packed() -> None:
    proposal = replace(NOTHING, moves=moves(1_234))
    known = proposal.id
    there: Proposal = handed(proposal)
    assert isinstance(there.moves, PackedMoves)
    assert there == proposal
    assert proposal == there
    assert hash(there.moves) == hash(proposal.moves)
    assert vars(there)["id"] == known, "what was computed before is not computed again"
    assert replace(there, remaining_moves=0).document == proposal.document
    assert handed(there) == proposal
    assert there != replace(proposal, moves=moves(1_233))


def test_a_preflight_is_too() -> None:
    preflight = DrainPreflight(("a",), 9, moves(501), 0, (), 3)
    there = handed(preflight)
    assert isinstance(there.moves, PackedMoves)
    assert there == preflight


def test_a_few_are_handed_over_as_they_are() -> None:
    assert type(handed(replace(NOTHING, moves=moves(500))).moves) is tuple


def test_a_page_unpickles_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    all_moves = moves(10_000)
    packed = PackedMoves.of(all_moves)
    unpacked: list[bytes] = []
    unpack = packed_moves._unpacked  # noqa: SLF001 - to count

    def counted(part: bytes) -> Any:
        unpacked.append(part)
        return unpack(part)

    monkeypatch.setattr(packed_moves, "_unpacked", counted)
    assert len(packed) == 10_000
    assert unpacked == []
    assert packed[700:750] == all_moves[700:750]
    assert packed[9_999] == all_moves[9_999]
    assert len(unpacked) == 2


@given(
    st.integers(0, 30),
    st.integers(1, 7),
    st.slices(30),
    st.integers(-35, 35),
)
def test_they_are_indexed_as_a_tuple(count: int, together: int, part: slice, index: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_moves, "_TOGETHER", together)
        expected, packed = moves(count), PackedMoves.of(moves(count))
        assert tuple(packed) == expected
        assert tuple(packed[part]) == expected[part]
        if -count <= index < count:
            assert packed[index] == expected[index]
        else:
            with pytest.raises(IndexError):
                packed[index]
