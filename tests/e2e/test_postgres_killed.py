"""kill -9 of PostgreSQL under writers and a subscriber, again and again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from graph.embedded_postgres.server import EmbeddedPostgres, start_embedded_postgres
from migrations import upgrade
from persistence.commands.shards import UpdateShards
from persistence.errors import StoreUnavailable
from persistence.feed.live import LiveFeed, live_feed
from persistence.feed.tailer import FeedLimits
from persistence.model.outcomes import ShardsChanged, VersionConflict
from persistence.model.queries import DiffFilter
from persistence.model.records import Shard, StreamPosition
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.support.length import rounds
from tests.support.mesh import Mesh, because, new, patch
from tests.support.model import digest_of, replay

KILLS = rounds(10, 3)
WRITERS = 4
SHARDS_PER_CHANGE = 5
ACKNOWLEDGED_BETWEEN_KILLS = 30


@dataclass
class Operator:
    """Changes five shards at a time and sends the request again, with the same key, when the answer was lost."""

    number: int
    writer: CommandExecutor
    seen: dict[str, Shard]
    progress: asyncio.Condition
    acknowledged: list[ShardsChanged] = field(default_factory=list)
    lost_answers: int = 0

    async def work(self, stop: asyncio.Event) -> None:
        randomness = random.Random(self.number)
        request = 0
        while not stop.is_set():
            request += 1
            chosen = randomness.sample(sorted(self.seen), SHARDS_PER_CHANGE)
            owner = f"node-{randomness.randrange(6)}"
            key = f"operator-{self.number}-request-{request}"
            change = because("rebalance", actor=f"operator-{self.number}", idempotency_key=key)
            patches = [patch(self.seen[shard_id], owner_node_id=owner) for shard_id in chosen]
            outcome = await self.answer(UpdateShards(patches, change))
            if isinstance(outcome, ShardsChanged):
                self.acknowledged.append(outcome)
                self.learn(*outcome.shards)
                async with self.progress:
                    self.progress.notify_all()
            else:
                self.learn(*(stale.current for stale in outcome.stale if stale.current))

    async def answer(self, command: UpdateShards) -> ShardsChanged | VersionConflict:
        while True:
            try:
                outcome = await self.writer.execute(command)
            except StoreUnavailable:
                self.lost_answers += 1
                # Nothing to wait for: a server that is down refuses at once, and another task brings it back.
                await asyncio.sleep(0.05)
                continue
            assert isinstance(outcome, ShardsChanged | VersionConflict), outcome
            return outcome

    def learn(self, *shards: Shard) -> None:
        self.seen |= {shard.shard_id: shard for shard in shards}


async def subscribe(feed: LiveFeed, start: StreamPosition, until: asyncio.Future[int]) -> list[int]:
    """One subscription, never renewed: it must survive by itself."""
    received: list[int] = []
    async with aclosing(feed.follow(start, DiffFilter())) as batches:
        async for batch in batches:
            received += [diff.revision for diff in batch.diffs]
            if until.done() and batch.position.revision >= until.result():
                return received
    raise AssertionError("the subscription ended")


@dataclass
class Server:
    """A PostgreSQL with its own default settings: what is acknowledged has been flushed. It can be killed."""

    data_dir: Path
    lives: list[EmbeddedPostgres] = field(default_factory=list)

    def start(self) -> EmbeddedPostgres:
        self.lives.append(start_embedded_postgres(self.data_dir))
        return self.lives[-1]

    def kill(self) -> None:
        os.kill(self.lives[-1].postmaster_pid, signal.SIGKILL)

    def stop(self) -> None:
        for life in self.lives:
            life.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.timeout(180)
async def test_no_acknowledged_write_is_lost_and_none_is_half_there(server: Server) -> None:
    url = (await asyncio.to_thread(server.start)).url
    await upgrade(url)
    async with (
        open_store(url) as store,
        live_feed(store.stream, store.signal, FeedLimits(bookmark_seconds=0.2)) as feed,
    ):
        mesh = Mesh(store)
        await mesh.configure()
        created = await mesh.create(*(new(f"s{number:03}") for number in range(256)))
        final: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        subscriber = asyncio.create_task(subscribe(feed, created.position, final))
        progress, stop = asyncio.Condition(), asyncio.Event()
        shards = {shard.shard_id: shard for shard in created.shards}
        operators = [Operator(n, mesh.writer, dict(shards), progress) for n in range(WRITERS)]
        work = [asyncio.create_task(operator.work(stop)) for operator in operators]

        def acknowledged() -> int:
            return sum(len(operator.acknowledged) for operator in operators)

        async def more_acknowledged() -> None:
            goal = acknowledged() + ACKNOWLEDGED_BETWEEN_KILLS
            async with progress:
                await progress.wait_for(lambda: acknowledged() >= goal)

        for _ in range(KILLS):
            await more_acknowledged()
            server.kill()
            revived = await asyncio.to_thread(server.start)
            assert revived.url == url
        await more_acknowledged()
        stop.set()
        await asyncio.gather(*work)
        history = await mesh.history()
        final.set_result(len(history))
        received = await subscriber
        table = await mesh.table()
        namespace = await mesh.namespace()

    assert len({life.postmaster_pid for life in server.lives}) == KILLS + 1
    assert sum(operator.lost_answers for operator in operators) >= KILLS, "the kills hit nobody"
    rows = history[256:]
    by_change: dict[int, list[Shard | None]] = {}
    for row in rows:
        by_change.setdefault(row.change.id, []).append(row.current)
    # Every operator retried until it was answered, so what is in history is exactly what was acknowledged.
    answers = {outcome.change.id: outcome for operator in operators for outcome in operator.acknowledged}
    assert by_change.keys() == answers.keys()
    for change_id, written in by_change.items():
        assert tuple(written) == answers[change_id].shards
        assert len(written) == SHARDS_PER_CHANGE
    assert [row.revision for row in history] == list(range(1, len(history) + 1))
    assert replay(history) == table
    assert namespace.digest == digest_of(table.values())
    assert received == list(range(257, len(history) + 1))
