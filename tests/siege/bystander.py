"""A process of another client: looks a shard up, so often a second, and prints as JSON of each when it was due, when
this process began with it, and when it was answered, in seconds on the monotonic clock."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import orjson
import uvloop

from tests.benchmarks.load import open_loop
from tests.siege.connections import request

_QUERY = '{ shard(namespace: "bystander", shardId: "s-%03d") { ownerNodeId version } }'


async def look(port: int, seconds: float, rate: float) -> Sequence[tuple[float, float, float]]:
    """None waits for the one before: they go out on several connections. Raises RuntimeError for an answer other than
    200."""
    bodies = [request(orjson.dumps({"query": _QUERY % number})) for number in range(100)]
    found: list[tuple[float, float, float]] = []
    await open_loop(
        port,
        lambda number: bodies[number % 100],
        rate=rate,
        seconds=seconds,
        observe=lambda *times: found.append(times),
    )
    return found


if __name__ == "__main__":
    port, seconds, rate = sys.argv[1:]
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(look(int(port), float(seconds), float(rate)))))
