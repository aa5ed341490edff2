"""The write path: a command is decided and committed as one change, or refused; the same for every backend.

A commit that meets another change is tried again, from a new decision.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import perf_counter
from typing import Final, TypeVar

import stamina

from persistence.commands.command import Command, request_digest
from persistence.commands.plans import ApplyPlan, ApprovePlan, RejectPlan, StopPlan
from persistence.commands.read_state import InputsRequired, ReadSet
from persistence.commands.refusals import Forbidden, TokenBucket, refusal_of
from persistence.commands.shards import CreateShards, DeleteShards, UpdateShards
from persistence.commands.write_set import WriteSet
from persistence.errors import CommitUnknown, StoreError, StoreUnavailable, TransientConflict
from persistence.handlers.dispatch import decide, validate
from persistence.handlers.plans import reads_of
from persistence.model.outcomes import (
    Committed,
    IdempotencyKeyReused,
    NotFound,
    Outcome,
    PlanKnown,
    PlanProposed,
    PolicyViolation,
    Refused,
    StaleNamespace,
    StaleNode,
    StalePlan,
    StaleShard,
    VersionConflict,
)
from persistence.offload import offload
from persistence.ports.writes import ChangeGroupFactory, Refusals, UnitOfWork, UnitOfWorkFactory
from persistence.service import stale_plans
from persistence.service.group_commit import GroupCommit
from persistence.service.statistics import CommitStatistics
from persistence.tracing import NO_TRACING, Tracer
from strategies.registry import Registry

T = TypeVar("T")

_RETRY_SECONDS: Final = 8.0
"""For all attempts together. Each that fails because of another change lets that one through, so a hundred requests
that rely on one thing, such as the members of a group, need as many rounds as they are."""

_log = logging.getLogger(__name__)


async def _at_once(_: Outcome) -> None:
    """There is no replica."""


class CommandExecutor:
    """Executes commands. What changed between a decision and its commit is decided again, a stale expectation never is.

    What is refused is stored in `refusals`, where there are any. `note` is called with what was committed, also by an
    earlier request, before it is returned: a replica must not be behind an answer. `arrived` returns, before that, when
    a replica has what was committed by itself, or has had some time to receive it. With `group` small changes that
    arrive at the same time are committed together; without it each has a unit of work of its own. What is committed
    is counted in `statistics`; decisions and commits are spans of `tracer`.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        strategies: Registry | None = None,
        *,
        refusals: Refusals | None = None,
        note: Callable[[Outcome], None] = lambda _: None,
        arrived: Callable[[Outcome], Awaitable[None]] = _at_once,
        attempts: int = 25,
        group: ChangeGroupFactory | None = None,
        tracer: Tracer = NO_TRACING,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._strategies = strategies or Registry()
        self.statistics = CommitStatistics()
        self._tracer = tracer
        self._group = (
            None if group is None else GroupCommit(group, self._strategies, self._alone, note, self.statistics, tracer)
        )
        self._refusals = refusals
        self._note = note
        self._arrived = arrived
        self._rate = TokenBucket()
        self._attempts = attempts

    async def execute(self, command: Command) -> Outcome:
        """Raises InvalidArgument, StoreUnavailable, CommitUnknown also where the change is there and may yet be lost,
        or TransientConflict when every attempt met one."""
        await offload(_size(command), validate, command, self._strategies)
        outcome = await (self._alone(command) if self._group is None else self._group.execute(command))
        if not isinstance(outcome, Committed):
            await self._store_refusal(command, outcome)
        return outcome

    async def _alone(self, command: Command) -> Outcome:
        reads = command.reads
        outcome = await self._retried(lambda unit: self._run(unit, command, reads))
        await self._noted(outcome)
        return outcome

    async def _noted(self, outcome: Outcome) -> None:
        """No connection is held meanwhile. Where the client leaves before it is shown, it is committed all the same."""
        try:
            await self._arrived(outcome)
        finally:
            self._note(outcome)

    async def store_forbidden(self, command: Command, forbidden: Forbidden) -> None:
        """Stores the refusal of a command whose caller lacks a right; nothing is executed.

        Raises InvalidArgument for a command that no right would let execute.
        """
        await offload(_size(command), validate, command, self._strategies)
        await self._store_refusal(command, forbidden)

    async def replayed(self, command: Command) -> Outcome | None:
        """The answer to an earlier request with the same idempotency key, if there was one.

        For callers that compute what to execute: a retry must not compute it again, and must not be answered from a
        mesh that has changed meanwhile. Raises as `execute` does.
        """
        validate(command, self._strategies)
        key = command.change.idempotency_key
        return None if key is None else await self._retried(lambda unit: self._answered(unit, command, key))

    async def _retried(self, work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        async for attempt in stamina.retry_context(
            on=self._passes,
            attempts=self._attempts,
            timeout=_RETRY_SECONDS,
            wait_initial=0.005,
            wait_max=0.25,
            wait_jitter=0.02,
        ):
            with attempt:
                async with self._unit_of_work() as unit:
                    return await work(unit)
        raise AssertionError("the retry loop returns or raises")

    def _passes(self, error: Exception) -> bool:
        """Whether it is worth another attempt; those are counted."""
        passes = isinstance(error, TransientConflict)
        self.statistics.retried += passes
        return passes

    async def _store_refusal(self, command: Command, outcome: Outcome | Forbidden) -> None:
        """The caller gets the refusal, also where it cannot be stored."""
        if self._refusals is None or (left_out := self._rate.take()) is None:
            return
        try:
            refusal = await offload(_size(command), refusal_of, command, outcome, left_out)
            await self._refusals.append(refusal)
        except StoreError:
            _log.exception("a refusal (%s) was not stored in the audit log", type(outcome).__name__)

    async def _run(self, unit: UnitOfWork, command: Command, reads: ReadSet) -> Outcome:
        if command.change.idempotency_key is not None:
            answered = await self._answered(unit, command, command.change.idempotency_key)
            if answered is not None:
                return answered
        began = perf_counter()
        decision = await self._decided(unit, command, reads)
        if isinstance(decision, WriteSet):
            with self._tracer.span("commit", kind=command.kind.value, changes=1):
                committed = await unit.commit(decision)
            self.statistics.committed(1, perf_counter() - began)
            return committed
        refused = await _explained(unit, decision)
        if not isinstance(refused, NotFound | PolicyViolation):
            # It shows what others committed, and so that they did, to a caller that may have had no answer.
            await unit.barrier()
        return refused

    async def foresee(self, command: Command) -> Outcome | None:
        """What the command would be refused for now; null if for nothing. Nothing is written, the refusal neither.
        Raises as `execute` does."""
        await offload(_size(command), validate, command, self._strategies)

        async def work(unit: UnitOfWork) -> Outcome | None:
            decision = await self._decided(unit, command, command.reads)
            return None if isinstance(decision, WriteSet) else await _explained(unit, decision)

        return await self._retried(work)

    async def _decided(self, unit: UnitOfWork, command: Command, reads: ReadSet) -> WriteSet | Refused:
        state = await unit.read(reads)
        if isinstance(command, ApplyPlan | ApprovePlan | RejectPlan | StopPlan) and state.plan is not None:
            # What a plan relies on is known only once the plan has been read.
            state = replace(await unit.read(reads_of(command, state.plan)), plan=state.plan)
        size = max(len(reads.shards), len(state.shards))
        with self._tracer.span("decide", kind=command.kind.value):
            decision = await offload(size, decide, command, state, self._strategies)
            if isinstance(decision, InputsRequired):
                state = replace(state, inputs=await unit.read_inputs(decision))
                decision = await offload(len(state.shards), decide, command, state, self._strategies)
        if isinstance(decision, InputsRequired):
            raise TypeError(f"{type(command).__name__} is decided once its inputs are read")
        return decision

    async def _answered(self, unit: UnitOfWork, command: Command, key: str) -> Outcome | None:
        earlier = await unit.earlier(command.change.actor, key)
        if earlier is None:
            return None
        digest, answer = earlier
        self._note(answer)
        if digest != request_digest(command):
            await unit.barrier()
            return IdempotencyKeyReused(key, answer.change)
        try:
            await unit.barrier()
        except StoreUnavailable as error:
            # It is there, and may yet be lost: "nothing of this request was committed" would be untrue.
            raise CommitUnknown(f"the change was made, and may not be on the standby yet: {error}") from error
        return replace(answer, replayed=True)


def _size(command: Command) -> int:
    """How many shards it names. The keys of ten thousand take 3 ms to make, so they are made once, to be read."""
    if isinstance(command, CreateShards | UpdateShards | DeleteShards):
        return len(command.shards)
    return len(command.reads.shards)


async def _explained(unit: UnitOfWork, refused: Refused) -> Outcome:
    """The refusal, with the last change of what is stale."""
    match refused:
        case StaleNamespace():
            return replace(refused, last_change=await unit.last_configuration(refused.name))
        case StaleNode():
            return replace(refused, last_change=await unit.last_node_change(refused.node_id))
        case VersionConflict():
            return _conflict(await _with_last_changes(unit, refused.stale))
        case PlanKnown():
            return PlanProposed(refused.plan.created, refused.plan, replayed=True)
        case StalePlan():
            shards = await _with_last_changes(unit, refused.shards)
            return await stale_plans.explained(unit, replace(refused, shards=shards))
        case _:
            return refused


def _conflict(stale: tuple[StaleShard, ...]) -> VersionConflict | NotFound:
    """Shards that are not there and never were are not stale."""
    if all(shard.current is None and shard.last_change is None for shard in stale):
        return NotFound(shards=tuple(shard.key for shard in stale))
    return VersionConflict(stale)


async def _with_last_changes(unit: UnitOfWork, stale: tuple[StaleShard, ...]) -> tuple[StaleShard, ...]:
    if not stale:
        return stale
    changes = await unit.last_changes([shard.key for shard in stale])
    return tuple(replace(shard, last_change=changes.get(shard.key)) for shard in stale)
