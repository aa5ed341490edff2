"""Reads side by side: ours, uvicorn bare, Mercurius with its JIT and PostGraphile, on the same rows of one PostgreSQL.

Rounds are interleaved: in each, every contender is loaded in turn, so that what else goes on meets all of them. Figures
are medians of the rounds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from statistics import median
from typing import Any, Final

from tests.benchmarks import generator, peer_servers, processes
from tests.benchmarks.load import each_once
from tests.benchmarks.readiness import settled
from tests.benchmarks.report import say
from tests.benchmarks.sampling import Case, Sample, sampled, summary
from tests.benchmarks.servers import Server, bare_uvicorn
from tests.benchmarks.workloads import (
    FIELDS,
    LIST,
    MERCURIUS,
    MERCURIUS_KEPT,
    OURS,
    PERSISTED,
    POSTGRAPHILE,
    TRUSTED,
    WORKLOADS,
    Identity,
    Query,
    Workload,
)

OUR_NAME: Final = "omnirelay"
PERSISTED_NAME: Final = "omnirelay, persisted query"
TRUSTED_NAME: Final = "omnirelay, documentId"
"""Of the document in frontend-queries that asks for the same: with every field there is."""
BARE: Final = "bare uvicorn"
MERCURIUS_NAME: Final = "Mercurius JIT, SQL"
KEPT_NAME: Final = "Mercurius JIT, from memory"
POSTGRAPHILE_NAME: Final = "PostGraphile 5"

_NEW_A_WORKLOAD: Final = 2
"""Lists that are new, after each workload of each round: a processor may be slow for a second."""


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    server: Server
    query: Query


async def measure(
    url: str, postmaster: int, server: Server, *, seconds: float, rounds: int, checked: int
) -> dict[str, Any]:
    """The figures by workload and contender, and of 100 shards none of which was asked for before.

    The answers to the first `checked` requests of each are compared before anything is timed.
    """
    say(f"Reads: {rounds} rounds of {seconds:g} s, loaded by {generator.NAME} on {generator.CONNECTIONS} connections")
    async with contenders(url, server, checked) as found:
        samples: dict[str, dict[str, list[Sample]]] = {}
        new: list[float] = []
        for number in range(rounds):
            for workload in WORKLOADS:
                for each in found[workload.name]:
                    case = Case(each.name, each.server, [each.query.request(given) for given in workload.variables])
                    sample = await sampled(case, postmaster, seconds)
                    samples.setdefault(workload.name, {}).setdefault(each.name, []).append(sample)
                new += [await new_records(server) for _ in range(_NEW_A_WORKLOAD)]
            say(f"  round {number + 1} of {rounds}: {_line(samples)}")
    figures = {
        workload: {name: summary(taken) for name, taken in contended.items()} for workload, contended in samples.items()
    }
    return {
        "seconds": seconds,
        "rounds": rounds,
        "checked": checked,
        "generator": generator.NAME,
        "connections": generator.CONNECTIONS,
        "workloads": figures,
        "new": {"server": median(new), "rounds": len(new)},
    }


@asynccontextmanager
async def contenders(url: str, server: Server, checked: int) -> AsyncIterator[Mapping[str, Sequence[Contender]]]:
    """Those there are for each workload, their servers running, their answers checked, and all of it asked for once."""
    async with AsyncExitStack() as stack:
        node = await peer_servers.available()
        if node is not None:
            await peer_servers.copy_rows(url)
            mercurius = await stack.enter_async_context(peer_servers.serving("mercurius", node, url))
            postgraphile = await stack.enter_async_context(peer_servers.serving("postgraphile", node, url))
        named_by = [
            (name, queries)
            for name, queries in ((PERSISTED_NAME, PERSISTED), (TRUSTED_NAME, TRUSTED))
            if await _knows(server, name, queries)
        ]
        found = {}
        for workload in WORKLOADS:
            name = workload.name
            named = [Contender(OUR_NAME, server, OURS[name])]
            named += [Contender(each, server, queries[name]) for each, queries in named_by]
            (body,) = await each_once(server.port, [OURS[name].request(workload.variables[0])], connections=1)
            bare = await stack.enter_async_context(bare_uvicorn(body))
            if node is not None:
                if name in MERCURIUS:
                    named.append(Contender(KEPT_NAME, mercurius, MERCURIUS_KEPT[name]))
                    named.append(Contender(MERCURIUS_NAME, mercurius, MERCURIUS[name]))
                named.append(Contender(POSTGRAPHILE_NAME, postgraphile, POSTGRAPHILE[name]))
            await check(named, workload, checked)
            found[name] = [named[0], Contender(BARE, bare, OURS[name]), *named[1:]]
        await settled(server)
        yield found


async def _knows(server: Server, name: str, queries: Mapping[str, Query]) -> bool:
    """Whether the server answers these documents when they are named only, after it was sent each with its name."""
    for workload in WORKLOADS:
        query, variables = queries[workload.name], workload.variables[0]
        try:
            await each_once(server.port, [query.request(variables, with_text=True)], connections=1)
            (body,) = await each_once(server.port, [query.request(variables)], connections=1)
            query.identities(body)
        except RuntimeError:
            say(f"  without {name}: the server does not know documents by their hashes")
            return False
    return True


async def check(contenders: Sequence[Contender], workload: Workload, count: int) -> None:
    """The first requests of the workload are sent once to each, which warms them up. Raises RuntimeError where the rows
    of an answer are not those of the first contender, or not as many as they should be."""
    sent = workload.variables[:count]
    wanted: Sequence[Sequence[Identity]] = ()
    for each in contenders:
        made = [each.query.request(variables) for variables in sent]
        answers = await each_once(each.server.port, made, connections=generator.CONNECTIONS)
        found = [each.query.identities(body) for body in answers]
        wanted = wanted or found
        for variables, ours, theirs in zip(sent, wanted, found, strict=True):
            if theirs != ours or len(theirs) != workload.rows:
                raise RuntimeError(f"{each.name} answers {workload.title} of {variables} otherwise: {theirs[:3]}")


def _line(samples: Mapping[str, Mapping[str, Sequence[Sample]]]) -> str:
    return ", ".join(f"{workload} {taken[OUR_NAME][-1].server:.3f} ms" for workload, taken in samples.items())


async def new_records(server: Server) -> float:
    """Milliseconds of processor time for a list of 100 shards, edges, cursors and pageInfo, of which none was asked for
    in this selection before, though the operation was: each time it is a selection of its own, under other names."""
    number = next(_selections)
    aliased = " ".join(f"f{number}_{place}:{name}" for place, name in enumerate(FIELDS.split()))
    query = Query(OURS["list"].text.replace(FIELDS, aliased), OURS["list"].rows)
    requests = [query.request(variables) for variables in LIST.variables]
    # Known from its third time on, at the latest; one namespace is given up for that.
    for _ in range(3):
        await each_once(server.port, requests[:1], connections=1)
    before = processes.cpu_nanoseconds(server.process)
    await each_once(server.port, requests[1:], connections=generator.CONNECTIONS)
    return (processes.cpu_nanoseconds(server.process) - before) / 1e6 / len(requests[1:])


_selections: Final = count()
