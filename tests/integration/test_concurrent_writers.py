"""Operators who write at once, and subscribers who come and go: what each is promised, checked from the rows."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field

import pytest

from persistence.codec.encoding import shard_checksum
from persistence.commands.shards import UpdateShards
from persistence.feed.live import LiveFeed, live_feed
from persistence.feed.tailer import FeedLimits
from persistence.model.outcomes import ShardsChanged, StaleShard, VersionConflict
from persistence.model.queries import DiffFilter
from persistence.model.records import Shard, StreamPosition
from persistence.ports.store import Store
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.support.length import rounds
from tests.support.mesh import Mesh, because, new, patch
from tests.support.model import digest_of, replay

WRITERS = 8
ATTEMPTS = rounds(2_000, 150)
SHARDS = 256


@dataclass
class Operator:
    """Changes random shards, each as it saw it last; learns of others' changes from conflicts alone."""

    name: str
    writer: CommandExecutor
    seen: dict[str, Shard]
    randomness: random.Random
    acknowledged: list[ShardsChanged] = field(default_factory=list)
    conflicts: list[StaleShard] = field(default_factory=list)

    async def work(self) -> None:
        for attempt in range(ATTEMPTS):
            shard = self.seen[self.randomness.choice(list(self.seen))]
            owner = f"node-{self.randomness.randrange(6)}"
            change = because(f"attempt {attempt}", actor=self.name, change_ticket=f"CHG-{attempt}")
            outcome = await self.writer.execute(UpdateShards([patch(shard, owner_node_id=owner)], change))
            if isinstance(outcome, ShardsChanged):
                self.acknowledged.append(outcome)
                (after,) = outcome.shards
            else:
                assert isinstance(outcome, VersionConflict), outcome
                (stale,) = outcome.stale
                self.conflicts.append(stale)
                assert stale.current is not None
                after = stale.current
            self.seen[after.shard_id] = after


async def subscribe(
    store: Store, feed: LiveFeed, start: StreamPosition, finished: asyncio.Event, randomness: random.Random
) -> list[int]:
    """Every revision received, while the connection is given up again and again after a random number of batches."""
    received: list[int] = []
    position = start
    while True:
        left = randomness.randint(1, 12)
        async with aclosing(feed.follow(position, DiffFilter())) as batches:
            async for batch in batches:
                received += [diff.revision for diff in batch.diffs]
                position = batch.position
                if finished.is_set() and position.revision >= (await store.stream.head()).revision:
                    return received
                left -= 1
                if left == 0:
                    break


@pytest.mark.timeout(240)
async def test_every_acknowledged_change_is_in_history_once_and_subscribers_receive_all_of_it(
    database_url: str,
) -> None:
    async with AsyncExitStack() as stack:
        # Two stores, as two server processes would be; each operator talks to one of them.
        stores = [await stack.enter_async_context(open_store(database_url)) for _ in range(2)]
        mesh = Mesh(stores[0])
        await mesh.configure()
        created = await mesh.create(*(new(f"s{number:03}") for number in range(SHARDS)))
        # The small ring makes subscribers fall back to history, the large one serves them from memory.
        limits = (FeedLimits(ring=100, page=40, bookmark_seconds=0.2), FeedLimits(bookmark_seconds=0.2))
        feeds = [
            await stack.enter_async_context(live_feed(store.stream, store.signal, limit))
            for store, limit in zip(stores, limits, strict=True)
        ]
        finished = asyncio.Event()
        subscribers = [
            asyncio.create_task(
                subscribe(stores[number % 2], feeds[number % 2], created.position, finished, random.Random(number))
            )
            for number in range(3)
        ]
        shards = {shard.shard_id: shard for shard in created.shards}
        operators = [
            Operator(
                f"operator-{number}",
                CommandExecutor(stores[number % 2].unit_of_work, group=stores[number % 2].change_group),
                dict(shards),
                random.Random(number),
            )
            for number in range(WRITERS)
        ]
        await asyncio.gather(*(operator.work() for operator in operators))
        finished.set()
        received = await asyncio.gather(*subscribers)

        history = await mesh.history()
        table = await mesh.table()
        namespace = await mesh.namespace()

    acknowledged = [outcome for operator in operators for outcome in operator.acknowledged]
    conflicts = [stale for operator in operators for stale in operator.conflicts]
    assert len(acknowledged) + len(conflicts) == WRITERS * ATTEMPTS
    assert conflicts, "nobody ever met anybody: the test tests nothing"

    # Exactly once, as acknowledged; nothing that was not acknowledged.
    rows = history[SHARDS:]
    assert Counter(row.change.id for row in rows) == Counter(outcome.change.id for outcome in acknowledged)
    by_change = {row.change.id: row for row in rows}
    for outcome in acknowledged:
        row = by_change[outcome.change.id]
        assert (row.current,) == outcome.shards
        assert row.change == outcome.change

    # Gapless revisions and versions; replay checks that each row follows from the one before.
    assert [row.revision for row in history] == list(range(1, len(history) + 1))
    for row in rows:
        assert row.previous is not None
        assert row.current is not None
        assert row.version == row.current.version == row.previous.version + 1
        assert row.current.checksum == shard_checksum(row.key, row.current.content)
        moved = row.current.owner_node_id != row.previous.owner_node_id
        assert row.current.owner_epoch == row.previous.owner_epoch + moved

    # A conflict names who won: the change that made the version it reports.
    winners = {(row.key, row.version): row.change for row in history}
    for stale in conflicts:
        assert stale.expected < stale.actual
        assert stale.last_change == winners[stale.key, stale.actual]

    assert replay(history) == table
    assert namespace.digest == digest_of(table.values())
    assert namespace.shard_count == SHARDS
    for revisions in received:
        assert revisions == list(range(SHARDS + 1, len(history) + 1))
