"""Those that write and read throughout, at a steady pace; subscribers are those of tests/chaos."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from time import monotonic
from typing import Final

from persistence.codec import cursors
from tests.chaos.progress import Progress
from tests.chaos.records import Ledger, Listing
from tests.chaos.requests import Asker, WrongAnswerError
from tests.chaos.watches import Watch, shard_fingerprint
from tests.chaos.writers import Writer
from tests.failover.verdict import Read

LARGEST: Final = 8
"""Shards in a change at most. All of them together fit on a page, so that every list is one answer."""

_WRITE_SECONDS: Final = 0.1
_READ_SECONDS: Final = 0.25
_TABLE: Final = """
{
  shards(first: 500) { cursor revision nodes { namespace shardId version checksum ownerNodeId status } }
}"""
_NEWEST: Final = "{ shardHistory(first: 1, orderBy: REVISION_DESC) { nodes { revision } } }"


class SteadyWriter:
    """At most ten requests a second. `acknowledged` is when each write was, on the clock of `time.monotonic`."""

    def __init__(self, number: int, seed: int, addresses: Sequence[str], progress: Progress) -> None:
        self.name = f"writer-{number}"
        self.ledger = Ledger()
        self.acknowledged: list[float] = []
        self._writer = Writer(number, seed, LARGEST, addresses, progress, self.ledger)

    async def work(self, stop: asyncio.Event) -> None:
        try:
            while not stop.is_set():
                begun, before = monotonic(), len(self.ledger.acknowledged)
                await self._writer.change()
                if len(self.ledger.acknowledged) > before:
                    self.acknowledged.append(monotonic())
                await asyncio.sleep(max(0.0, begun + _WRITE_SECONDS - monotonic()))
        except WrongAnswerError as error:
            self.ledger.complaints.append(f"{self.name} was answered {error}")
        finally:
            await self._writer.aclose()


class Reader:
    """Reads from one server the table, which it has in memory, and the newest revision, which it looks up."""

    def __init__(self, server: int, address: str, progress: Progress) -> None:
        self.reads: list[Read] = []
        self.listings: list[Listing] = []
        self.complaints: list[str] = []
        self._server = server
        self._progress = progress
        self._asker = Asker([address], random.Random(f"reader {server}"))

    async def work(self, stop: asyncio.Event) -> None:
        try:
            while not stop.is_set():
                await self._read_table()
                await self._read_newest()
                await asyncio.sleep(_READ_SECONDS)
        except WrongAnswerError as error:
            self.complaints.append(f"the reader of server {self._server} was answered {error}")
        finally:
            await self._asker.aclose()

    async def _read_table(self) -> None:
        begun = monotonic()
        page = await self._asker.ask(_TABLE)
        position = cursors.STREAM.read(page["cursor"], "cursor")
        nodes = page["nodes"]
        digest = sum(map(shard_fingerprint, nodes))
        self.listings.append(Listing(Watch(), position.epoch, position.revision, len(nodes), digest))
        self.reads.append(Read(self._server, "table", begun, monotonic(), position.revision, None))

    async def _read_newest(self) -> None:
        begun, known = monotonic(), self._progress.revision
        page = await self._asker.ask(_NEWEST)
        revision = int(page["nodes"][0]["revision"])
        self.reads.append(Read(self._server, "history", begun, monotonic(), revision, known))
