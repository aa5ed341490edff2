"""What clients that stop reading cost the server: its memory before, meanwhile and after; then whether they get it all.

One server, one writer at a steady rate, and clients that subscribe to everything and then do not read from their
sockets: what is under way fills their receive buffers, of 64 KiB, and goes no further.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import uvloop
from rich.console import Console
from rich.table import Table

from tests.chaos.database import MeshDatabase
from tests.chaos.harness import running_postgres
from tests.chaos.history import read_history
from tests.chaos.interrupts import stop_like_ctrl_c
from tests.chaos.progress import Progress
from tests.chaos.records import Ledger
from tests.chaos.servers import Server, running_servers
from tests.chaos.subscribers import Subscriber
from tests.chaos.transports import over_websocket
from tests.chaos.verdict import Finding, judge
from tests.chaos.watches import Watch
from tests.chaos.writers import Writer, prepare

LARGEST: Final = 20
WARM_UP_DIFFS: Final = 5_000
"""More than the servers' ring holds: what fills it is not to be counted."""

_TIMEOUT_SECONDS: Final = 60.0
_FOR_EVER: Final = 10**9
_KIB: Final = 1_024


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of the server in KiB, of its main process."""

    before: int
    peak: int
    after: int


class Stall:
    """`reading` leaves the clients to read: what the server then takes is not due to the stall."""

    def __init__(self, server: Server, clients: int, rate: float, *, reading: bool) -> None:
        address = f"127.0.0.1:{server.clients.target}"  # past the proxy, which would hold some of it for the server
        self.progress = Progress()
        self.ledger = Ledger()
        self.subscribers = [
            Subscriber(number, 0, Watch(), over_websocket, _FOR_EVER, [address], self.progress)
            for number in range(clients)
        ]
        self.writer = Writer(0, 0, LARGEST, [address], self.progress, self.ledger)
        self._server = server
        self._address = address
        self._rate = rate
        self._reading = reading

    async def measure(self, seconds: float) -> Memory:
        """Returns when all subscribers read again."""
        await prepare([self._address])
        while self.progress.diffs < WARM_UP_DIFFS:
            await self.writer.change()
        following = [asyncio.create_task(subscriber.follow()) for subscriber in self.subscribers]
        try:
            while self.progress.reconnects < len(self.subscribers) and not any(task.done() for task in following):
                await self.writer.change()
            memory = await self._stall(seconds)
            await self._catch_up()
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            await self.writer.aclose()
        return memory

    async def _stall(self, seconds: float) -> Memory:
        if not self._reading:
            for subscriber in self.subscribers:
                subscriber.reading.clear()
        before = peak = self._resident()
        begun, written = monotonic(), self.progress.diffs
        while (elapsed := monotonic() - begun) < seconds:
            if self.progress.diffs - written < self._rate * elapsed:
                await self.writer.change()
            else:
                await asyncio.sleep(0.05)
            peak = max(peak, self._resident())
        after = self._resident()
        for subscriber in self.subscribers:
            subscriber.reading.set()
        return Memory(before, peak, after)

    async def _catch_up(self) -> None:
        """Until all are where the writer is, or one has not moved for a minute."""
        begun = monotonic()
        while behind := [each for each in self.subscribers if each.revision < self.progress.revision]:
            moved_at = max([begun, *(each.moved_at for each in behind)])
            if monotonic() - moved_at > _TIMEOUT_SECONDS:
                return
            await asyncio.sleep(0.1)

    def _resident(self) -> int:
        for line in Path(f"/proc/{self._server.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError("the kernel does not tell the server's memory")


async def perform(chosen: argparse.Namespace, folder: Path) -> tuple[Stall, Memory, float, Sequence[Finding]]:
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(running_postgres(folder / "postgresql"))
        database = MeshDatabase(postgres, "mesh")
        await database.create()
        (server,) = await stack.enter_async_context(running_servers(1, database, folder))
        stall = Stall(server, chosen.clients, chosen.rate, reading=chosen.reading)
        begun = monotonic()
        memory = await stall.measure(chosen.seconds)
        seconds = monotonic() - begun - chosen.seconds
        records = [subscriber.record for subscriber in stall.subscribers]
        history = await read_history(postgres.url(database.name), [each for one in records for each in one.listings])
        return stall, memory, seconds, judge(records, stall.ledger, [history])


def main() -> int:
    stop_like_ctrl_c()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.stalled", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long nobody reads (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=50, help="(default: %(default)s)")
    parser.add_argument("--rate", type=float, default=50, help="diffs a second meanwhile (default: %(default)s)")
    parser.add_argument("--reading", action="store_true", help="for comparison: the clients read after all")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="omnirelay-stalled-") as folder, suppress(KeyboardInterrupt):
        stall, memory, seconds, findings = uvloop.run(perform(chosen, Path(folder)))
        table = Table(show_header=False, title=_title(chosen))
        table.add_column()
        table.add_column(justify="right")
        rows = {
            "diffs meanwhile and before": f"{stall.progress.diffs:,}",
            "server before": f"{memory.before / _KIB:,.1f} MiB",
            "server at its peak": f"{memory.peak / _KIB:,.1f} MiB",
            "server after": f"{memory.after / _KIB:,.1f} MiB",
            "a client, at the peak": f"{(memory.peak - memory.before) / chosen.clients:,.0f} KiB",
            "diffs delivered in the end": f"{stall.progress.deliveries:,}",
            "seconds for all but the stall": f"{seconds:,.0f}",
            "connections for each client": f"{stall.progress.reconnects / chosen.clients:.2f}",
        }
        for what, figure in rows.items():
            table.add_row(what, figure)
        Console(width=None if sys.stdout.isatty() else 120).print(table)
        for finding in findings[:20]:
            Console(stderr=True).print(str(finding), style="red", highlight=False)
        return 1 if findings else 0
    return 130


def _title(chosen: argparse.Namespace) -> str:
    do = "read" if chosen.reading else "do not read"
    return f"{chosen.clients} clients that {do} for {chosen.seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
