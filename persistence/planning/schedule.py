"""The order in which the moves of a namespace are made, so that it is within its bounds wherever its plan is cut.

The most urgent move comes first. Where its target is full, the moves that make room there come before it; where its
target owns another shard of its group, that one leaves first. Moves that wait for each other in a circle are a batch:
they are made in one change. This is list scheduling: the next batch is the most urgent one that is possible.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Container, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from itertools import islice
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from persistence.planning.anti_affinity import Groups
from persistence.planning.holdings import Holdings
from persistence.planning.proposal import Move, Violation, urgency_order
from persistence.planning.snapshot import PlacedShard, PlacementSnapshot
from persistence.planning.waves import ChangeLimit, change_limit, is_limited, wave_count
from strategies.placing import Placer

Batch: TypeAlias = Sequence[int]
"""The positions of moves that are made together. Most batches are one move."""

_UNAVOIDABLE: Final = "no order of its moves avoids that"

_LOOKED_AT: Final = 16
"""Nodes from which a circle is looked for before a bound is exceeded."""


@dataclass(frozen=True, slots=True)
class BatchLimit:
    """How many moves of a namespace one change can make, within a plan of at most `max_moves`."""

    change: ChangeLimit
    max_moves: int

    def allows(self, moves: Sequence[Move]) -> bool:
        return len(moves) <= self.max_moves and sum(map(self.change.counts, moves)) <= self.change.moves

    def __str__(self) -> str:
        most, policy = self.change.moves, self.change.policy
        if self.max_moves < most:
            return f"the plan's maxMoves allows {self.max_moves:,}"
        if policy.window_moves == most:
            return f"the window of {policy.window_seconds:,} seconds allows {most:,}"
        return f"the move budget of {policy.move_budget_percent:g} % allows {most:,}"


class Step(NamedTuple):
    """What is made next: a batch, the most urgent move that it is for (itself, or one that waits for it), and, by node,
    how many shards there are on nodes that it brings over a bound, with the violations.

    `late`: moves that its policy limits are among those that may have to be made before it.
    """

    late: bool
    urgent: int
    batch: Batch
    peaks: Mapping[str, tuple[int, Violation]]


@dataclass(frozen=True, slots=True)
class Order:
    """Moves as a plan has them, `together` and `waves` too. `limits` are those of the namespaces."""

    moves: tuple[Move, ...]
    together: tuple[tuple[int, int], ...] | None
    waves: int
    violations: tuple[Violation, ...]
    limits: Mapping[str, ChangeLimit]


def schedule(
    snapshot: PlacementSnapshot, moves: Iterable[Move], placers: Mapping[str, Placer | None], max_moves: int
) -> Order:
    """As many of `moves` as one plan can have, in an order in which every cut of it is safe.

    Of several namespaces, which do not depend on each other, the one that has the most urgent move to make comes next.
    """
    sorted_moves: dict[str, list[Move]] = {space.name: [] for space in snapshot.namespaces}
    for move in sorted(moves, key=urgency_order):
        sorted_moves[move.namespace].append(move)
    limits = {space.name: change_limit(len(snapshot.shards[space.name]), space.policy) for space in snapshot.namespaces}
    schedules = []
    for space in snapshot.namespaces:
        name = space.name
        limit = BatchLimit(limits[name], max_moves)
        schedules.append(Schedule(name, snapshot.shards[name], sorted_moves[name], placers[name], limit))
    made: list[Move] = []
    together: list[tuple[int, int]] = []
    peaks: dict[tuple[str, str], tuple[int, Violation]] = {}
    steps = [(iter(one), sorted_moves[name]) for name, one in zip(sorted_moves, schedules, strict=True)]
    following = [
        ((step.late, urgency_order(its[step.urgent])), number, step)
        for number, (rest, its) in enumerate(steps)
        for step in islice(rest, 1)
    ]
    heapify(following)
    while following and len(made) < max_moves:
        _, number, step = following[0]
        rest, its = steps[number]
        if len(made) + len(step.batch) > max_moves:
            heappop(following)
            continue
        if len(step.batch) > 1:
            together.append((len(made), len(step.batch)))
        made += (its[position] for position in step.batch)
        for node_id, peak in step.peaks.items():
            key = its[0].namespace, node_id
            peaks[key] = max(peaks.get(key, peak), peak, key=itemgetter(0))
        if (after := next(rest, None)) is None:
            heappop(following)
        else:
            heapreplace(following, ((after.late, urgency_order(its[after.urgent])), number, after))
    stuck = (violation for one in schedules for violation in one.stuck)
    return Order(
        tuple(made),
        tuple(together) or None,
        wave_count(made, together, limits),
        (*stuck, *(violation for _, (_, violation) in sorted(peaks.items()))),
        limits,
    )


class Schedule:
    """The batches of one namespace, lazily. `moves` are the most urgent first.

    No change can make a batch larger than `limit`, unless it is forced. Where it takes one to keep a group apart, it
    comes after everything else; where it takes one to keep within a bound, the bound is exceeded by one shard instead.
    """

    def __init__(
        self,
        namespace: str,
        shards: Sequence[PlacedShard],
        moves: Sequence[Move],
        placer: Placer | None,
        limit: BatchLimit,
    ) -> None:
        self._namespace, self._limit = namespace, limit
        self._moves = moves
        bounded = moves and placer is not None and placer.bounded
        self._holdings = Holdings(placer, shards, moves) if bounded and placer is not None else None
        self._groups = Groups(shards, moves)
        self._pending = set(range(len(moves)))
        self._early = True
        """As long as there are moves that the policy does not limit, and that do not have to wait for others that it
        does: those are not held up by a budget or a freeze."""
        self._into: dict[str, list[int]] = defaultdict(list)
        self._out: dict[str, dict[str, deque[int]]] = defaultdict(lambda: defaultdict(deque))
        self._ready: list[tuple[int, str]] = []
        """The head of each node that may have room: the most urgent move that leads there."""
        self._full: set[str] = set()
        self._closed: list[tuple[int, str]] = []
        """Their heads, some of which have been made."""
        self._dead_ends: set[str] = set()
        """Nodes from which no moves lead to one that has room, since a node gave a shard away."""
        self._thresholds: list[tuple[int, str]] = []
        """The load of all from which on they have room."""
        self._waiting: dict[int, list[int]] = defaultdict(list)
        """By a move that another shard of their group makes first."""
        self._aside: set[int] = set()
        self._oversized: list[Batch] = []
        self._peaks: dict[str, tuple[int, Violation]] = {}
        """Of the batch that was made last."""
        self.stuck: list[Violation] = []
        """Moves that are not made, or only by a change that is forced, as far as they have been come to."""

    def __iter__(self) -> Iterator[Step]:
        if self._holdings is None and not self._groups:
            return (Step(self._limits(number), number, (number,), {}) for number in range(len(self._moves)))
        return self._steps()

    def _steps(self) -> Iterator[Step]:
        for position, move in enumerate(self._moves):
            self._into[move.to_node_id].append(position)
            self._out[move.from_node_id][move.to_node_id].append(position)
        self._ready = [(waiting[0], node_id) for node_id, waiting in self._into.items()]
        heapify(self._ready)
        while self._ready or self._closed:
            self._reopen()
            if (node_id := self._most_urgent()) is not None and (head := self._head(node_id)) is not None:
                for batch in self._attempt(head):
                    yield Step(not self._early, head, batch, self._peaks)
                following = self._head(node_id)
                if following == head:
                    self._close(node_id, head)
                elif following is not None:
                    heappush(self._ready, (following, node_id))
            elif not self._ready and (found := self._untangled()) is not None:
                urgent, batch = found
                yield Step(late=True, urgent=urgent, batch=batch, peaks=self._peaks)
        for batch in self._oversized:
            yield Step(late=True, urgent=batch[0], batch=batch, peaks={})

    def _most_urgent(self) -> str | None:
        """The node, of those that may have room, whose head is the most urgent."""
        while self._ready or self._early:
            if self._early and (not self._ready or self._limits(self._ready[0][0])):
                self._early = False
                for node_id in sorted(self._full):
                    self._open(node_id)
                continue
            position, node_id = heappop(self._ready)
            head = None if node_id in self._full else self._head(node_id)
            if head == position:
                return node_id
            if head is not None:
                heappush(self._ready, (head, node_id))
        return None

    def _limits(self, position: int) -> bool:
        """Whether the policy limits the move."""
        return is_limited(self._moves[position].reason, self._limit.change.policy)

    def _allowed(self, batch: Batch) -> bool:
        return self._limit.allows([self._moves[position] for position in batch])

    def _head(self, node_id: str) -> int | None:
        waiting = self._into[node_id]
        while waiting and (waiting[0] not in self._pending or waiting[0] in self._aside):
            heappop(waiting)
        return waiting[0] if waiting else None

    def _attempt(self, position: int) -> Iterator[Batch]:
        """What makes the move, as far as that is possible now; it is pending still if not."""
        while position in self._pending:
            chain = self._groups.chain(position)
            if chain is None:
                self._leave(position)
            elif chain.closed and not self._allowed(chain.moves):
                self._postpone(chain.moves)
            elif self._early and any(map(self._limits, chain.moves)):
                return
            elif chain.closed:
                yield self._make(chain.moves)
            else:
                first = chain.moves[-1]
                if not (yield from self._make_room(first)):
                    if first != position:
                        self._waiting[first].append(position)
                        self._aside.add(position)
                    return
                yield self._make((first,))

    def _make_room(self, position: int) -> Generator[Batch, None, bool]:
        move = self._moves[position]
        while self._holdings is not None and not self._holdings.has_room(move):
            if self._early:
                return False
            found = self._nearest(move.to_node_id)
            if found is None:
                return False
            yield self._make((found,))
        return True

    def _nearest(self, node_id: str) -> int | None:
        """The last of the fewest moves that make room on a full node one after another: its target has room."""
        if node_id in self._dead_ends:
            return None
        queue, seen = deque([node_id]), {node_id}
        while queue:
            for target, leaving in self._out[queue.popleft()].items():
                unseen = target not in seen and target not in self._dead_ends
                if unseen and (position := self._first(leaving)) is not None:
                    if self._holdings is None or self._holdings.has_room(self._moves[position]):
                        return position
                    seen.add(target)
                    queue.append(target)
        self._dead_ends |= seen
        return None

    def _first(self, leaving: deque[int]) -> int | None:
        """The most urgent of the moves from one node to another that waits for no other shard of its group."""
        while leaving and leaving[0] not in self._pending:
            leaving.popleft()
        return next((one for one in leaving if one in self._pending and self._groups.is_free(one)), None)

    def _untangled(self) -> tuple[int, Batch] | None:
        """Of moves none of which has room: the most urgent ones that make room for each other in a circle.

        If there are none, or more than fit into one change, the most urgent move, over the bound; null if none is left.
        """
        looked_at: list[tuple[int, str]] = []
        found: Batch | None = None
        reason = _UNAVOIDABLE
        while self._closed and found is None and len(looked_at) < _LOOKED_AT:
            head, node_id = heappop(self._closed)
            if node_id not in self._full or (now := self._head(node_id)) is None:
                continue
            if now != head:
                heappush(self._closed, (now, node_id))
                continue
            if not self._groups.is_free(head):
                self._open(node_id)  # it has become the head since the node was closed
                break
            looked_at.append((head, node_id))
            circle = self._circle(head)
            if circle is not None and self._allowed(circle):
                found = circle
            elif circle is not None and len(looked_at) == 1:
                reason = f"{len(circle):,} moves make room for each other in a circle, and {self._limit}"
        for entry in looked_at:
            heappush(self._closed, entry)
        if not looked_at or self._ready:
            return None
        if found is None:
            return looked_at[0][0], self._make((looked_at[0][0],), reason)
        return looked_at[-1][0], self._make(found)

    def _circle(self, position: int) -> Batch | None:
        """The fewest moves, this one first, each of which makes room for the one before, and it for the last."""
        move = self._moves[position]
        by: dict[str, int] = {}
        queue = deque([(move.to_node_id, position)])
        followed: deque[str] = deque()
        while queue or followed:
            if not queue:
                queue.extend(self._leading_on(followed.popleft(), by))
                continue
            node_id, found = queue.popleft()
            if node_id in by:
                continue
            by[node_id] = found
            followed.append(node_id)
            closing = self._out[node_id].get(move.from_node_id)
            if closing is not None and (last := self._first(closing)) is not None:
                path = [last]
                while path[-1] != position:
                    path.append(by[self._moves[path[-1]].from_node_id])
                return path[::-1]
        return None

    def _leading_on(self, node_id: str, but: Container[str]) -> Iterator[tuple[str, int]]:
        """The nodes that moves from this one lead to, with the most urgent of them."""
        for target, leaving in self._out[node_id].items():
            if target not in but and (found := self._first(leaving)) is not None:
                yield target, found

    def _make(self, batch: Batch, reason: str = "") -> Batch:
        moves = [self._moves[position] for position in batch]
        self._peaks = {}
        self._pending.difference_update(batch)
        self._groups.make(batch)
        for position in batch:
            self._wake(position)
        if self._holdings is not None:
            self._holdings.make(moves)
            # A single move that its target had room for brings it over no bound.
            for move in moves if reason or len(batch) > 1 else ():
                self._note(move.to_node_id, reason or _UNAVOIDABLE)
        if len(batch) == 1 or (self._holdings is not None and self._holdings.by_capacity):
            self._dead_ends.clear()
            for move in moves:
                self._open(move.from_node_id)
        return batch

    def _note(self, node_id: str, reason: str) -> None:
        """What is too much on the node now."""
        if self._holdings is not None and (found := self._holdings.excess(node_id)) is not None:
            count, message = found
            text = f"{message}, before all moves are made: {reason}"
            self._peaks[node_id] = count, Violation("PEAK_EXCEEDED", self._namespace, None, node_id, text)

    def _wake(self, position: int) -> None:
        for one in self._waiting.pop(position, ()):
            self._aside.discard(one)
            node_id = self._moves[one].to_node_id
            heappush(self._into[node_id], one)
            if node_id in self._full:
                heappush(self._closed, (one, node_id))
            else:
                heappush(self._ready, (one, node_id))

    def _open(self, node_id: str) -> None:
        """Look again whether the node has room."""
        if node_id in self._full:
            self._full.remove(node_id)
            if (head := self._head(node_id)) is not None:
                heappush(self._ready, (head, node_id))

    def _close(self, node_id: str, head: int) -> None:
        self._full.add(node_id)
        heappush(self._closed, (head, node_id))
        threshold = None if self._holdings is None else self._holdings.room_from(self._moves[head])
        if self._holdings is not None and threshold is not None and threshold > self._holdings.total:
            heappush(self._thresholds, (threshold, node_id))

    def _reopen(self) -> None:
        """The nodes whose share has grown."""
        while self._holdings is not None and self._thresholds and self._thresholds[0][0] <= self._holdings.total:
            self._open(heappop(self._thresholds)[1])

    def _postpone(self, batch: Batch) -> None:
        """Moves of a group that no change within the budget can make: after all others, for one that is forced."""
        self._oversized.append(batch)
        self._pending.difference_update(batch)
        for position in batch:
            self._groups.leave(position)
        first, count = self._moves[batch[0]], len(batch)
        message = (
            f"{first.namespace}/{first.shard_id} and {count - 1:,} more of its group change places, in one change of "
            f"{count:,} moves, and {self._limit}"
        )
        self.stuck.append(
            Violation("CYCLE_EXCEEDS_BUDGET", first.namespace, first.shard_id, first.from_node_id, message)
        )
        for position in batch:
            self._wake(position)

    def _leave(self, position: int) -> None:
        """A move to a node that another shard of the group does not leave."""
        self._pending.remove(position)
        self._groups.leave(position)
        move = self._moves[position]
        message = f"{move.namespace}/{move.shard_id} stays: {move.to_node_id} owns another shard of its group"
        self.stuck.append(Violation("ANTI_AFFINITY", move.namespace, move.shard_id, move.from_node_id, message))
        self._wake(position)
