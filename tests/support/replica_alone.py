"""A process that loads a replica and nothing else, and prints how many shards it holds, and by how many bytes its
memory has grown."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from pathlib import Path

from persistence.feed.live import live_feed
from persistence.postgres.store import open_store
from persistence.replica.replica import ReplicaLimits, following


def resident_bytes() -> int:
    """Of this process, in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def main(database_url: str) -> None:
    async with open_store(database_url) as store, live_feed(store.stream, store.signal) as feed:
        gc.collect()
        before = resident_bytes()
        async with following(store.shards, feed, ReplicaLimits(10_000_000)) as replica:
            await replica.ready()
            assert replica.table is not None
            print(len(replica.table), resident_bytes() - before)  # noqa: T201 - what it is for


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
