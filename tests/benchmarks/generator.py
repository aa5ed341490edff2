"""The load, in a process of its own: wrk where it is installed, else `python -m tests.benchmarks.generator`."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from tests.benchmarks.load import PERCENTS, closed_loop
from tests.benchmarks.scheduled import scheduled

CONNECTIONS: Final = 16
WRK: Final = shutil.which("wrk")
NAME: Final = "wrk" if WRK else "tests/benchmarks/load.py, for want of wrk"

_SCRIPT: Final = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What was answered. `latencies` are milliseconds by percentile, in rising order of both; `octets` with heads."""

    requests: int
    seconds: float
    octets: int
    latencies: dict[float, float]

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


async def flat_out(
    port: int, requests: Sequence[bytes], *, seconds: float, connections: int = CONNECTIONS, expected: int = 0
) -> Load:
    """As many as are answered on keep-alive connections, each sending the next of `requests` when it was answered.

    Raises RuntimeError when one was not answered with status 200, or when the answers are on the whole much smaller
    than `expected` bytes, as answers of errors are.
    """
    if WRK is None:
        return _read(
            await _own(port, requests, ["--connections", str(connections), "--seconds", str(seconds)]), expected
        )
    with _file_of(requests) as file:
        # wrk takes whole seconds.
        command = [WRK, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(_SCRIPT)]
        output = await _output([*command, f"http://127.0.0.1:{port}/graphql", "--", file.name])
    return _read(json.loads(output.splitlines()[-1]), expected)


async def at_rate(
    port: int, requests: Sequence[bytes], *, rate: float, seconds: float, connections: int = 4 * CONNECTIONS
) -> Load:
    """So many a second, each sent when it is due, as soon as a connection is free. Latencies count from when it was
    due, so a server that stalls is charged for every request that had to wait."""
    options = ["--connections", str(connections), "--seconds", str(seconds), "--rate", str(rate)]
    return _read(await _own(port, requests, options), 0)


def _read(answer: dict[str, Any], expected: int) -> Load:
    load = Load(
        answer["requests"],
        answer["microseconds"] / 1e6,
        answer["octets"],
        {percent: microseconds / 1e3 for percent, microseconds in answer["latencies"]},
    )
    if answer["failed"]:
        raise RuntimeError(f"{answer['failed']} of {load.requests} requests failed")
    if load.octets < 0.8 * expected * load.requests:
        raise RuntimeError(f"answers of {load.octets / load.requests:,.0f} bytes where {expected:,} were expected")
    return load


async def _own(port: int, requests: Sequence[bytes], options: Sequence[str]) -> dict[str, Any]:
    with _file_of(requests) as file:
        module = [sys.executable, "-m", "tests.benchmarks.generator", file.name, "--port", str(port)]
        answer: dict[str, Any] = json.loads(await _output([*module, *options]))
    return answer


async def _output(command: Sequence[str]) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed: {errors.decode()[-2_000:]}")
    return output.decode()


def _file_of(requests: Sequence[bytes]) -> Any:
    """As wrk.lua reads it. Removed when it is closed."""
    file = tempfile.NamedTemporaryFile(prefix="omnirelay-requests-")  # noqa: SIM115 - closed by the caller's `with`
    for request in requests:
        file.write(b"%d\n%b" % (len(request), request))
    file.flush()
    return file


def _requests_in(content: bytes) -> Sequence[bytes]:
    requests, at = [], 0
    while at < len(content):
        begin = content.index(b"\n", at) + 1
        end = begin + int(content[at:begin])
        requests.append(content[begin:end])
        at = end
    return requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requests", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rate", type=float, help="requests a second; left out: as many as are answered")
    options = parser.parse_args()
    requests = _requests_in(options.requests.read_bytes())
    given = {"connections": options.connections, "seconds": options.seconds}
    if options.rate is None:
        step = 104_729  # connections are not to ask for the same at the same time
        work = closed_loop(options.port, lambda c, n: requests[(c * step + n) % len(requests)], **given, warming=0.0)
    else:
        work = scheduled(options.port, requests, rate=options.rate, **given)
    figures = uvloop.run(work)
    answer = {
        "requests": figures.count,
        "microseconds": round(1e6 * figures.count / figures.rate),
        "octets": figures.octets,
        "failed": 0,
        "latencies": [(percent, round(1e3 * figures.at(percent))) for percent in PERCENTS],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
