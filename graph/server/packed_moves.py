"""Moves as processes hand them to each other: pickled some hundreds at a time, and unpickled when they are read.

Of a plan mostly their number is asked for, or a page of them. To unpickle ten thousand takes the interpreter 20 ms,
which a thread of the server shares with its event loop.
"""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import chain
from operator import attrgetter
from typing import Any, Final, overload

from persistence.planning.proposal import Move, Proposal
from persistence.planning.what_if import DrainPreflight

_TOGETHER: Final = 500

# Pickled member by member, as dataclasses are, they take more than twice as long.
_members_of: Final = attrgetter(*(member.name for member in fields(Move)))


class PackedMoves(Sequence[Move]):
    """Equal to a tuple of the same moves."""

    __slots__ = ("_count", "_parts")

    def __init__(self, parts: Sequence[bytes], count: int) -> None:
        self._parts = parts
        self._count = count

    @classmethod
    def of(cls, moves: Sequence[Move]) -> PackedMoves:
        starts = range(0, len(moves), _TOGETHER)
        parts = [pickle.dumps(moves[start : start + _TOGETHER], pickle.HIGHEST_PROTOCOL) for start in starts]
        return cls(parts, len(moves))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Move]:
        return chain.from_iterable(map(_unpacked, self._parts))

    @overload
    def __getitem__(self, index: int) -> Move: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Move]: ...

    def __getitem__(self, index: int | slice) -> Move | Sequence[Move]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self._count)
            if step != 1:
                return tuple(self)[index]
            first = start // _TOGETHER
            found = tuple(chain.from_iterable(map(_unpacked, self._parts[first : -(-stop // _TOGETHER)])))
            return found[start - first * _TOGETHER : max(start, stop) - first * _TOGETHER]
        at = index + self._count if index < 0 else index
        if not 0 <= at < self._count:
            raise IndexError(index)
        return _unpacked(self._parts[at // _TOGETHER])[at % _TOGETHER]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PackedMoves | tuple) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedMoves, (self._parts, self._count)


def _unpacked(part: bytes) -> Sequence[Move]:
    moves: Sequence[Move] = pickle.loads(part)  # noqa: S301 - of a process of this server
    return moves


def pack_moves() -> None:
    """Have proposals and preflights that are pickled in this process hand their moves over so."""
    copyreg.pickle(Move, lambda move: (Move, _members_of(move)))
    copyreg.pickle(Proposal, _reduced_proposal)
    copyreg.pickle(DrainPreflight, _reduced_preflight)


def _reduced_proposal(proposal: Proposal) -> tuple[Any, ...]:
    """With what was made of it already, such as its document."""
    return copyreg.__newobj__, (Proposal,), {**vars(proposal), "moves": _packed(proposal.moves)}  # type: ignore[attr-defined]


def _reduced_preflight(preflight: DrainPreflight) -> tuple[Any, ...]:
    members = {member.name: getattr(preflight, member.name) for member in fields(DrainPreflight)}
    return DrainPreflight, tuple({**members, "moves": _packed(preflight.moves)}.values())


def _packed(moves: Sequence[Move]) -> Sequence[Move]:
    return moves if len(moves) <= _TOGETHER or isinstance(moves, PackedMoves) else PackedMoves.of(moves)
