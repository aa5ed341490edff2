"""The write path: one command, one transaction, one change; the same for every backend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

import stamina

from persistence.commands import Command, ConfigureNamespace, request_digest, validate
from persistence.decisions import Refusal, decide
from persistence.errors import TransientConflict
from persistence.outcomes import (
    IdempotencyKeyReused,
    NotFound,
    Outcome,
    StaleNamespace,
    StaleShard,
    VersionConflict,
)
from persistence.ports import UnitOfWork, UnitOfWorkFactory

T = TypeVar("T")

SHARDS_WORTH_A_THREAD: Final = 200
"""From here on checking and deciding take longer than handing them to a thread."""


class Writer:
    """Executes commands. Serialization failures and deadlocks are retried, a stale expectation never is."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, *, attempts: int = 8) -> None:
        self._unit_of_work = unit_of_work
        self._attempts = attempts

    async def execute(self, command: Command) -> Outcome:
        """Raises InvalidArgument, StoreUnavailable, or TransientConflict when every attempt met one."""
        await _apart(command, validate, command)
        async for attempt in stamina.retry_context(
            on=TransientConflict,
            attempts=self._attempts,
            timeout=None,
            wait_initial=0.005,
            wait_max=0.25,
            wait_jitter=0.02,
        ):
            with attempt:
                async with self._unit_of_work() as unit:
                    return await _run(unit, command)
        raise AssertionError("the retry loop returns or raises")


async def _run(unit: UnitOfWork, command: Command) -> Outcome:
    if command.change.idempotency_key is not None:
        answered = await _answered(unit, command, command.change.idempotency_key)
        if answered is not None:
            return answered
    configure = isinstance(command, ConfigureNamespace)
    state = await unit.lock(command.namespaces, command.shard_keys, configure=configure)
    decision = await _apart(command, decide, command, state)
    if isinstance(decision, Refusal):
        return await _explained(unit, decision)
    return await unit.commit(decision)


async def _apart(command: Command, work: Callable[..., T], *arguments: object) -> T:
    """Work on many shards in a thread: a bulk change must not hold up the event loop, and with it every lookup."""
    if len(command.shard_keys) < SHARDS_WORTH_A_THREAD:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)


async def _answered(unit: UnitOfWork, command: Command, key: str) -> Outcome | None:
    earlier = await unit.earlier(command.change.actor, key)
    if earlier is None:
        return None
    digest, answer = earlier
    if digest != request_digest(command):
        return IdempotencyKeyReused(key, answer.change)
    return replace(answer, replayed=True)


async def _explained(unit: UnitOfWork, refusal: Refusal) -> Outcome:
    """The refusal as an outcome: with the record as it is and who changed it last."""
    if refusal.missing_namespaces:
        return NotFound(namespaces=refusal.missing_namespaces)
    if refusal.stale_namespace is not None:
        name, expected, current = refusal.stale_namespace
        last = await unit.last_configuration(name)
        actual = current.version if current else 0
        return VersionConflict(stale_namespace=StaleNamespace(name, expected, actual, current, last))
    changes = await unit.last_changes([stale.key for stale in refusal.stale_shards])
    if all(stale.current is None and stale.key not in changes for stale in refusal.stale_shards):
        return NotFound(shards=tuple(stale.key for stale in refusal.stale_shards))
    return VersionConflict(
        tuple(
            StaleShard(
                stale.key,
                stale.expected,
                stale.current.version if stale.current else 0,
                stale.current,
                changes.get(stale.key),
            )
            for stale in refusal.stale_shards
        )
    )
