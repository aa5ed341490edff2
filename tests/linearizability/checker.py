"""Whether a history of one object is linearizable, and if not, the shortest part of it that already is not. Pure.

Wing and Gong's search ("Testing and verifying concurrent objects", 1993) with Lowe's two improvements ("Testing for
linearizability", 2017): an operation takes effect no sooner than the return of some operation demands it, and the same
configuration (the object's state, and which of the operations under way have taken effect) is looked at once.

All configurations are kept side by side, so there is no backtracking, and the return at which none is left is the
earliest one that cannot be explained. What makes this fast costs no generality: operations that only read take effect
as soon as they fit, what can never happen again is forgotten, and a configuration is dropped for another one with the
same state from which at least as much can follow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

S = TypeVar("S")
A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Operation(Generic[A]):
    """What was done, and what came of it as far as `action` knows. Times are of one monotonic clock, in nanoseconds.

    Without `returned`, it may take effect at any time after `invoked`, or never. `source` is what to show a person.
    """

    action: A
    invoked: int
    returned: int | None
    source: object = None


class Model(Protocol[S, A_contra]):
    """The object as a sequential program. States and actions are hashable values."""

    @property
    def initial(self) -> S: ...

    def step(self, state: S, action: A_contra) -> S | None:
        """The state after it; null if it cannot have gone like that in this state."""

    def only_reads(self, action: A_contra) -> bool:
        """Whether it leaves every state as it is."""

    def is_spent(self, state: S, action: A_contra) -> bool:
        """Whether it can happen neither in this state nor in any that can follow."""


def refuted_at(model: Model[S, A], operations: Sequence[Operation[A]]) -> Operation[A] | None:
    """The operation whose return nothing can explain: the first, in order of time. Null for a linearizable history."""
    search = _Search(model)
    for index, is_return in _events(operations):
        operation = operations[index]
        if not is_return:
            search.invoke(index, operation)
        elif not search.finish(index):
            return operation
    return None


def is_linearizable(model: Model[S, A], operations: Sequence[Operation[A]]) -> bool:
    return refuted_at(model, operations) is None


def shortest_refuted(model: Model[S, A], operations: Sequence[Operation[A]]) -> list[Operation[A]]:
    """Of a history that is not linearizable, what cannot be left out of the proof, in order of invocation.

    Nothing is left out that could be an excuse: reads are, and of a write it is left out that it had returned. If what
    remains cannot be linearized, neither can the whole. No operation that still has a return can lose it.
    """
    refuted = refuted_at(model, operations)
    assert refuted is not None, "the history is linearizable"
    assert refuted.returned is not None
    end = refuted.returned
    kept = [
        _loosened(operation) if operation.returned is None or operation.returned > end else operation
        for operation in sorted(operations, key=lambda each: each.invoked)
        if operation.invoked <= end
    ]
    chunk = len(kept)
    while chunk:
        for start in range(0, len(kept), chunk):
            loosened = [*kept[:start], *map(_loosened, kept[start : start + chunk]), *kept[start + chunk :]]
            if loosened != kept and not is_linearizable(model, loosened):
                kept = loosened
        chunk //= 2
    return [operation for operation in kept if operation.returned is not None or not model.only_reads(operation.action)]


def _loosened(operation: Operation[A]) -> Operation[A]:
    return replace(operation, returned=None)


def _events(operations: Sequence[Operation[A]]) -> Iterator[tuple[int, bool]]:
    """Index and whether it is the return, in order of time. What happens at the same time overlaps."""
    events = [(operation.invoked, False, index) for index, operation in enumerate(operations)]
    events += [(each.returned, True, index) for index, each in enumerate(operations) if each.returned is not None]
    return ((index, is_return) for _, is_return, index in sorted(events))


@dataclass(frozen=True, slots=True)
class _UnderWay(Generic[A]):
    """`bit` is its place in the sets of a configuration."""

    action: A
    bit: int
    reads: bool
    returns: bool


class _Configurations(Generic[S]):
    """A configuration is a state and a set of debts: of the operations under way those that must take effect and have
    not, and those that need not and have, or cannot any more. Kept are those with the fewest debts: what can be gone on
    to with more of them can be with less.
    """

    def __init__(self, configurations: Iterable[tuple[S, int]] = ()) -> None:
        self._debts: dict[S, list[int]] = {}
        for state, debts in configurations:
            self.add(state, debts)

    def add(self, state: S, debts: int) -> bool:
        """Whether it is kept."""
        kept = self._debts.setdefault(state, [])
        if any(not fewer & ~debts for fewer in kept):
            return False
        kept[:] = [more for more in kept if debts & ~more]
        kept.append(debts)
        return True

    def __contains__(self, configuration: tuple[S, int]) -> bool:
        state, debts = configuration
        return debts in self._debts.get(state, ())

    def __iter__(self) -> Iterator[tuple[S, int]]:
        return ((state, debts) for state, kept in self._debts.items() for debts in kept)


class _Search(Generic[S, A]):
    def __init__(self, model: Model[S, A]) -> None:
        self._model = model
        self._configurations = _Configurations([(model.initial, 0)])
        self._under_way: dict[int, _UnderWay[A]] = {}
        self._free: list[int] = []
        self._bits = 0

    def invoke(self, index: int, operation: Operation[A]) -> None:
        reads, returns = self._model.only_reads(operation.action), operation.returned is not None
        if reads and not returns:
            return  # says nothing
        if not self._free:
            self._free.append(1 << self._bits)
            self._bits += 1
        bit = self._free.pop()
        self._under_way[index] = _UnderWay(operation.action, bit, reads, returns)
        if returns:
            self._configurations = _Configurations((state, debts | bit) for state, debts in self._configurations)

    def finish(self, index: int) -> bool:
        """Whether it can have taken effect by now."""
        self._configurations = self._all_with(self._under_way[index].bit)
        owed_by_all = -1
        for _, debts in self._configurations:
            owed_by_all &= debts
        done = [other for other, each in self._under_way.items() if each.bit & owed_by_all and not each.returns]
        self._forget([index, *done])
        return any(self._configurations)

    def _all_with(self, bit: int) -> _Configurations[S]:
        """Every configuration that can be reached in which it has taken effect, and not more than it takes."""
        seen, reached = _Configurations[S](), _Configurations[S]()
        todo = deque(configuration for configuration in self._settled(self._configurations) if seen.add(*configuration))
        while todo:
            state, debts = todo.popleft()
            if not debts & bit:
                reached.add(state, debts)
            elif (state, debts) in seen:
                todo += [each for each in self._settled(self._following(state, debts)) if seen.add(*each)]
        return reached

    def _following(self, state: S, debts: int) -> Iterator[tuple[S, int]]:
        """One more of those under way takes effect. Of equal ones that need not return, the oldest goes first."""
        tried = set()
        for under_way in self._left(debts):
            if not under_way.returns:
                if under_way.action in tried:
                    continue
                tried.add(under_way.action)
            after = self._model.step(state, under_way.action)
            if after is not None:
                yield after, debts ^ under_way.bit

    def _settled(self, configurations: Iterable[tuple[S, int]]) -> Iterator[tuple[S, int]]:
        """Reads that fit take effect; what need not and cannot any more is over."""
        for state, before in configurations:
            debts = before
            for under_way in self._left(before):
                if under_way.reads:
                    over = self._model.step(state, under_way.action) is not None
                else:
                    over = not under_way.returns and self._model.is_spent(state, under_way.action)
                if over:
                    debts ^= under_way.bit
            yield state, debts

    def _left(self, debts: int) -> Iterator[_UnderWay[A]]:
        """What has not taken effect, and may."""
        return (each for each in self._under_way.values() if bool(debts & each.bit) is each.returns)

    def _forget(self, indexes: Iterable[int]) -> None:
        bits = 0
        for index in indexes:
            bit = self._under_way.pop(index).bit
            self._free.append(bit)
            bits |= bit
        self._configurations = _Configurations((state, debts & ~bits) for state, debts in self._configurations)
