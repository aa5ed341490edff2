"""History with a million rows: pages far down, a namespace without any, and every operation that reads history.

The rows are those of `time_travel`, written by SQL; the server is a new one, so that its statements are, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from graph.operations import operation
from persistence.codec import cursors
from persistence.commands.command import ChangeRequest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.benchmarks import servers
from tests.benchmarks.load import each_once, post
from tests.benchmarks.readiness import settled
from tests.benchmarks.report import say
from tests.benchmarks.sampling import Case, interleaved
from tests.benchmarks.servers import Server
from tests.benchmarks.workloads import OUR_ROW

PAGE: Final = 50
EMPTY: Final = "empty"
FIRST: Final = "a namespace, the newest"
DEEP: Final = "a namespace, below the newest {rows:,}"
FIRST_OF_ALL: Final = "all namespaces, the newest"
DEEP_OF_ALL: Final = "all namespaces, below the newest {rows:,}"
WITHOUT: Final = "a namespace without rows"
OPERATIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "ShardHistory": {"filter": {"namespace": "$n"}, "first": PAGE},
    "ShardWithHistory": {"namespace": "$n", "shardId": "shard-0001", "rows": PAGE},
    "ListChanges": {"filter": {"namespace": "$n"}, "first": PAGE},
}
"""Those that read rows of history or the changes that made them; `$n` stands for each namespace in turn."""

_DOCUMENT: Final = (
    "query($n:String,$after:String){shardHistory(filter:{namespace:$n},orderBy:REVISION_DESC,first:%d,after:$after)"
    "{nodes{%s} pageInfo{hasNextPage endCursor}}}"
)
_CHANGE: Final = ChangeRequest("bench", "measure", "CHG-1")


async def measure(url: str, postmaster: int, *, names: Sequence[str], depth: int, seconds: float, rounds: int) -> Any:
    """The figures by case. `names` are namespaces that have rows among the newest and below `depth` of them."""
    async with open_store(url) as store:
        await CommandExecutor(store.unit_of_work).execute(ConfigureNamespace(EMPTY, "rendezvous", {}, 0, _CHANGE))
        head = (await store.stream.head()).revision
    deep = cursors.HISTORY.write(head - depth)
    pages: dict[str, Sequence[Mapping[str, Any]]] = {
        FIRST: [{"n": name} for name in names],
        DEEP.format(rows=depth): [{"n": name, "after": deep} for name in names],
        FIRST_OF_ALL: [{}],
        DEEP_OF_ALL.format(rows=depth): [{"after": deep}],
        WITHOUT: [{"n": EMPTY}],
    }
    # Without budgets: all of the load comes from one address, which has what dozens of clients read in that time.
    async with servers.omnirelay(url, caller_records_per_second=0) as server:
        cases = [_case(name, server, _DOCUMENT % (PAGE, OUR_ROW), given) for name, given in pages.items()]
        for name, given in OPERATIONS.items():
            variables = [json.loads(json.dumps(given).replace("$n", each)) for each in names]
            cases.append(_case(name, server, operation(name), variables))
        await _check(cases)
        await settled(server)
        say(f"  pages of {PAGE}: {rounds} rounds of {seconds:g} s for each of {len(cases)} cases")
        figures = await interleaved(cases, postmaster, seconds=seconds, rounds=rounds)
    return {"depth": depth, "page": PAGE, "cases": figures}


def _case(name: str, server: Server, document: str, variables: Sequence[Mapping[str, Any]]) -> Case:
    bodies = [json.dumps({"query": document, "variables": given}).encode() for given in variables]
    return Case(name, server, [post("/graphql", body) for body in bodies])


async def _check(cases: Sequence[Case]) -> None:
    """Raises RuntimeError where an answer has not as many rows as it should."""
    for case in cases:
        (body,) = await each_once(case.server.port, case.requests[:1], connections=1)
        connection = list(json.loads(body)["data"].values())[-1]
        if bool(connection["nodes"]) == (case.name == WITHOUT):
            raise RuntimeError(f"{case.name}: {len(connection['nodes'])} rows")
