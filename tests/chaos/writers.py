"""Writers: each changes shards of its own by the hundred and a few that all change, and retries until answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from persistence.codec import cursors
from tests.chaos.progress import Progress
from tests.chaos.records import Acknowledged, Ledger
from tests.chaos.requests import Asker, WrongAnswerError
from tests.chaos.watches import CONTESTED, NAMESPACES, OWNERS, STATUSES

CONTESTED_SHARDS: Final = 16
_ANSWER: Final = """
  __typename
  ... on Refusal { message }
  ... on ShardsChanged { change { id } replayed revision cursor shards { shardId version } }"""
_CREATE: Final = f"mutation ($input: CreateShardsInput!) {{ createShards(input: $input) {{ {_ANSWER} }} }}"
_UPDATE: Final = f"mutation ($input: UpdateShardsInput!) {{ updateShards(input: $input) {{ {_ANSWER} }} }}"
_DELETE: Final = f"mutation ($input: DeleteShardsInput!) {{ deleteShards(input: $input) {{ {_ANSWER} }} }}"
_CONFIGURE: Final = """
mutation ($input: ConfigureNamespaceInput!) {
  configureNamespace(input: $input) { __typename ... on Refusal { message } }
}"""
_VERSIONS: Final = """
query ($filter: ShardFilter, $after: String) {
  shards(filter: $filter, first: 500, after: $after) {
    nodes { shardId version } pageInfo { hasNextPage endCursor }
  }
}"""
# How many shards a change has, as a share of the largest: most are small, most diffs come in large ones.
_SIZES: Final = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.02), (0.02, 0.1), (0.1, 0.5), (0.5, 1.0))


async def prepare(addresses: Sequence[str]) -> None:
    """The namespaces, and the shards that all writers change."""
    asker = Asker(addresses, random.Random("prepare"))
    try:
        for name in (*NAMESPACES, CONTESTED):
            change = {"actor": "chaos", "reason": "a run begins", "idempotencyKey": f"configure {name}"}
            policy = {"moveBudgetPercent": 100}
            given = {"name": name, "strategy": "rendezvous", "policy": policy, "change": change}
            await asker.ask(_CONFIGURE, input=given)
        change = {"actor": "chaos", "reason": "a run begins", "idempotencyKey": "contested"}
        shards = [
            {"namespace": CONTESTED, "shardId": f"c-{number:03}", "ownerNodeId": OWNERS[0]}
            for number in range(CONTESTED_SHARDS)
        ]
        await asker.ask(_CREATE, input={"shards": shards, "change": change})
    finally:
        await asker.aclose()


class Writer:
    """Has its shards' versions from its answers; whenever it is refused it reads them."""

    def __init__(
        self, number: int, seed: int, largest: int, addresses: Sequence[str], progress: Progress, ledger: Ledger
    ) -> None:
        self._randomness = random.Random(f"writer {seed} {number}")
        self._asker = Asker(addresses, random.Random(f"writer's servers {seed} {number}"))
        self._actor = f"writer-{number}"
        self._namespace = NAMESPACES[number % len(NAMESPACES)]
        self._ids = [f"w{number}-{shard:03}" for shard in range(largest + largest // 5 + 4)]
        self._largest = largest
        self._versions: dict[str, int] = {}
        self._contested: dict[str, int] = {}
        self._progress = progress
        self._ledger = ledger
        self._requests = 0

    async def work(self, stop: asyncio.Event) -> None:
        """Until stopped, and until the last request has been answered."""
        try:
            while not stop.is_set():
                await self.change()
        except WrongAnswerError as error:
            self._ledger.complaints.append(f"{self._actor} was answered {error}")
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        self._ledger.repeated += self._asker.repeated
        await self._asker.aclose()

    async def change(self) -> None:
        """One request, or two: creations, updates or deletions, of one shard or of many."""
        low, high = self._randomness.choice(_SIZES)
        size = max(1, round(self._largest * self._randomness.uniform(low, high)))
        dice = self._randomness.random()
        if dice < 0.05:
            await self._contest()
            return
        absent = [shard_id for shard_id in self._ids if shard_id not in self._versions]
        if len(absent) > len(self._ids) // 4 or (absent and dice < 0.1):
            chosen = absent[: max(size, len(absent) // 2)][: self._largest]
            document = _CREATE
            shards: list[dict[str, Any]] = [{"shardId": shard_id, **self._content()} for shard_id in chosen]
        else:
            chosen = self._randomness.sample(sorted(self._versions), min(size, len(self._versions)))
            at: list[dict[str, Any]] = [
                {"shardId": shard_id, "expectedVersion": self._versions[shard_id]} for shard_id in chosen
            ]
            gone = dice > 0.93
            document = _DELETE if gone else _UPDATE
            shards = at if gone else [{**shard, **self._content()} for shard in at]
        answer = await self._request(document, [{"namespace": self._namespace, **shard} for shard in shards])
        if answer is None:
            self._versions = await self._look({"namespace": self._namespace, "search": self._ids[0][:-3]})
        elif document is _DELETE:
            for shard_id in chosen:
                del self._versions[shard_id]
        else:
            self._versions |= answer

    async def _contest(self) -> None:
        """One shard that others change too; the second writer is refused, and reads it."""
        if not self._contested:
            self._contested = await self._look({"namespace": CONTESTED})
        shard_id = self._randomness.choice(sorted(self._contested))
        shard = {"namespace": CONTESTED, "shardId": shard_id, "expectedVersion": self._contested[shard_id]}
        answer = await self._request(_UPDATE, [{**shard, **self._content()}])
        self._contested = {} if answer is None else self._contested | answer

    def _content(self) -> dict[str, str]:
        """Any owner and any status; now and then those it has, which is a change all the same."""
        return {"ownerNodeId": self._randomness.choice(OWNERS), "status": self._randomness.choice(STATUSES)}

    async def _request(self, document: str, shards: Sequence[Mapping[str, Any]]) -> dict[str, int] | None:
        """The versions that the change led to; null if what was expected is not so."""
        self._requests += 1
        key = f"{self._actor} request {self._requests}"
        change = {"actor": self._actor, "reason": "chaos", "idempotencyKey": key}
        answer = await self._asker.ask(document, input={"shards": shards, "change": change})
        if answer["__typename"] in {"VersionConflict", "NotFound"}:
            self._ledger.conflicts += 1
            return None
        if answer["__typename"] != "ShardsChanged":
            raise WrongAnswerError(f"{answer['__typename']}: {answer['message']}")
        self._ledger.replayed += answer["replayed"]
        if answer["replayed"] and not self._asker.unknown:
            raise WrongAnswerError(f"{key} was carried out before, and each attempt was answered: nothing written")
        epoch = cursors.STREAM.read(answer["cursor"], "cursor").epoch
        revision, change_id = int(answer["revision"]), int(answer["change"]["id"])
        self._ledger.acknowledged.append(Acknowledged(epoch, self._actor, key, change_id, revision, len(shards)))
        self._progress.acknowledge(epoch, revision, len(shards))
        return {shard["shardId"]: int(shard["version"]) for shard in answer["shards"]}

    async def _look(self, where: Mapping[str, Any]) -> dict[str, int]:
        versions: dict[str, int] = {}
        after = None
        while True:
            page = await self._asker.ask(_VERSIONS, filter=where, after=after)
            versions |= {node["shardId"]: int(node["version"]) for node in page["nodes"]}
            if not page["pageInfo"]["hasNextPage"]:
                return versions
            after = page["pageInfo"]["endCursor"]
