"""Clients: each reads and writes a few shards that all of them want, through any server, and notes what it was told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any, Final

import httpx2
import orjson

from tests.linearizability.journal import (
    NO_ANSWER,
    Acknowledged,
    Attempt,
    Journal,
    ReadMode,
    ReadRecord,
    Refused,
    Told,
    WriteRecord,
)
from tests.linearizability.register import Seen, WriteKind

NAMESPACE: Final = "registers"
_TIMEOUT_SECONDS: Final = 2.5
_PAUSE_SECONDS: Final = 0.05
_EXPECTED_CODES: Final = frozenset(
    {"UNAVAILABLE", "TRANSIENT_CONFLICT", "STALE_READ", "OVERLOADED", "LOCKED", "COMMIT_UNKNOWN"}
)
_SHARD: Final = "{ shardId version ownerNodeId ownerEpoch revision }"
_ANSWER: Final = f"""
  __typename
  ... on Refusal {{ message }}
  ... on ShardsChanged {{ change {{ id }} replayed revision shards {_SHARD} }}
  ... on VersionConflict {{ conflicts {{ actualVersion current {_SHARD} lastChange {{ lastRevision }} }} }}"""
_WRITES: Final = {
    WriteKind.CREATE: f"mutation ($input: CreateShardsInput!) {{ createShards(input: $input) {{ {_ANSWER} }} }}",
    WriteKind.UPDATE: f"mutation ($input: UpdateShardInput!) {{ updateShard(input: $input) {{ {_ANSWER} }} }}",
    WriteKind.DELETE: f"mutation ($input: DeleteShardsInput!) {{ deleteShards(input: $input) {{ {_ANSWER} }} }}",
}
_POINT: Final = f"""
query ($namespace: String!, $shardId: String!, $atLeast: Revision) {{
  shard(namespace: $namespace, shardId: $shardId, atLeast: $atLeast) {_SHARD}
}}"""
_LIST: Final = f"""
query ($filter: ShardFilter, $atLeast: Revision) {{
  shards(filter: $filter, first: 100, atLeast: $atLeast) {{ revision nodes {_SHARD} }}
}}"""
_CONFIGURE: Final = """
mutation ($input: ConfigureNamespaceInput!) {
  configureNamespace(input: $input) { __typename ... on Refusal { message } }
}"""


@dataclass(frozen=True, slots=True)
class Reply:
    """`data` is the one field of it. Without an answer, `ending` says what came instead."""

    attempt: Attempt
    data: Any = None


class Connection:
    """GraphQL over HTTP, one request at a time."""

    def __init__(self, addresses: Sequence[str], journal: Journal) -> None:
        self._addresses = addresses
        self._journal = journal
        self._http = httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def ask(self, server: int, document: str, variables: Mapping[str, Any], seconds: float) -> Reply:
        """Hangs up after so many seconds."""
        body = orjson.dumps({"query": document, "variables": variables})
        headers = {"content-type": "application/json"}
        sent = monotonic_ns()
        try:
            async with asyncio.timeout(seconds):
                url = f"http://{self._addresses[server]}/graphql"
                response = await self._http.post(url, content=body, headers=headers, timeout=seconds)
            answer: dict[str, Any] = orjson.loads(response.content)
        except (httpx2.HTTPError, TimeoutError, OSError, ValueError):
            return self._ended(Attempt(server, sent, monotonic_ns(), NO_ANSWER))
        ended = monotonic_ns()
        if errors := answer.get("errors"):
            code = errors[0].get("extensions", {}).get("code", "an error without a code")
            if code not in _EXPECTED_CODES:
                self._journal.complaints.append(f"server {server} answered {errors[0]} to {variables}")
            return self._ended(Attempt(server, sent, ended, code))
        (data,) = answer["data"].values()
        return Reply(Attempt(server, sent, ended, None), data)

    def _ended(self, attempt: Attempt) -> Reply:
        assert attempt.ending is not None
        self._journal.count_ending(attempt.ending)
        return Reply(attempt)


class Client:
    """What it does is drawn from the seed; what it expects of a shard is what it was told last.

    Its owners are names of its own that come once, so that what is read says who wrote it; one update in four leaves
    the owner as it is, for the epoch to stay.
    """

    def __init__(
        self, number: int, seed: int, shards: Sequence[str], addresses: Sequence[str], journal: Journal
    ) -> None:
        self.number = number
        self._randomness = random.Random(f"client {seed} {number}")
        self._shards = shards
        self._servers = range(len(addresses))
        self._connection = Connection(addresses, journal)
        self._journal = journal
        self._known: dict[str, Seen | None] = {}
        self._newest = 0
        self._last = shards[0]
        self._writes = 0

    async def work(self, stop: asyncio.Event) -> None:
        """Until told to stop, and until the last request has ended."""
        try:
            while not stop.is_set():
                await (self.write() if self._randomness.random() < 0.5 else self.read())
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def read(self) -> None:
        """One shard, one shard as a list, or the list of all."""
        mode = self._randomness.choices(list(ReadMode), (2, 2, 3))[0]
        # To name what all others have been told takes a stamp on every answer, and only lists have one.
        point = mode is not ReadMode.LATEST and self._randomness.random() < 0.6
        shard = self._randomness.choice(self._shards)
        shards = self._shards if self._randomness.random() < 0.2 and not point else (shard,)
        await self.look(self._server(), mode, shards, point=point)

    async def look(self, server: int, mode: ReadMode, shards: Sequence[str], *, point: bool = False) -> bool:
        """Whether there was an answer."""
        least = {ReadMode.LATEST: self._journal.newest, ReadMode.SESSION: self._newest, ReadMode.DEFAULT: None}[mode]
        variables: dict[str, Any] = {"atLeast": None if least is None else str(least)}
        if point:
            variables |= {"namespace": NAMESPACE, "shardId": shards[0]}
        else:
            variables |= {"filter": {"namespace": NAMESPACE, "shardIds": list(shards)}}
        reply = await self._connection.ask(server, _POINT if point else _LIST, variables, self._timeout())
        attempt = reply.attempt
        if attempt.ending is not None:
            return False
        stamp = None if point else int(reply.data["revision"])
        nodes = ([reply.data] if reply.data else []) if point else reply.data["nodes"]
        found = {node["shardId"]: _told(node) for node in nodes}
        shown = {shard: found.pop(shard, None) for shard in shards}
        if found:
            self._journal.complaints.append(f"server {server} showed {found} to {variables}")
        self._journal.reads.append(
            ReadRecord(self.number, server, mode, least, attempt.sent, attempt.ended, shown, stamp)
        )
        self._learn(shown, stamp)
        return True

    async def write(self) -> None:
        """One shard. Some writes are asked for again and again, of any server, until they are answered, others once."""
        # Mostly what it has just looked at, or most writes would only be refused.
        shard = self._last if self._randomness.random() < 0.6 else self._randomness.choice(self._shards)
        record = self._draft(shard)
        variables = {"input": self._input(record)}
        for _ in range(self._randomness.choice((1, 1, 6))):
            reply = await self._connection.ask(self._server(), _WRITES[record.kind], variables, self._timeout())
            record.attempts.append(reply.attempt)
            if reply.attempt.ending is None:
                self._take(record, reply.data)
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        self._journal.writes.append(record)

    def _draft(self, shard: str) -> WriteRecord:
        self._writes += 1
        known = self._known.get(shard)
        # Now and then as if it knew nothing, so that creations meet, too.
        if known is None or self._randomness.random() < 0.03:
            kind, expected = WriteKind.CREATE, None
        else:
            kind = WriteKind.DELETE if self._randomness.random() < 0.15 else WriteKind.UPDATE
            expected = known.version
        stays = known is not None and kind is WriteKind.UPDATE and self._randomness.random() < 0.25
        owner = known.owner if known and stays else f"c{self.number}-{self._writes}"
        return WriteRecord(
            self.number,
            shard,
            kind,
            expected,
            None if kind is WriteKind.DELETE else owner,
            f"client {self.number} write {self._writes}",
        )

    def _input(self, record: WriteRecord) -> Mapping[str, Any]:
        change = {"actor": f"client-{self.number}", "reason": "linearizability", "idempotencyKey": record.key}
        shard: dict[str, Any] = {"namespace": NAMESPACE, "shardId": record.shard}
        if record.owner is not None:
            shard["ownerNodeId"] = record.owner
        if record.expected is not None:
            shard["expectedVersion"] = str(record.expected)
        return {**shard, "change": change} if record.kind is WriteKind.UPDATE else {"shards": [shard], "change": change}

    def _take(self, record: WriteRecord, data: Mapping[str, Any]) -> None:
        match data["__typename"]:
            case "ShardsChanged":
                told, revision = _told(data["shards"][0]), int(data["revision"])
                record.answer = Acknowledged(int(data["change"]["id"]), revision, told, data["replayed"])
                self._learn({record.shard: None if record.kind is WriteKind.DELETE else told}, revision)
            case "VersionConflict":
                (conflict,) = data["conflicts"]
                current = conflict["current"] and _told(conflict["current"])
                if int(conflict["actualVersion"]) != (current.seen.version if current else 0):
                    self._journal.complaints.append(f"{record}: {conflict}")
                record.answer = Refused(current)
                last = conflict["lastChange"]
                self._learn({record.shard: current}, int(last["lastRevision"]) if last else None)
            case "NotFound":
                record.answer = Refused(None)
                self._learn({record.shard: None}, None)
            case other:
                self._journal.complaints.append(f"{record}: {other}, {data['message']}")

    def _learn(self, shown: Mapping[str, Told | None], revision: int | None) -> None:
        self._last = self._randomness.choice(list(shown))
        self._known |= {shard: None if told is None else told.seen for shard, told in shown.items()}
        self._newest = max(self._newest, revision or 0, *(told.revision for told in shown.values() if told), 0)
        self._journal.newest = max(self._journal.newest, self._newest)

    def _server(self) -> int:
        return self._randomness.choice(self._servers)

    def _timeout(self) -> float:
        """Seconds. Some hang up while the server is still at it."""
        return self._randomness.uniform(0.002, 0.08) if self._randomness.random() < 0.06 else _TIMEOUT_SECONDS


async def prepare(addresses: Sequence[str], journal: Journal) -> None:
    """The namespace; the shards are created by those who want them."""
    connection = Connection(addresses, journal)
    change = {"actor": "linearizability", "reason": "a run begins"}
    given = {"name": NAMESPACE, "strategy": "rendezvous", "policy": {"moveBudgetPercent": 100}, "change": change}
    try:
        reply = await connection.ask(0, _CONFIGURE, {"input": given}, 30.0)
    finally:
        await connection.aclose()
    assert reply.data["__typename"] == "NamespaceConfigured", reply


def _told(shard: Mapping[str, Any]) -> Told:
    seen = Seen(int(shard["version"]), shard["ownerNodeId"], int(shard["ownerEpoch"]))
    return Told(seen, int(shard["revision"]))
