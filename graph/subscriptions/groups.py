"""Subscribers, and the groups in which those of the same operation share its execution.

A subscriber that is behind follows the feed alone. Once it has caught up it joins the group of its operation, which
follows the feed once, executes each batch once, and offers the messages to its members. A member sends a message
without waiting or drops out of the group: a slow socket delays no other, and costs what it buffers and one message.
docs/decisions/0013-cohorts.md.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import replace
from time import time
from typing import Any, Final, NamedTuple, TypeAlias

from graph.execution.metrics import Metrics
from graph.subscriptions.operation import SharingKey, SubscriptionOperation
from persistence.commands.command import TRACE_ID
from persistence.model.records import StreamPosition
from persistence.model.stream import DiffBatch
from persistence.tasks import Begun
from persistence.tracing import NO_TRACING, Tracer

_BYTES_A_TURN: Final = 250_000
"""Bytes sent before other tasks run: a millisecond or two."""

_MESSAGE_COST: Final = 2_500
"""Bytes that a shorter message counts as: sending it costs no less."""

MAX_PAYLOAD_BYTES: Final = 255 * 1024
"""So that a frame or an event with its envelope takes 256 KiB at most: most clients have a limit of a megabyte, and
would never get past a larger message. One diff that is larger goes alone."""

_TRACED_DIFFS: Final = 100
"""Of a batch, whose traces its span names."""

_REMEMBERED: Final = 32
"""Batches of a process: subscribers that drop out of a group, or come back after a deploy, often need the same ones."""

_MessagesKey: TypeAlias = tuple[SharingKey, StreamPosition, int, int, bool, int]


class Message:
    """The payload (JSON) made of a batch, or of a part of one."""

    __slots__ = ("_encoded", "_head", "batch", "payload")

    def __init__(self, payload: bytes, batch: DiffBatch) -> None:
        self.payload = payload
        self.batch = batch
        self._head: bytes | None = None
        self._encoded = b""

    def written(self, direct: DirectWrite) -> bool:
        """Whether it went the short way. What is written is made once for subscribers in a row whose heads are equal.

        Only the last one is stored: with a head for each of a thousand subscribers there would be as many copies.
        """
        if direct.head != self._head:
            self._head, self._encoded = direct.head, direct.encode(direct.head, self.payload)
        return direct.write(self._encoded)


Send: TypeAlias = Callable[[Message], Coroutine[Any, Any, object]]
"""Sends a message to the client. Waits while the client does not read what was sent."""


class DirectWrite(NamedTuple):
    """The short way past `Send`, where the transport has one: `write(encode(head, payload))`.

    `write` returns false, and has sent nothing, if it would have to wait or if nothing can be sent any more.
    """

    head: bytes
    encode: Callable[[bytes, bytes], bytes]
    write: Callable[[bytes], bool]


class Subscriber:
    """Everything up to `position` has been sent to the client."""

    def __init__(
        self,
        groups: SubscriberGroups,
        operation: SubscriptionOperation,
        send: Send,
        send_timeout: float | None,
        direct: DirectWrite | None = None,
    ) -> None:
        self._groups = groups
        self._operation = operation
        self._send = send
        self._send_timeout = send_timeout
        self._direct = direct
        self._dropped: asyncio.Future[Begun[object] | None] | None = None
        self.position: StreamPosition = operation.stream.begin

    async def run(self) -> None:
        """Until cancelled. Raises what following the feed or sending raises, and TimeoutError when sending waits for
        more than `send_timeout` seconds; null is without a limit."""
        while True:
            await self._catch_up()
            await self._keep_up()

    async def _catch_up(self) -> None:
        async with aclosing(self._operation.stream.follow(self.position)) as batches:
            async for batch in batches:
                async with self._groups.catch_up_lock:
                    first, *others = await self._groups.messages(self._operation, batch)
                    suspended = self._start(first)
                await self._sent(first, suspended)
                for message in others:
                    async with self._groups.catch_up_lock:
                        suspended = self._start(message)
                    await self._sent(message, suspended)
                if batch.caught_up and self._groups.may_join(self._operation, self.position):
                    return

    def _start(self, message: Message) -> Begun[object] | None:
        """Null when it is sent. Raises what sending raises."""
        if self._direct is not None and message.written(self._direct):
            return None
        sending = Begun(self._send(message))
        return None if sending.has_ended else sending

    async def _sent(self, message: Message, suspended: Begun[object] | None) -> None:
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

    def offer(self, message: Message) -> bool:
        """Send it. False if that has to wait, or failed: the subscriber drops out of its group."""
        dropped = self._dropped
        if dropped is None or dropped.done():
            return False
        try:
            suspended = self._start(message)
        except Exception as error:  # noqa: BLE001 - raised by `run`
            dropped.set_exception(error)
            # The frame, which the error leads to by its traceback, would hold what holds the error.
            del dropped
            return False
        self.position = message.batch.position
        if suspended is None:
            return True
        dropped.set_result(suspended)
        return False

    def drop(self, error: Exception | None = None) -> None:
        """The group has passed it; or, with an error, the stream cannot be followed any more."""
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
    """All groups of a process, and the messages that were made lately."""

    def __init__(self, metrics: Metrics, tracer: Tracer = NO_TRACING) -> None:
        self._groups: dict[SharingKey, SubscriberGroup] = {}
        self._messages: OrderedDict[_MessagesKey, Sequence[Message]] = OrderedDict()
        self._metrics = metrics
        self._tracer = tracer
        metrics.groups.set_function(lambda: len(self._groups))
        metrics.group_members.set_function(lambda: sum(len(group.members) for group in self._groups.values()))
        self.catch_up_lock = asyncio.Lock()
        """Held while a message is made and sent for a subscriber that is behind: hundreds of them get one message a
        round of the event loop between them, and do not delay those that keep up."""

    async def messages(self, operation: SubscriptionOperation, batch: DiffBatch) -> Sequence[Message]:
        """The batch executed, once for all subscribers of the operation that are sent just these diffs: one message, or
        several, each with the position that it leads to, where one would be too large."""
        first = batch.diffs[0].revision if batch.diffs else 0
        second = int(time()) if operation.shows_time else 0
        key = (operation.key, batch.position, first, len(batch.diffs), batch.caught_up, second)
        messages = self._messages.get(key)
        if messages is None:
            messages = self._messages[key] = await self._executed(operation, batch)
            if len(self._messages) > _REMEMBERED:
                self._messages.popitem(last=False)
        return messages

    async def _executed(self, operation: SubscriptionOperation, batch: DiffBatch) -> list[Message]:
        """The size of a diff depends on the fields selected, so it is known when the batch, or a part, was executed."""
        payload = (await operation.payload(batch)).encode()
        self._metrics.executions.inc()
        size, count = len(payload), len(batch.diffs)
        if size <= MAX_PAYLOAD_BYTES or count <= 1:
            return [Message(payload, batch)]
        messages: list[Message] = []
        for part in _parts(batch, min(count, size // MAX_PAYLOAD_BYTES + 1)):
            await asyncio.sleep(0)
            messages += await self._executed(operation, part)
        return messages

    def sending(self, batch: DiffBatch, subscribers: int) -> AbstractContextManager[object]:
        """A span while a batch with diffs is sent. It hangs below no operation: it names the traces of its changes."""
        if not self._tracer.is_on or not batch.diffs:
            return nullcontext()
        metadata = (diff.change.metadata for diff in batch.diffs[:_TRACED_DIFFS])
        traces = dict.fromkeys(str(each[TRACE_ID]) for each in metadata if isinstance(each, dict) and TRACE_ID in each)
        return self._tracer.span(
            "send batch",
            self._tracer.root,
            revision=batch.position.revision,
            diffs=len(batch.diffs),
            subscribers=subscribers,
            traces=",".join(traces),
        )

    def count_sent(self, count: int) -> None:
        """For the metric of batches sent."""
        self._metrics.batches.inc(count)

    def may_join(self, operation: SubscriptionOperation, position: StreamPosition) -> bool:
        """Whether a member at that position would miss nothing."""
        group = self._groups.get(operation.key)
        if group is None:
            return True
        return position.epoch == group.position.epoch and position.revision >= group.position.revision

    def join(self, operation: SubscriptionOperation, member: Subscriber) -> None:
        """Only at a position where it `may_join`. Begins a group if there is none."""
        group = self._groups.get(operation.key)
        if group is None:
            group = self._groups[operation.key] = SubscriberGroup(self, operation, member.position)
            group.start()
        group.members[member] = None

    def leave(self, operation: SubscriptionOperation, member: Subscriber) -> None:
        """A group without members ends. May be called again."""
        group = self._groups.get(operation.key)
        if group is None:
            return
        group.members.pop(member, None)
        if not group.members:
            group.stop()
            self.ended(group)

    def ended(self, group: SubscriberGroup) -> None:
        """It cannot be joined any more."""
        if self._groups.get(group.key) is group:
            del self._groups[group.key]


class SubscriberGroup:
    """The subscribers of one operation that keep up: everything up to `position` has been offered to them."""

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
            # It would hold this object by its cancellation's traceback, and this object it.
            self._task = None

    async def _run(self) -> None:
        """Until stopped, or until the stream cannot be followed."""
        try:
            async with aclosing(self._operation.stream.follow(self.position)) as batches:
                begun = False
                async for batch in batches:
                    # Not the bookmark that following begins with: each member has sent its own.
                    if begun or batch.diffs or batch.position != self.position:
                        await self._offer(batch)
                    begun = True
        except Exception as error:  # noqa: BLE001 - raised by each member's `run`
            for member in list(self.members):
                member.drop(error)
        finally:
            # Here, not when the task is done: a member that joined in between would wait for ever.
            self._groups.ended(self)

    async def _offer(self, batch: DiffBatch) -> None:
        with self._groups.sending(batch, len(self.members)):
            for message in await self._groups.messages(self._operation, batch):
                await self._offer_one(message)

    async def _offer_one(self, message: Message) -> None:
        before, self.position = self.position, message.batch.position
        members_a_turn = max(1, _BYTES_A_TURN // max(_MESSAGE_COST, len(message.payload)))
        offered = 0
        for number, member in enumerate(list(self.members), 1):
            if member.position == before:
                if member in self.members:
                    offered += 1
                    if not member.offer(message):
                        self.members.pop(member, None)
            elif member.position.revision < self.position.revision:
                self.members.pop(member, None)
                member.drop()
            if number % members_a_turn == 0:
                self._groups.count_sent(offered)
                offered = 0
                await asyncio.sleep(0)
        self._groups.count_sent(offered)


def _parts(batch: DiffBatch, count: int) -> Sequence[DiffBatch]:
    """The batch in `count` parts of about the same length; it must have as many diffs."""
    epoch, length = batch.position.epoch, len(batch.diffs)
    runs = [batch.diffs[length * part // count : length * (part + 1) // count] for part in range(count)]
    parts = [replace(batch, position=run[-1].position_in(epoch), diffs=run, caught_up=False) for run in runs[:-1]]
    return [*parts, replace(batch, diffs=runs[-1])]
