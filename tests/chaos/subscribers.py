"""Subscribers: each lists, follows, leaves at random points in random ways, resumes after what it has dealt with."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from time import monotonic, time
from typing import Any, Final

from persistence.codec import cursors
from persistence.model.records import StreamPosition
from tests.chaos.progress import Arrival, Progress
from tests.chaos.records import Listing, Record, Segment
from tests.chaos.requests import RETRYABLE, Asker, WrongAnswerError
from tests.chaos.transports import GoneError, RefusedError, Stream, Transport
from tests.chaos.watches import Watch, diff_fingerprint, shard_fingerprint

_PAUSE_SECONDS: Final = 0.1
_FIELDS: Final = "namespace shardId version checksum ownerNodeId status"
_LIST: Final = f"""
query ($filter: ShardFilter, $after: String, $asOf: AsOf) {{
  shards(filter: $filter, first: 500, after: $after, asOf: $asOf) {{
    cursor revision nodes {{ {_FIELDS} }} pageInfo {{ hasNextPage endCursor }}
  }}
}}"""

_HEAD: Final = "{ head { cursor } }"


class Subscriber:
    """`batches` is how many it takes, at most, before it leaves."""

    def __init__(
        self,
        number: int,
        seed: int,
        watch: Watch,
        transport: Transport,
        batches: int,
        addresses: Sequence[str],
        progress: Progress,
    ) -> None:
        self.number = number
        self.record = Record(f"subscriber {number} ({watch})", watch)
        self.epoch = ""
        self.revision = 0
        self.moved_at = monotonic()
        self.reading = asyncio.Event()
        self.reading.set()
        self.latencies: list[tuple[str, int, float]] = []
        self._randomness = random.Random(f"subscriber {seed} {number}")
        self._transport = transport
        self._batches = batches
        self._addresses = addresses
        self._asker = Asker(addresses, random.Random(f"subscriber's lists {seed} {number}"))
        self._progress = progress
        self._cursor: str | None = None

    async def follow(self) -> None:
        """For ever, unless it is refused what it must not be refused."""
        try:
            while True:
                try:
                    if self._cursor is None:
                        await self._list()
                    await self._visit()
                except GoneError as gone:
                    self._progress.endings[gone.how] += 1
                    await asyncio.sleep(_PAUSE_SECONDS)
                except RefusedError as refusal:
                    if refusal.code == "EPOCH_MISMATCH":
                        self.record.mismatches.append(monotonic())
                        self._cursor = None
                    elif refusal.code in RETRYABLE:
                        await asyncio.sleep(_PAUSE_SECONDS)
                    else:
                        raise
        except (RefusedError, WrongAnswerError) as error:
            self.record.complaints.append(f"{self.record.name} at {self.epoch}/{self.revision} was answered {error}")
        finally:
            await self._asker.aclose()

    async def _list(self) -> None:
        """The table, whole and as of one revision, and a new segment that begins there."""
        where = {"namespace": self.record.watch.namespace, **self.record.watch.filter}
        page = await self._asker.ask(_LIST, filter=where)
        cursor = page["cursor"]
        position = cursors.STREAM.read(cursor, "cursor")
        nodes = page["nodes"]
        try:
            while page["pageInfo"]["hasNextPage"]:
                after, as_of = page["pageInfo"]["endCursor"], {"revision": position.revision}
                page = await self._asker.ask(_LIST, filter=where, after=after, asOf=as_of)
                nodes += page["nodes"]
        except WrongAnswerError as error:
            if error.code != "FUTURE_CURSOR" or not await self._replaced(position.epoch):
                raise
            return
        if await self._replaced(position.epoch):
            return
        digest = sum(map(shard_fingerprint, nodes))
        self.record.listings.append(Listing(self.record.watch, position.epoch, position.revision, len(nodes), digest))
        self.record.segments.append(Segment(position.epoch, position.revision, position.revision))
        self._cursor = cursor
        self._note(position)

    async def _replaced(self, epoch: str) -> bool:
        """Whether the store has been restored since: pages from before and after do not belong together."""
        head = await self._asker.ask(_HEAD)
        return cursors.STREAM.read(head["cursor"], "cursor").epoch != epoch

    async def _visit(self) -> None:
        """One connection: until it has had enough, or it is ended."""
        if self._cursor is None:
            return
        server = self._randomness.randrange(len(self._addresses))
        variables = {"namespace": self.record.watch.namespace, "filter": self.record.watch.filter}
        stream = await self._transport(self._addresses[server], variables, self._cursor)
        self._progress.reconnects += 1
        try:
            for _ in range(self._randomness.randint(1, self._batches)):
                await self.reading.wait()
                self._take(await stream.batch(), server)
            await self._leave(stream)
        finally:
            await stream.abort()

    async def _leave(self, stream: Stream) -> None:
        """With a word, without one, or in the middle of a batch, which then has not been dealt with."""
        dice = self._randomness.random()
        if dice < 1 / 3:
            await stream.close()
        elif dice < 2 / 3:
            await stream.batch()

    def _take(self, batch: Mapping[str, Any], server: int) -> None:
        position = cursors.STREAM.read(batch["cursor"], "cursor")
        segment = self.record.segments[-1]
        if position.epoch != segment.epoch or position.revision != int(batch["revision"]):
            raise RefusedError("CURSOR", f"{position} after epoch {segment.epoch}, with revision {batch['revision']}")
        diffs = batch["diffs"]
        segment.revisions.extend([int(diff["revision"]) for diff in diffs])
        segment.fingerprints.extend(map(diff_fingerprint, diffs))
        segment.end = position.revision
        self._cursor = batch["cursor"]
        if diffs:
            self._progress.deliver(Arrival(self.number, server, position.epoch, position.revision), len(diffs))
            if batch["caughtUp"]:
                self.latencies.append((position.epoch, int(diffs[-1]["revision"]), time()))
        self._note(position)

    def _note(self, position: StreamPosition) -> None:
        if (position.epoch, position.revision) != (self.epoch, self.revision):
            self.moved_at = monotonic()
        self.epoch, self.revision = position.epoch, position.revision
