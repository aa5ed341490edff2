"""One subscriber: alone while it is behind, with its cohort while it keeps up.

Starting a coroutine at once, and only if it has to wait going on with it elsewhere.

A frame for a socket that is not backed up is sent without waiting for anything. Making a task of each, or awaiting them
one after the other, would cost more than the sending itself, or let one slow socket hold up all. Python 3.12 has eager
tasks for this; this is the part of them that is needed, for 3.11.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import aclosing
from typing import Any, TypeAlias

from graph.subscriptions.groups import Message, SubscriberGroups
from graph.subscriptions.operation import SubscriptionOperation
from persistence.model.records import StreamPosition
from persistence.model.stream import DiffBatch

Deliver: TypeAlias = Callable[[str, DiffBatch], Coroutine[Any, Any, object]]
"""Sends a payload, and the batch it shows, to the client. Waits while the client does not take what was sent."""


class Subscriber:
    """A Member of its cohort, at times. `position` is where everything up to it has been sent."""

    def __init__(
        self, cohorts: SubscriberGroups, operation: SubscriptionOperation, deliver: Deliver, patience: float | None
    ) -> None:
        self._cohorts = cohorts
        self._operation = operation
        self._deliver = deliver
        self._patience = patience
        self._dropped: asyncio.Future[Rest | None] | None = None
        self.position: StreamPosition = operation.stream.begin

    async def run(self) -> None:
        """Until cancelled. Raises what following the feed or sending raises, and TimeoutError when sending has to wait
        for more than `patience` seconds."""
        while True:
            await self._catch_up()
            await self._keep_up()

    async def _catch_up(self) -> None:
        async with aclosing(self._operation.stream.follow(self.position)) as batches:
            async for batch in batches:
                async with self._cohorts.turn:
                    first, *others = await self._cohorts.messages(self._operation, batch)
                    rest = start(self._deliver(*first))
                await self._taken(first, rest)
                for message in others:
                    async with self._cohorts.turn:
                        rest = start(self._deliver(*message))
                    await self._taken(message, rest)
                if batch.caught_up and self._cohorts.may_join(self._operation, self.position):
                    return

    async def _taken(self, message: Message, rest: Rest | None) -> None:
        if rest is not None:
            async with asyncio.timeout(self._patience):
                await rest
        self.position = message.batch.position
        self._cohorts.sent(1)

    async def _keep_up(self) -> None:
        """Until it has dropped out of its cohort."""
        self._dropped = asyncio.get_running_loop().create_future()
        self._cohorts.join(self._operation, self)
        try:
            rest = await self._dropped
            self._cohorts.leave(self._operation, self)
            if rest is not None:
                async with asyncio.timeout(self._patience):
                    await rest
        finally:
            self._cohorts.leave(self._operation, self)
            self._close_rest()

    def offer(self, payload: str, batch: DiffBatch) -> bool:
        dropped = self._dropped
        if dropped is None or dropped.done():
            return False
        try:
            rest = start(self._deliver(payload, batch))
        except Exception as error:  # noqa: BLE001 - it is the subscriber's, and raised by `run`
            dropped.set_exception(error)
            return False
        self.position = batch.position
        if rest is None:
            return True
        dropped.set_result(rest)
        return False

    def drop(self, error: Exception | None = None) -> None:
        dropped = self._dropped
        if dropped is None or dropped.done():
            return
        if error is None:
            dropped.set_result(None)
        else:
            dropped.set_exception(error)

    def _close_rest(self) -> None:
        """A message that was being sent when the subscriber was cancelled is not sent."""
        dropped, self._dropped = self._dropped, None
        if dropped is not None and dropped.done() and not dropped.cancelled() and dropped.exception() is None:
            rest = dropped.result()
            if rest is not None:
                rest.close()


def start(work: Coroutine[Any, Any, object]) -> Rest | None:
    """Run it until it first has to wait. Null if it is done by then; what it raises is raised."""
    try:
        waited_for = work.send(None)
    except StopIteration:
        return None
    return Rest(work, waited_for)


class Rest:
    """What is left of a coroutine. To be awaited once, or closed."""

    def __init__(self, work: Coroutine[Any, Any, object], waited_for: Any) -> None:
        self._work = work
        self._waited_for = waited_for

    def __await__(self) -> Generator[Any, Any, None]:
        waited_for = self._waited_for
        try:
            while True:
                try:
                    answer = yield waited_for
                except Exception as error:  # noqa: BLE001 - it is the coroutine's
                    waited_for = self._work.throw(error)
                else:
                    waited_for = self._work.send(answer)
        except StopIteration:
            return
        finally:
            self.close()

    def close(self) -> None:
        self._work.close()
