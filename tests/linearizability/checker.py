"""Whether a history of one object is linearizable, and if not, the shortest part of it that already is not. Pure.

Wing and Gong's search ("Testing and verifying concurrent objects", 1993) with Lowe's two improvements ("Testing for
linearizability", 2017): an operation takes effect no sooner than the return of some operation demands it, and the same
configuration (the object's state, and which of the operations under way have taken effect) is looked at once.

All configurations are kept side by side, so there is no backtracking, and the return at which none is left is the
earliest one that cannot be explained. What makes this fast is that operations that only read take effect as soon as
they fit, which costs no generality, and that an operation which can never happen again is forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

S = TypeVar("S")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Operation(Generic[A]):
    """What was done, and what came of it as far as `action` knows. Times are of one monotonic clock, in nanoseconds.

    Without `returned`, it may take effect at any time after `invoked`, or never. `source` is what to show a person.
    """

    action: A
    invoked: int
    returned: int | None
    source: object = None


class Model(Protocol[S, A]):
    """The object as a sequential program. States and actions are hashable values."""

    @property
    def initial(self) -> S: ...

    def step(self, state: S, action: A) -> S | None:
        """The state after it; null if it cannot have gone like that in this state."""

    def only_reads(self, action: A) -> bool:
        """Whether it leaves every state as it is."""

    def is_spent(self, state: S, action: A) -> bool:
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


class _Search(Generic[S, A]):
    """A configuration is a state and the set of those under way that have taken effect, or are spent."""

    def __init__(self, model: Model[S, A]) -> None:
        self._model = model
        self._configurations: Collection[tuple[S, int]] = {(model.initial, 0)}
        self._under_way: dict[int, _UnderWay[A]] = {}
        self._free: list[int] = []
        self._bits = 0

    def invoke(self, index: int, operation: Operation[A]) -> None:
        reads = self._model.only_reads(operation.action)
        if operation.returned is None and reads:
            return  # says nothing
        if not self._free:
            self._free.append(1 << self._bits)
            self._bits += 1
        returns = operation.returned is not None
        self._under_way[index] = _UnderWay(operation.action, self._free.pop(), reads, returns)

    def finish(self, index: int) -> bool:
        """Whether it can have taken effect by now."""
        self._configurations = self._all_with(self._under_way[index].bit)
        self._forget(index)
        done_everywhere = -1
        for _, done in self._configurations:
            done_everywhere &= done
        for other, under_way in list(self._under_way.items()):
            if under_way.bit & done_everywhere and not under_way.returns:
                self._forget(other)
        return bool(self._configurations)

    def _all_with(self, bit: int) -> set[tuple[S, int]]:
        """Every configuration that can be reached in which it has taken effect, and not more than it takes."""
        todo = list(self._settled(self._configurations))
        seen = set(todo)
        reached = set()
        while todo:
            state, done = todo.pop()
            if done & bit:
                reached.add((state, done))
                continue
            for configuration in self._settled(self._following(state, done)):
                if configuration not in seen:
                    seen.add(configuration)
                    todo.append(configuration)
        return reached

    def _following(self, state: S, done: int) -> Iterator[tuple[S, int]]:
        """One more of those under way takes effect. Of equal ones that need not return, the oldest goes first."""
        tried = set()
        for under_way in self._under_way.values():
            if done & under_way.bit:
                continue
            if not under_way.returns:
                if under_way.action in tried:
                    continue
                tried.add(under_way.action)
            after = self._model.step(state, under_way.action)
            if after is not None:
                yield after, done | under_way.bit

    def _settled(self, configurations: Iterable[tuple[S, int]]) -> Iterator[tuple[S, int]]:
        """Reads that fit are done; what may happen and no longer can counts as done."""
        for state, already in configurations:
            done = already
            for under_way in self._under_way.values():
                if done & under_way.bit:
                    continue
                if under_way.reads:
                    fits = self._model.step(state, under_way.action) is not None
                else:
                    fits = not under_way.returns and self._model.is_spent(state, under_way.action)
                if fits:
                    done |= under_way.bit
            yield state, done

    def _forget(self, index: int) -> None:
        bit = self._under_way.pop(index).bit
        self._configurations = {(state, done & ~bit) for state, done in self._configurations}
        self._free.append(bit)
