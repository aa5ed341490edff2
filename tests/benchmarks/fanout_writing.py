"""Changes at a steady rate, each stamped with when it was sent, and the same for a server that only broadcasts."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any, Final

from tests.benchmarks.fanout_audience import STAMP
from tests.benchmarks.load import post

SHARDS: Final = 100
"""Of a namespace that is written to one shard at a time."""

_UPDATE: Final = (
    "mutation($i:UpdateShardInput!){updateShard(input:$i){__typename ...on ShardsChanged{revision} "
    "...on Refusal{message}}}"
)
_UPDATE_MANY: Final = _UPDATE.replace("UpdateShard", "UpdateShards").replace("updateShard(", "updateShards(")


@dataclass(frozen=True, slots=True)
class Sent:
    """`stamp` is when a change was sent, `answered` when the writer knew it committed; in nanoseconds."""

    stamp: int
    answered: int


class Client:
    """One HTTP/1.1 connection, kept alive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @staticmethod
    async def of(port: int) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, body: bytes) -> bytes:
        self._writer.write(post("/graphql", body))
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not head.startswith(b"HTTP/1.1 200") or length is None:
            raise RuntimeError(head.decode())
        return await self._reader.readexactly(int(length[1]))

    def close(self) -> None:
        self._writer.close()


class Shards:
    """The shards of a namespace, written to one after the other."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._changes = itertools.count()

    def next(self) -> bytes:
        number = next(self._changes)
        given = _changed(self._namespace, number % SHARDS, 1 + number // SHARDS, f"node-{1 + number // SHARDS % 10}")
        return _body(_UPDATE, {**given, "change": _stamped()})


def all_changed(namespace: str, count: int) -> bytes:
    """One transaction that changes so many shards."""
    shards = [_changed(namespace, number, 1, "node-1") for number in range(count)]
    return _body(_UPDATE_MANY, {"shards": shards, "change": _stamped()})


async def at_rate(client: Client, body: Callable[[], bytes], *, rate: float, seconds: float) -> Sequence[Sent]:
    """So many a second, one after the other; when the server is slower than that, as many as it answers."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    sent = []
    for number in range(round(rate * seconds)):
        await asyncio.sleep(begin + number / rate - loop.time())
        if loop.time() - begin >= seconds:
            break
        sent.append(await once(client, body()))
    return sent


async def once(client: Client, body: bytes) -> Sent:
    answer = await client.post(body)
    if answer and b'"ShardsChanged"' not in answer:
        raise RuntimeError(answer.decode())
    return Sent(stamp_of(body), monotonic_ns())


def stamp_of(body: bytes) -> int:
    return int(body[body.index(STAMP.encode()) :].removeprefix(STAMP.encode()).partition(b'"')[0])


def restamped(message: bytes) -> bytes:
    """The same message, sent now."""
    return message.replace(str(stamp_of(message)).encode(), str(monotonic_ns()).encode())


def shard_id(number: int) -> str:
    return f"shard-{number:04}"


def _stamped() -> dict[str, str]:
    return {"actor": "bench", "reason": f"{STAMP}{monotonic_ns()}", "changeTicket": "CHG-1"}


def _changed(namespace: str, number: int, version: int, owner: str) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "shardId": shard_id(number),
        "expectedVersion": version,
        "ownerNodeId": owner,
    }


def _body(query: str, given: dict[str, Any]) -> bytes:
    return json.dumps({"query": query, "variables": {"i": given}}).encode()
