"""Following the feed once for all subscribers who ask the same and keep up.

A cohort reads batches, has each executed once, and offers the result to its members. A member takes it without waiting
or drops out, to be served alone until it has caught up: nobody waits for a slow socket, and it costs what its socket
buffers and one message.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import aclosing
from typing import Final, Protocol

from graph.delivery.operations import CohortKey, LiveOperation
from graph.metrics import Metrics
from persistence.ports import DiffBatch
from persistence.records import StreamPosition

_IN_ONE_GO: Final = 250_000
"""Characters: a millisecond or two, in which this process answers nobody."""

_LEAST: Final = 5_000
"""Characters. What a small message costs is not its length, but that it is sent."""

_REMEMBERED: Final = 32
"""Payloads of a process: who drops out of a cohort, or comes back after a deploy, often asks for the same again."""

_PayloadKey = tuple[CohortKey, StreamPosition, int, int, bool]


class Member(Protocol):
    position: StreamPosition

    def offer(self, payload: str, batch: DiffBatch) -> bool:
        """Send it. False if that has to wait, or failed: the member has dropped out."""
        ...

    def drop(self, error: Exception | None = None) -> None:
        """The cohort has gone past it; or, for a reason, the stream cannot be followed any more."""
        ...


class Cohorts:
    """All cohorts of a process, and what they have executed lately."""

    def __init__(self, metrics: Metrics) -> None:
        self._cohorts: dict[CohortKey, Cohort] = {}
        self._payloads: OrderedDict[_PayloadKey, str] = OrderedDict()
        self._metrics = metrics
        self.turn = asyncio.Lock()
        """Held while something is made and sent for one who is behind: when hundreds are, they get one message a round
        of the event loop between them, and whoever keeps up is not delayed."""

    async def payload(self, operation: LiveOperation, batch: DiffBatch) -> str:
        """What the batch comes to, executed once for all of a cohort who are sent just these diffs."""
        first = batch.diffs[0].revision if batch.diffs else 0
        key = (operation.key, batch.position, first, len(batch.diffs), batch.caught_up)
        payload = self._payloads.get(key)
        if payload is None:
            payload = self._payloads[key] = await operation.payload(batch)
            self._metrics.executions.inc()
            if len(self._payloads) > _REMEMBERED:
                self._payloads.popitem(last=False)
        return payload

    def sent(self, count: int) -> None:
        """So many batches have gone out."""
        self._metrics.batches.inc(count)

    def may_join(self, operation: LiveOperation, position: StreamPosition) -> bool:
        """Whether nothing between that position and the cohort's would be missed."""
        cohort = self._cohorts.get(operation.key)
        if cohort is None:
            return True
        return position.epoch == cohort.position.epoch and position.revision >= cohort.position.revision

    def join(self, operation: LiveOperation, member: Member) -> None:
        """The member must be where it may join."""
        cohort = self._cohorts.get(operation.key)
        if cohort is None:
            cohort = self._cohorts[operation.key] = Cohort(self, operation, member.position)
            cohort.start()
        cohort.members[member] = None

    def leave(self, operation: LiveOperation, member: Member) -> None:
        """A cohort without members ends. Leaving twice is leaving."""
        cohort = self._cohorts.get(operation.key)
        if cohort is None:
            return
        cohort.members.pop(member, None)
        if not cohort.members:
            cohort.stop()
            self.ended(cohort)

    def ended(self, cohort: Cohort) -> None:
        """Nobody may join it any more."""
        if self._cohorts.get(cohort.key) is cohort:
            del self._cohorts[cohort.key]


class Cohort:
    def __init__(self, cohorts: Cohorts, operation: LiveOperation, position: StreamPosition) -> None:
        self._cohorts = cohorts
        self._operation = operation
        self._task: asyncio.Task[None] | None = None
        self.position = position
        self.members: dict[Member, None] = {}

    @property
    def key(self) -> CohortKey:
        return self._operation.key

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="omnirelay-cohort")

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        """Until stopped, or until the stream cannot be followed."""
        try:
            async with aclosing(self._operation.stream.follow(self.position)) as batches:
                begun = False
                async for batch in batches:
                    # The bookmark that every reader begins with: each member has had its own.
                    if begun or batch.diffs or batch.position != self.position:
                        await self._offer(batch)
                    begun = True
        except Exception as error:  # noqa: BLE001 - each member raises it, and whoever runs that tells its client
            for member in list(self.members):
                member.drop(error)
        finally:
            # Here, not when the task is done: whoever joined in between would wait for ever.
            self._cohorts.ended(self)

    async def _offer(self, batch: DiffBatch) -> None:
        payload = await self._cohorts.payload(self._operation, batch)
        before, self.position = self.position, batch.position
        in_one_go = max(1, _IN_ONE_GO // max(_LEAST, len(payload)))
        for number, member in enumerate(list(self.members), 1):
            if member.position == before:
                if member not in self.members:
                    continue
                self._cohorts.sent(1)
                if not member.offer(payload, batch):
                    self.members.pop(member, None)
            elif member.position.revision < batch.position.revision:
                self.members.pop(member, None)
                member.drop()
            if number % in_one_go == 0:
                await asyncio.sleep(0)
