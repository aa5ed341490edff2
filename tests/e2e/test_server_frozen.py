"""A server process that is stopped and goes on: what it answers first is not as old as it was stopped for."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

from persistence.feed.tailer import FeedLimits
from tests.support.real_server import real_server

OWNER = 'query { shard(namespace: "orders", shardId: "s1") { ownerNodeId version } }'


def test_the_first_read_after_a_freeze_holds_what_others_committed_meanwhile(database_url: str) -> None:
    """The read waits at the server when that goes on, and is there before anything of the stream is."""
    with (
        real_server(database_url) as frozen,
        real_server(database_url) as other,
        ThreadPoolExecutor(1) as reader,
    ):
        change = {"actor": "ops", "reason": "set up"}
        frozen.ask("ConfigureNamespace", input={"name": "orders", "strategy": "rendezvous", "change": change})
        shard = {"namespace": "orders", "shardId": "s1", "ownerNodeId": "node-1"}
        frozen.change("CreateShards", "ShardsChanged", shards=[shard])
        assert frozen.query(OWNER) == {"ownerNodeId": "node-1", "version": "1"}
        frozen.process.send(signal.SIGSTOP)
        moved = {"namespace": "orders", "shardId": "s1", "expectedVersion": 1, "ownerNodeId": "node-2"}
        other.change("UpdateShard", "ShardsChanged", **moved)
        reading = reader.submit(frozen.query, OWNER)
        time.sleep(FeedLimits().fresh_seconds + 0.1)  # what is tested is that time has passed
        frozen.process.send(signal.SIGCONT)
        assert reading.result() == {"ownerNodeId": "node-2", "version": "2"}
