"""Lookups of `omnirelay serve --workers 2` beside one worker, under load from a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any, Final

from tests.benchmarks import generator, servers
from tests.benchmarks.readiness import settled
from tests.benchmarks.report import say
from tests.benchmarks.sampling import Case, interleaved
from tests.benchmarks.servers import PROGRAM
from tests.benchmarks.workloads import LOOKUP, OURS

WORKERS: Final = (1, 2)
CONNECTIONS: Final = 4 * generator.CONNECTIONS
"""Enough that each worker has its share of them."""


async def measure(url: str, postmaster: int, *, seconds: float, rounds: int) -> dict[str, Any] | None:
    """The figures by number of workers. None, after a line that says so, while `serve` has no such option."""
    if not await _known():
        say("  left out: omnirelay serve has no option --workers")
        return None
    requests = [OURS["lookup"].request(variables) for variables in LOOKUP.variables]
    one, two = (servers.omnirelay(url, "--workers", str(count)) for count in WORKERS)
    async with one as single, two as double:
        cases = [Case(str(count), server, requests) for count, server in zip(WORKERS, (single, double), strict=True)]
        await settled(single, double)
        say(f"  {rounds} rounds of {seconds:g} s for each of {WORKERS} workers, {CONNECTIONS} connections")
        figures = await interleaved(cases, postmaster, seconds=seconds, rounds=rounds, connections=CONNECTIONS)
    return {"connections": CONNECTIONS, "lookups": figures}


async def _known() -> bool:
    command = [sys.executable, "-c", PROGRAM, "serve", "--help"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    return b"--workers" in output
