"""A process of another client: looks a shard up, so often a second, and prints as JSON how long each answer took, and
what it was late with at most."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import orjson
import uvloop

from tests.benchmarks.load import open_loop
from tests.siege.connections import request

_QUERY = '{ shard(namespace: "bystander", shardId: "s-%03d") { ownerNodeId version } }'


async def look(port: int, seconds: float, rate: float) -> tuple[Sequence[float], float]:
    """Milliseconds from when each was due, which the one before does not change: they go out on several connections.
    Those in which this process had no processor, to begin with one that was due, are no waiting for the server, and are
    left out. The longest of these is the other figure. Raises RuntimeError for an answer other than 200."""
    bodies = [request(orjson.dumps({"query": _QUERY % number})) for number in range(100)]
    figures = await open_loop(
        port, lambda number: bodies[number % 100], rate=rate, seconds=seconds, charges_lateness=False
    )
    return figures.latencies, figures.late


if __name__ == "__main__":
    _, port, seconds, rate = sys.argv[1:]
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(look(int(port), float(seconds), float(rate)))))
