"""Following the feed once for all subscribers who ask the same and keep up.

A group reads batches, has each executed once, and offers the result to its members. A member takes it without waiting
or drops out, to be served alone until it has caught up: nobody waits for a slow socket, and it costs what its socket
buffers and one message.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple, TypeAlias

from graph.execution.metrics import Metrics
from graph.subscriptions.operation import SharingKey, SubscriptionOperation
from persistence.model.records import StreamPosition
from persistence.model.stream import DiffBatch

_CHARACTERS_A_TURN: Final = 250_000
"""Characters: a millisecond or two, in which this process answers nobody."""

_MESSAGE_COST: Final = 5_000
"""Characters. What a small message costs is not its length, but that it is sent."""

MAX_PAYLOAD_BYTES: Final = 255 * 1024
"""Bytes of a payload, so that a frame or an event with its envelope takes 256 KiB at most: clients that take a message
of a megabyte, as most do, are never stuck at one that is larger. One diff that is larger goes alone."""

_REMEMBERED: Final = 32
"""Batches of a process: who drops out of a group, or comes back after a deploy, often asks for the same again."""

_MessagesKey = tuple[SharingKey, StreamPosition, int, int, bool]


Send: TypeAlias = Callable[[str, DiffBatch], Coroutine[Any, Any, object]]
"""Sends a payload, and the batch it shows, to the client. Waits while the client does not take what was sent."""


class Message(NamedTuple):
    """A batch, or a part of one, and what it comes to."""

    payload: str
    batch: DiffBatch


class Subscriber:
    """A Subscriber of its group, at times. `position` is where everything up to it has been sent."""

    def __init__(
        self, groups: SubscriberGroups, operation: SubscriptionOperation, send: Send, send_timeout: float | None
    ) -> None:
        self._groups = groups
        self._operation = operation
        self._send = send
        self._send_timeout = send_timeout
        self._dropped: asyncio.Future[Suspended | None] | None = None
        self.position: StreamPosition = operation.stream.begin

    async def run(self) -> None:
        """Until cancelled. Raises what following the feed or sending raises, and TimeoutError when sending has to wait
        for more than `send_timeout` seconds."""
        while True:
            await self._catch_up()
            await self._keep_up()

    async def _catch_up(self) -> None:
        async with aclosing(self._operation.stream.follow(self.position)) as batches:
            async for batch in batches:
                async with self._groups.catch_up_lock:
                    first, *others = await self._groups.messages(self._operation, batch)
                    suspended = start_eagerly(self._send(*first))
                await self._sent(first, suspended)
                for message in others:
                    async with self._groups.catch_up_lock:
                        suspended = start_eagerly(self._send(*message))
                    await self._sent(message, suspended)
                if batch.caught_up and self._groups.may_join(self._operation, self.position):
                    return

    async def _sent(self, message: Message, suspended: Suspended | None) -> None:
        if suspended is not None:
            async with asyncio.timeout(self._send_timeout):
                await suspended
        self.position = message.batch.position
        self._groups.count_sent(1)

    async def _keep_up(self) -> None:
        """Until it has dropped out of its group."""
        self._dropped = asyncio.get_running_loop().create_future()
        self._groups.join(self._operation, self)
        try:
            suspended = await self._dropped
            self._groups.leave(self._operation, self)
            if suspended is not None:
                async with asyncio.timeout(self._send_timeout):
                    await suspended
        finally:
            self._groups.leave(self._operation, self)
            self._close_suspended()

    def offer(self, payload: str, batch: DiffBatch) -> bool:
        dropped = self._dropped
        if dropped is None or dropped.done():
            return False
        try:
            suspended = start_eagerly(self._send(payload, batch))
        except Exception as error:  # noqa: BLE001 - it is the subscriber's, and raised by `run`
            dropped.set_exception(error)
            return False
        self.position = batch.position
        if suspended is None:
            return True
        dropped.set_result(suspended)
        return False

    def drop(self, error: Exception | None = None) -> None:
        dropped = self._dropped
        if dropped is None or dropped.done():
            return
        if error is None:
            dropped.set_result(None)
        else:
            dropped.set_exception(error)

    def _close_suspended(self) -> None:
        """A message that was being sent when the subscriber was cancelled is not sent."""
        dropped, self._dropped = self._dropped, None
        if dropped is not None and dropped.done() and not dropped.cancelled() and dropped.exception() is None:
            suspended = dropped.result()
            if suspended is not None:
                suspended.close()


class SubscriberGroups:
    """All groups of a process, and what they have executed lately."""

    def __init__(self, metrics: Metrics) -> None:
        self._groups: dict[SharingKey, SubscriberGroup] = {}
        self._messages: OrderedDict[_MessagesKey, Sequence[Message]] = OrderedDict()
        self._metrics = metrics
        self.catch_up_lock = asyncio.Lock()
        """Held while something is made and sent for one who is behind: when hundreds are, they get one message a round
        of the event loop between them, and whoever keeps up is not delayed."""

    async def messages(self, operation: SubscriptionOperation, batch: DiffBatch) -> Sequence[Message]:
        """What the batch comes to, executed once for all of a group who are sent just these diffs: one message, or
        several, each with the position it leads to, where it would be too large."""
        first = batch.diffs[0].revision if batch.diffs else 0
        key = (operation.key, batch.position, first, len(batch.diffs), batch.caught_up)
        messages = self._messages.get(key)
        if messages is None:
            messages = self._messages[key] = await self._executed(operation, batch)
            if len(self._messages) > _REMEMBERED:
                self._messages.popitem(last=False)
        return messages

    async def _executed(self, operation: SubscriptionOperation, batch: DiffBatch) -> list[Message]:
        """How large a diff is depends on what is asked of it, so a batch is executed to know; a part of one again."""
        payload = await operation.payload(batch)
        self._metrics.executions.inc()
        size, count = len(payload.encode()), len(batch.diffs)
        if size <= MAX_PAYLOAD_BYTES or count <= 1:
            return [Message(payload, batch)]
        messages: list[Message] = []
        for part in _parts(batch, min(count, size // MAX_PAYLOAD_BYTES + 1)):
            await asyncio.sleep(0)
            messages += await self._executed(operation, part)
        return messages

    def count_sent(self, count: int) -> None:
        """So many batches have gone out."""
        self._metrics.batches.inc(count)

    def may_join(self, operation: SubscriptionOperation, position: StreamPosition) -> bool:
        """Whether nothing between that position and the group's would be missed."""
        group = self._groups.get(operation.key)
        if group is None:
            return True
        return position.epoch == group.position.epoch and position.revision >= group.position.revision

    def join(self, operation: SubscriptionOperation, member: Subscriber) -> None:
        """The member must be where it may join."""
        group = self._groups.get(operation.key)
        if group is None:
            group = self._groups[operation.key] = SubscriberGroup(self, operation, member.position)
            group.start()
        group.members[member] = None

    def leave(self, operation: SubscriptionOperation, member: Subscriber) -> None:
        """A group without members ends. Leaving twice is leaving."""
        group = self._groups.get(operation.key)
        if group is None:
            return
        group.members.pop(member, None)
        if not group.members:
            group.stop()
            self.ended(group)

    def ended(self, group: SubscriberGroup) -> None:
        """Nobody may join it any more."""
        if self._groups.get(group.key) is group:
            del self._groups[group.key]


class SubscriberGroup:
    def __init__(self, groups: SubscriberGroups, operation: SubscriptionOperation, position: StreamPosition) -> None:
        self._groups = groups
        self._operation = operation
        self._task: asyncio.Task[None] | None = None
        self.position = position
        self.members: dict[Subscriber, None] = {}

    @property
    def key(self) -> SharingKey:
        return self._operation.key

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="omnirelay-subscriber-group")

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
            self._groups.ended(self)

    async def _offer(self, batch: DiffBatch) -> None:
        for message in await self._groups.messages(self._operation, batch):
            await self._offer_one(*message)

    async def _offer_one(self, payload: str, batch: DiffBatch) -> None:
        before, self.position = self.position, batch.position
        members_a_turn = max(1, _CHARACTERS_A_TURN // max(_MESSAGE_COST, len(payload)))
        for number, member in enumerate(list(self.members), 1):
            if member.position == before:
                if member not in self.members:
                    continue
                self._groups.count_sent(1)
                if not member.offer(payload, batch):
                    self.members.pop(member, None)
            elif member.position.revision < batch.position.revision:
                self.members.pop(member, None)
                member.drop()
            if number % members_a_turn == 0:
                await asyncio.sleep(0)


def _parts(batch: DiffBatch, count: int) -> Sequence[DiffBatch]:
    """The batch in so many, about as long each; it must have as many diffs."""
    epoch, length = batch.position.epoch, len(batch.diffs)
    runs = [batch.diffs[length * part // count : length * (part + 1) // count] for part in range(count)]
    parts = [DiffBatch(run[-1].position_in(epoch), run, caught_up=False) for run in runs[:-1]]
    return [*parts, DiffBatch(batch.position, runs[-1], batch.caught_up)]


def start_eagerly(work: Coroutine[Any, Any, object]) -> Suspended | None:
    """Run it until it first has to wait. Null if it is done by then; what it raises is raised."""
    try:
        waited_for = work.send(None)
    except StopIteration:
        return None
    return Suspended(work, waited_for)


class Suspended:
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
