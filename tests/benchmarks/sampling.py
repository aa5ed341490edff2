"""A round of load on a server: what was answered, how late, and what it cost the server and PostgreSQL.

Rounds of what is to be compared are interleaved, so that whatever else goes on meets all of it; a summary has medians.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.benchmarks import generator, processes
from tests.benchmarks.generator import Load
from tests.benchmarks.load import each_once
from tests.benchmarks.report import say
from tests.benchmarks.servers import Server


@dataclass(frozen=True, slots=True)
class Sample:
    """`server` and `postgres` are milliseconds of processor time a request."""

    load: Load
    server: float
    postgres: float


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent to a server, in turn."""

    name: str
    server: Server
    requests: Sequence[bytes]


async def sampled(case: Case, postmaster: int, seconds: float, connections: int = generator.CONNECTIONS) -> Sample:
    """One round. Raises RuntimeError when answers are errors, or much smaller than the first one."""
    (body,) = await each_once(case.server.port, case.requests[:1], connections=1)
    if b'"errors"' in body:
        raise RuntimeError(f"{case.name}: {body[:1_000].decode(errors='replace')}")
    before = case.server.usage, processes.usage(postmaster)
    load = await generator.flat_out(
        case.server.port, case.requests, seconds=seconds, connections=connections, expected=len(body)
    )
    after = case.server.usage, processes.usage(postmaster)
    spent = [1e3 * processes.seconds_between(*each) / load.requests for each in zip(before, after, strict=True)]
    return Sample(load, *spent)


async def interleaved(
    cases: Sequence[Case],
    postmaster: int,
    *,
    seconds: float,
    rounds: int,
    connections: int = generator.CONNECTIONS,
) -> dict[str, dict[str, Any]]:
    """The summary of each case. Each is sent its first requests once before, which warms up plans and statements."""
    samples: dict[str, list[Sample]] = {case.name: [] for case in cases}
    for case in cases:
        await each_once(case.server.port, [*case.requests[:200]] * 2, connections=connections)
    for number in range(rounds):
        for case in cases:
            samples[case.name].append(await sampled(case, postmaster, seconds, connections))
        say(f"  round {number + 1} of {rounds}")
    return {name: summary(taken) for name, taken in samples.items()}


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Medians. Latencies are milliseconds by percentile."""
    loads = [sample.load for sample in samples]
    return {
        "rate": median(load.rate for load in loads),
        "server": median(sample.server for sample in samples),
        "postgres": median(sample.postgres for sample in samples),
        "latencies": [[percent, median(load.latencies[percent] for load in loads)] for percent in loads[0].latencies],
    }


def at(figures: Mapping[str, Any], percent: float) -> float:
    """A percentile of a summary's latencies."""
    return next(float(value) for at_percent, value in figures["latencies"] if at_percent == percent)
