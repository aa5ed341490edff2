"""A process of another client: looks a shard up, so often a second, and prints as JSON how long each answer took."""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter

import orjson
import uvloop

from tests.siege.connections import Connection, Target, connected, request

_QUERY = '{ shard(namespace: "bystander", shardId: "s-%03d") { ownerNodeId version } }'


async def look(target: Target, seconds: float, rate: float) -> list[float]:
    """Milliseconds from when each was due, so that what a late one delays counts as well."""
    taken: list[float] = []
    async with connected(target) as connection:
        begun = perf_counter()
        number = 0
        while (due := begun + number / rate) < begun + seconds:
            await asyncio.sleep(max(0.0, due - perf_counter()))
            await _look(connection, number)
            taken.append((perf_counter() - due) * 1_000)
            number += 1
    return taken


async def _look(connection: Connection, number: int) -> None:
    await connection.send(request(orjson.dumps({"query": _QUERY % (number % 100)})))
    answer = await connection.answer()
    if answer != "200 data":
        raise RuntimeError(f"the lookup was answered {answer}")


if __name__ == "__main__":
    host, port, seconds, rate = sys.argv[1:]
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(look(Target(host, int(port)), float(seconds), float(rate)))))
