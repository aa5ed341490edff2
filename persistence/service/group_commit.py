"""Group commit: changes of shards that arrive while others are being committed are committed together.

No change waits for a group to fill: what has arrived goes when the commit under way has ended. Where that is much, it
is read and decided meanwhile, so that this process and the database work at the same time. A group is decided on one
snapshot; what holds no more is refused under the stream head. What is not simply written (a refusal, a rule that
depends on the time or on other shards, a repeated idempotency key, something that changed meanwhile) is decided by
itself, as if it had come alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Final, TypeAlias

from persistence.commands.command import Command
from persistence.commands.read_state import ReadSet, ReadState
from persistence.commands.shards import CreateShards, DeleteShards, UpdateShards
from persistence.commands.write_set import WriteSet
from persistence.errors import CommitUnknown, Overloaded, RowsLocked, StoreError, StoreUnavailable, TransientConflict
from persistence.handlers.dispatch import decide
from persistence.handlers.rules.policies import depending_on_time
from persistence.model.outcomes import Committed, Outcome
from persistence.model.records import ShardKey
from persistence.ports.writes import ChangeGroup, ChangeGroupFactory
from persistence.service.statistics import CommitStatistics
from persistence.tracing import NO_TRACING, Parent, Tracer
from strategies.registry import Registry

MOST_CHANGES: Final = 128

MOST_SHARDS: Final = 512
"""In a group: so long does it hold the head, a few milliseconds."""

AHEAD: Final = 12
"""Changes that wait: so many are read and decided while others are being committed. Fewer are not worth a group of
their own, and go with what comes until the commit has ended."""

DIVIDED: Final = 24
"""Changes that wait while none is being committed: of so many one half is decided while the other is committed, and so
it goes on, for they come back in halves."""

LARGEST_CHANGE: Final = 64
"""Shards. A larger change is committed by itself."""

QUEUE_SECONDS: Final = 6.0
"""How long a change waits for its group to begin. Then nothing of it is written, and it is answered so."""

WRITE_SECONDS: Final = 8.0
"""After which a group, counted from the arrival of its oldest change, does not wait for other writers any more: as long
as a change by itself would wait for them."""

ANSWER_SECONDS: Final = 10.0
"""After which a change whose group has been sent is answered that the outcome is unknown: as the driver would."""

_UNHURRIED_SECONDS: Final = 1.0
"""A group whose oldest change has waited no longer has the time of a statement, which takes no round trip to set."""

_DECIDED_IN_A_TURN: Final = 16
"""Shards, half a millisecond to two, after which the event loop does other things."""

_log = logging.getLogger(__name__)

_ShardCommand: TypeAlias = CreateShards | UpdateShards | DeleteShards


@dataclass(slots=True, eq=False)
class _Waiting:
    """A change, and its answer: null where it has to be executed by itself. `arrived` is a time of the event loop."""

    command: _ShardCommand
    answer: asyncio.Future[Outcome | None]
    arrived: float
    """On the clock of the event loop, in seconds."""
    trace: Parent | None
    """What its spans hang below: the group is decided and committed in a task of its own."""
    timer: asyncio.TimerHandle = field(init=False)
    reads: ReadSet = field(init=False)
    begun: bool = False
    sent: bool = False
    repeated: bool = False

    def __post_init__(self) -> None:
        self.reads = self.command.reads
        self.timer = self.answer.get_loop().call_at(self.arrived + QUEUE_SECONDS, self._out_of_time)

    def wait_again(self) -> None:
        """For another group. Nothing of it was written."""
        self.begun = self.sent = False

    def left(self) -> float:
        """Seconds in which it may still wait for other writers."""
        return self.arrived + WRITE_SECONDS - self.answer.get_loop().time()

    def _out_of_time(self) -> None:
        loop, end = self.answer.get_loop(), self.arrived + ANSWER_SECONDS
        if self.begun and loop.time() < end:
            self.timer = loop.call_at(end, self._out_of_time)
        elif self.sent:
            self.resolve(CommitUnknown(f"the change was sent with others and not answered in {ANSWER_SECONDS:g} s"))
        elif self.begun:
            self.resolve(StoreUnavailable(f"the database did not answer a change's statement in {ANSWER_SECONDS:g} s"))
        else:
            self.resolve(Overloaded(f"the change waited for others in vain, for {QUEUE_SECONDS:g} s or longer"))

    def resolve(self, outcome: Outcome | Exception | None) -> None:
        """Its client may have left meanwhile."""
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class _Footprint:
    """What the changes of a group write and rely on, beside the versions that all of them read."""

    def __init__(self) -> None:
        self._shards: set[ShardKey] = set()
        self._idempotency_keys: set[tuple[str, str]] = set()
        self._shrinking: set[str] = set()
        self._counted: set[str] = set()

    def is_met_by(self, waiting: _Waiting) -> bool:
        """By a shard or an idempotency key of a change that is not decided yet."""
        if not self._shards.isdisjoint(waiting.reads.shards):
            return True
        change = waiting.command.change
        return change.idempotency_key is not None and (change.actor, change.idempotency_key) in self._idempotency_keys

    def add(self, write_set: WriteSet) -> bool:
        """False for a change that is not independent of those that were added, and is not added."""
        request, conditions = write_set.request, write_set.conditions
        shards = {write.key for write in write_set.shards}
        key = () if request.idempotency_key is None else ((request.actor, request.idempotency_key),)
        shrinking = {delta.namespace for delta in write_set.deltas if delta.shard_count < 0}
        counted = conditions.fewest_shards.keys()
        if (
            not self._shards.isdisjoint(shards)
            or not self._idempotency_keys.isdisjoint(key)
            or not self._shrinking.isdisjoint(counted)
            or not self._counted.isdisjoint(shrinking)
        ):
            return False
        self._shards |= shards
        self._idempotency_keys.update(key)
        self._shrinking |= shrinking
        self._counted |= counted
        return True


@dataclass(slots=True)
class _Group:
    """`waiting` are those that have no answer yet, `answers` theirs once it is committed. `footprint` is of all that
    was decided to be written."""

    waiting: Sequence[_Waiting]
    footprint: _Footprint = field(default_factory=_Footprint)
    answers: Sequence[Committed | StoreError | None] = ()
    is_decided: bool = False


class GroupCommit:
    """The queue of one process. `alone` executes a command by itself, `note` is called with what was committed.

    At most one group is being committed, and at most one is prepared meanwhile, which is committed next. They share no
    shard and no idempotency key. Each has a task of its own.
    """

    def __init__(
        self,
        group: ChangeGroupFactory,
        strategies: Registry,
        alone: Callable[[Command], Awaitable[Outcome]],
        note: Callable[[Outcome], None],
        statistics: CommitStatistics | None = None,
        tracer: Tracer = NO_TRACING,
    ) -> None:
        self._group = group
        self._statistics = statistics or CommitStatistics()
        self._statistics.waiting = lambda: len(self._queue)
        self._tracer = tracer
        self._strategies = strategies
        self._alone = alone
        self._note = note
        self._queue: deque[_Waiting] = deque()
        self._turn = asyncio.Lock()
        self._preparing: asyncio.Task[None] | None = None
        self._committing: asyncio.Task[None] | None = None
        self._under_way = _Footprint()
        """Of the group that is being committed."""
        self._left_behind = 0
        """Of the queue, changes that depend on that group, as far as they were looked at."""

    async def execute(self, command: Command) -> Outcome:
        """Of a command that has been validated. Raises as `CommandExecutor.execute`."""
        if not isinstance(command, _ShardCommand) or len(command.shards) > LARGEST_CHANGE:
            return await self._alone(command)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(command, loop.create_future(), loop.time(), self._tracer.current())
        self._queue.append(waiting)
        self._begin()
        try:
            outcome = await waiting.answer
        finally:
            waiting.timer.cancel()
        return await self._alone(command) if outcome is None else outcome

    def _begin(self) -> None:
        """The next group, where one is due: it has those that have arrived when its task runs."""
        if self._preparing is not None or not self._queue:
            return
        if self._committing is None or len(self._queue) - self._left_behind >= AHEAD:
            self._preparing = asyncio.create_task(self._commit_next(), name="omnirelay-group-commit")
            self._preparing.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._preparing is task:
            self._preparing = None
        if task.cancelled():
            while self._queue:  # the tasks of those are not
                waiting = self._queue.popleft()
                waiting.resolve(_cancelled(waiting))
        self._begin()

    async def _commit_next(self) -> None:
        """Until nothing waits any more that another task does not see to."""
        while True:
            if waiting := self._next():  # none where all that waited were answered, or their clients have left
                await self._commit(waiting)
            if not self._queue or self._committing is not None or self._preparing not in {None, asyncio.current_task()}:
                break
            self._preparing = asyncio.current_task()

    def _next(self) -> Sequence[_Waiting]:
        """Those that have waited longest, but for those that depend on what is being committed."""
        divided = self._committing is None and len(self._queue) >= DIVIDED
        most = min(MOST_CHANGES, len(self._queue) // 2 if divided else MOST_CHANGES)
        group: list[_Waiting] = []
        behind: list[_Waiting] = []
        theirs: set[ShardKey] = set()
        shards = 0
        while self._queue and len(group) < most:
            waiting = self._queue[0]
            named = waiting.reads.shards
            if waiting.answer.done():
                pass
            elif self._under_way.is_met_by(waiting) or not theirs.isdisjoint(named):
                behind.append(waiting)
                theirs.update(named)
            elif group and shards + len(named) > MOST_SHARDS:
                break
            else:
                shards += len(named)
                waiting.begun = True
                group.append(waiting)
            self._queue.popleft()
        self._queue.extendleft(reversed(behind))
        self._left_behind = len(behind)
        return group

    async def _commit(self, waiting: Sequence[_Waiting]) -> None:
        """Every one of them is resolved, or waits again."""
        group = _Group(waiting)
        began = asyncio.get_running_loop().time()
        for each in waiting:
            self._statistics.waited.observe(began - each.arrived)
        try:
            await self._write(group)
            self._observe(group.answers, began)
        except asyncio.CancelledError:
            group.answers = group.answers or [_cancelled(each) for each in group.waiting]
            raise
        except StoreError as error:
            # With answers all was written, and the connection is lost since.
            group.answers = group.answers or self._failed(group, error)
        except Exception:  # noqa: BLE001 - a defect, which each meets by itself
            _log.exception("a group of %d changes failed; each that has no answer is executed by itself", len(waiting))
            group.answers = group.answers or [None] * len(group.waiting)
        finally:
            for each, answer in zip_longest(group.waiting, group.answers):
                self._resolve(each, answer)

    async def _write(self, group: _Group) -> None:
        async with self._group() as connection:
            await _limit(connection, group.waiting)
            keys = dict.fromkeys(key for each in group.waiting for key in each.reads.shards)
            node_ids = {node_id for each in group.waiting for node_id in each.command.named_nodes}
            changes = await self._decided(group, await connection.read(list(keys), node_ids))
            group.waiting, group.is_decided = [each for each, _ in changes], True
            if not changes:
                return
            async with self._turn_of(group) as waited:
                if waited:
                    await _limit(connection, group.waiting)
                # Those that ran out of time meanwhile were answered that nothing is written. Nothing is waited for from
                # here until they are marked as sent.
                changes = [(each, write_set) for each, write_set in changes if not each.answer.done()]
                group.waiting = [each for each, _ in changes]
                if not changes:
                    return
                for each in group.waiting:
                    each.sent = True
                with self._commit_spans(group.waiting):
                    group.answers = await connection.commit([(each.reads, write_set) for each, write_set in changes])

    @asynccontextmanager
    async def _turn_of(self, group: _Group) -> AsyncIterator[bool]:
        """In which the group is committed, and another one prepared. True if one before it was waited for."""
        waited = self._turn.locked()
        for each in group.waiting:
            each.begun = False
        async with self._turn:
            for each in group.waiting:
                each.begun = True
            self._committing, self._preparing = self._preparing, None
            self._under_way, self._left_behind = group.footprint, 0
            self._begin()
            try:
                yield waited
            finally:
                self._committing, self._under_way, self._left_behind = None, _Footprint(), 0
        if self._is_preparing():
            # What is decided already is sent before these are answered.
            await asyncio.sleep(0)

    def _is_preparing(self) -> bool:
        """Now: another task may have begun since it was looked at last."""
        return self._preparing is not None

    def _failed(self, group: _Group, error: StoreError) -> Sequence[StoreError | None]:
        """The answers to those that do not wait again, null for what is executed by itself."""
        match error:
            case CommitUnknown():
                return [error] * len(group.waiting)
            case Overloaded() if group.waiting and group.is_decided:
                # It waited for other writers as long as its oldest change could: those behind have time left.
                oldest = min(each.arrived for each in group.waiting)
                self._again(group, lambda each: each.arrived > oldest and each.left() >= _UNHURRIED_SECONDS)
                return [error] * len(group.waiting)
            case Overloaded():
                return [error] * len(group.waiting)
            case RowsLocked():
                # Once more, for when it is read again it shows which of them those are: they wait by themselves.
                self._again(group, lambda each: not each.repeated)
            case StoreUnavailable() if not group.is_decided:
                # It is none of the changes that it failed for: each by itself would wait as long again.
                return [error] * len(group.waiting)
        # Nothing was written, perhaps because of one of them: by itself each finds out.
        return [None] * len(group.waiting)

    def _again(self, group: _Group, chosen: Callable[[_Waiting], bool]) -> None:
        """Those that are chosen leave it for the next one. Nothing of any was written."""
        again = [each for each in group.waiting if chosen(each)]
        for each in again:
            each.wait_again()
            each.repeated = True
        group.waiting = [each for each in group.waiting if each not in again]
        self._queue.extendleft(reversed(again))

    def _observe(self, answers: Sequence[Committed | StoreError | None], began: float) -> None:
        """`began` is when reading for them did, on the clock of the event loop."""
        if committed := sum(isinstance(answer, Committed) for answer in answers):
            self._statistics.committed(committed, asyncio.get_running_loop().time() - began)

    @contextmanager
    def _commit_spans(self, waiting: Sequence[_Waiting]) -> Iterator[None]:
        """One for each change that is traced, in its own trace."""
        with ExitStack() as spans:
            for each in waiting:
                if each.trace is not None:
                    kind = each.command.kind.value
                    spans.enter_context(self._tracer.span("commit", each.trace, kind=kind, changes=len(waiting)))
            yield

    def _resolve(self, waiting: _Waiting, answer: Committed | StoreError | None) -> None:
        if isinstance(answer, Committed):
            try:
                self._note(answer)
            except Exception as error:  # noqa: BLE001 - raised to its caller: others of the group wait for theirs
                waiting.resolve(error)
                return
        waiting.resolve(None if isinstance(answer, TransientConflict) else answer)

    async def _decided(self, group: _Group, state: ReadState) -> Sequence[tuple[_Waiting, WriteSet]]:
        """What is to be written: of changes that depend on each other the first, the others wait again."""
        changes: list[tuple[_Waiting, WriteSet]] = []
        again: list[_Waiting] = []
        decided = 0
        for each in group.waiting:
            decision = self._decide(each, state)
            if decision is None:
                each.resolve(None)
            elif group.footprint.add(decision):
                changes.append((each, decision))
            else:
                each.wait_again()
                again.append(each)
            decided += len(each.reads.shards)
            if decided >= _DECIDED_IN_A_TURN:
                decided = 0
                await asyncio.sleep(0)
        self._queue.extendleft(reversed(again))
        return changes

    def _decide(self, waiting: _Waiting, state: ReadState) -> WriteSet | None:
        """Null for what has to be executed by itself."""
        reads = waiting.reads
        if not state.locked.isdisjoint(reads.shards):
            return None
        namespaces = [state.namespaces[name] for name in reads.namespaces if name in state.namespaces]
        if depending_on_time(namespaces, reads):
            return None
        required = state.nodes_read and any(one.policy.owners_must_be_registered for one in namespaces)
        if required or reads.nodes:
            waiting.reads = replace(reads, nodes=sorted(waiting.command.named_nodes) if required else ())
        try:
            if waiting.trace is None:
                decision = decide(waiting.command, state, self._strategies)
            else:
                with self._tracer.span("decide", waiting.trace, kind=waiting.command.kind.value):
                    decision = decide(waiting.command, state, self._strategies)
        except Exception:  # noqa: BLE001 - executed by itself, it raises again to its caller
            return None
        return decision if isinstance(decision, WriteSet) else None


async def _limit(group: ChangeGroup, waiting: Sequence[_Waiting]) -> None:
    left = min((each.left() for each in waiting if not each.answer.done()), default=WRITE_SECONDS)
    if left < WRITE_SECONDS - _UNHURRIED_SECONDS:
        await group.limit(max(left, _UNHURRIED_SECONDS))


def _cancelled(waiting: _Waiting) -> StoreError:
    if waiting.sent:
        return CommitUnknown("the commit was cancelled before it was answered")
    return StoreUnavailable("the change was cancelled before it was sent")
