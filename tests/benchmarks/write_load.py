"""Clients that change shards, in a process of their own: `python -m tests.benchmarks.write_load`.

Each client has a shard of its own and a connection that is kept alive, and sends its next change when the last one was
answered. Started by `commits.flat_out`, which gives it the shards on its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

import uvloop

from tests.benchmarks.load import PERCENTS, Connection, connect, figures_of, post

SHARE: Final = 0.05
"""Of conflicts, and of refusals, where there are any."""

CHANGED, CONFLICT, REFUSED = "ShardsChanged", "VersionConflict", "PolicyViolation"

REFUSED_NAMESPACE: Final = "ticketed"
"""Its policy requires a ticket, which these changes do not have."""

QUERY: Final = (
    "mutation($i:UpdateShardInput!){updateShard(input:$i){__typename ...on ShardsChanged{revision} "
    "...on Refusal{message}}}"
)


def request(namespace: str, shard_id: str, version: int) -> bytes:
    given = {"namespace": namespace, "shardId": shard_id, "expectedVersion": version}
    change = {"actor": "bench", "reason": "measure"}
    if namespace != REFUSED_NAMESPACE:
        change["changeTicket"] = "CHG-1"
    variables = {"i": {**given, "ownerNodeId": f"node-{version % 10}", "change": change}}
    return post("/graphql", json.dumps({"query": QUERY, "variables": variables}).encode())


class _Client:
    def __init__(self, connection: Connection, shard: tuple[str, str, int], *, mixed: bool) -> None:
        self._connection = connection
        self._namespace, self._shard_id, self._version = shard
        self._kinds = random.Random(f"{self._namespace} {self._shard_id}") if mixed else None

    async def change(self) -> str:
        """What it was answered. Raises RuntimeError where that is something else than it must be."""
        drawn = 1.0 if self._kinds is None else self._kinds.random()
        if drawn < SHARE:
            wanted, made = CONFLICT, request(self._namespace, self._shard_id, self._version + 1)
        elif drawn < 2 * SHARE:
            wanted, made = REFUSED, request(REFUSED_NAMESPACE, "s", 1)
        else:
            wanted, made = CHANGED, request(self._namespace, self._shard_id, self._version)
        body = await self._connection.ask(made)
        if f'"__typename":"{wanted}"'.encode() not in body:
            raise RuntimeError(f"not {wanted}: {body[:500].decode(errors='replace')}")
        self._version += wanted == CHANGED
        return wanted


async def run(
    ports: Sequence[int], shards: Sequence[tuple[str, str, int]], *, seconds: float, mixed: bool
) -> dict[str, Any]:
    """The first fifth of the time is for warming up, and is not counted in latencies."""
    latencies: list[float] = []
    kinds = Counter[str]()
    connections = [await connect(ports[number % len(ports)]) for number in range(len(shards))]
    begin = perf_counter()
    counted_from, end = begin + seconds / 5, begin + seconds

    async def client(connection: Connection, shard: tuple[str, str, int]) -> None:
        one = _Client(connection, shard, mixed=mixed)
        while (sent := perf_counter()) < end or not latencies:
            kinds[await one.change()] += 1
            if sent >= counted_from:
                latencies.append(perf_counter() - sent)

    await asyncio.gather(*map(client, connections, shards))
    taken = perf_counter() - counted_from
    for connection in connections:
        connection.close()
    figures = figures_of(latencies, taken)
    return {
        "answered": kinds.total(),
        "kinds": kinds,
        "rate": figures.rate,
        "latencies": [(percent, figures.at(percent)) for percent in PERCENTS],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--mixed", action="store_true")
    options = parser.parse_args()
    shards = [tuple(each) for each in json.load(sys.stdin)]
    print(json.dumps(uvloop.run(run(options.ports, shards, seconds=options.seconds, mixed=options.mixed))))


if __name__ == "__main__":
    main()
