"""Mesh nodes in a run: each keeps its table through `graph.client`, and must end with the one the server has."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from graph.client import MeshClient, State
from tests.chaos.history import Table
from tests.chaos.watches import NAMESPACES

_SILENCE_SECONDS: Final = 5.0


class NodeClient:
    """One node, which follows one namespace or all of them. `tables` counts how often it had to read them anew."""

    def __init__(self, number: int, addresses: Sequence[str]) -> None:
        self.name = f"node client {number}"
        self._namespaces = None if number % 2 == 0 else [NAMESPACES[number % len(NAMESPACES)]]
        self._late: str | None = None
        self._client = MeshClient(
            [f"http://{address}" for address in addresses],
            self._namespaces,
            verify_seconds=5.0,
            silence_seconds=_SILENCE_SECONDS,
            relist_seconds=0.5,
        )

    @property
    def tables(self) -> int:
        return self._client.counters.tables

    async def start(self) -> None:
        await asyncio.to_thread(self._client.__enter__)

    async def caught_up(self, revision: int, seconds: float) -> None:
        """Until it has seen this, or the time has run out, which `differences` then shows."""

        def there() -> bool:
            return self._client.state is State.LIVE and self._client.position >= revision

        if not await asyncio.to_thread(self._client.wait_until, there, seconds):
            at = f"{self._client.state} at revision {self._client.position}"
            self._late = f"{self.name} is {at} after {seconds:.0f} s; the head is {revision}"

    async def stop(self) -> None:
        """Its table stays as it is."""
        await asyncio.to_thread(self._client.close)

    def differences(self, table: Table) -> list[str]:
        """Where its table is not the server's: the first shard of each namespace. And whether it came too late."""
        wanted: Mapping[str, Mapping[str, str]] = {
            name: shards for name, shards in table.items() if self._namespaces is None or name in self._namespaces
        }
        found = [] if self._late is None else [self._late]
        for name, shards in wanted.items():
            held = {
                shard_id: f"{shard.version}/{shard.checksum}" for shard_id, shard in self._client.shards(name).items()
            }
            differing = sorted(held.items() ^ shards.items())
            if differing:
                shard_id = differing[0][0]
                found.append(
                    f"{self.name} has {name}/{shard_id} at {held.get(shard_id)}, the server at {shards.get(shard_id)}"
                )
        return found
