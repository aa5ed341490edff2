"""`make way`: how many files a request passes, and how often it moves from one file to another.

A step is a call of a function of the project in the request's task, each frame once, imports left out: `call_trace`.
Files are distinct; a move is a step in another file than the step before it. Requests are warm; a command of the CLI is
a process of its own and never is. Each case is traced until two traces in a row are alike.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TextIO, TypeAlias

import httpx2
from rich.console import Console
from rich.table import Table
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.benchmarks.call_trace import ROOT

# Names of asyncio tasks. A request's is uvicorn's; a socket's has the same name in another class.
REQUEST: Final = "RequestResponseCycle.run_asgi"
FEED: Final = "omnirelay-feed"
GROUP: Final = "omnirelay-subscriber-group"
CLI: Final = "MainThread"

CASES: Final = ("list", "list-two", "lookup", "update", "diff", "cli-list", "cli-node")
NAMESPACE: Final = "orders"
SHARD: Final = "orders-007"
OWNERS: Final = ("node-us-1", "node-eu-2")
NODE: Final = "node-eu-1"
CLI_ROWS: Final = 5
WARM_UP: Final = 4
ATTEMPTS: Final = 12
SETTLE_SECONDS: Final = 0.15
"""From the answer to the end of a trace: the feed and what follows it come to rest."""

FIELDS: Final = "namespace shardId ownerNodeId version status"
LIST: Final = (
    f"query($n:String!,$f:Int!){{shards(filter:{{namespace:$n}},first:$f){{edges{{cursor node{{{FIELDS}}}}} "
    "pageInfo{hasNextPage endCursor}}}"
)
LOOKUP: Final = f"query($n:String!,$k:String!){{shard(namespace:$n,shardId:$k){{{FIELDS}}}}}"
UPDATE: Final = (
    "mutation($i:UpdateShardInput!){updateShard(input:$i){__typename "
    "...on ShardsChanged{revision cursor shards{shardId version}} ...on Refusal{message}}}"
)
WATCH: Final = (
    "subscription($n:String!){shardDiffs(namespace:$n)"
    "{cursor diffs{revision namespace shardId version current{ownerNodeId version}}}}"
)

Step: TypeAlias = tuple[str, str]
"""File, qualified name."""
Way: TypeAlias = dict[str, list[Step]]
"""By owner: a task or a thread."""


@dataclass(frozen=True, slots=True)
class Bar:
    files: int
    moves: int


@dataclass(frozen=True, slots=True)
class Count:
    """The steps of one case, by the owners that count for it: files are distinct among all, moves are within each."""

    case: str
    way: Way
    elsewhere: Way
    """What other tasks and threads did meanwhile, timers among them. Not counted."""
    bar: Bar | None

    @property
    def files(self) -> int:
        return len({file for steps in self.way.values() for file, _ in steps})

    @property
    def moves(self) -> int:
        return sum(before[0] != after[0] for steps in self.way.values() for before, after in pairwise(steps))

    @property
    def is_over(self) -> bool:
        return self.bar is not None and (self.files > self.bar.files or self.moves > self.bar.moves)


@dataclass(frozen=True, slots=True)
class Case:
    """`trace` makes one request. `counted`: for each row of the table, the owners whose steps count, and the bar."""

    name: str
    trace: Callable[[], Way]
    counted: Sequence[tuple[str, Sequence[str], Bar | None]]

    def counts(self) -> list[Count]:
        """Raises RuntimeError if no two traces in a row are alike."""
        for _ in range(WARM_UP):
            self.trace()
        return [self._count(*row) for row in self.counted]

    def _count(self, title: str, owners: Sequence[str], bar: Bar | None) -> Count:
        last: Way | None = None
        for _ in range(ATTEMPTS):
            seen = self.trace()
            way = {owner: _steps_of(seen, owner) for owner in owners}
            if way == last:
                elsewhere = {name: steps for name, steps in seen.items() if not set(owners) & set(name.split())}
                return Count(title, way, elsewhere, bar)
            last = way
        raise RuntimeError(f"{title}: {ATTEMPTS} traces, no two in a row alike")


class Server:
    """`omnirelay serve` with the demo mesh on its own PostgreSQL, and one kept-alive connection to it."""

    def __init__(self, process: subprocess.Popen[str], traces: TextIO, url: str, http: httpx2.Client) -> None:
        self._process = process
        self._traces = traces
        self._http = http
        self.url = url

    def traced(self, request: Callable[[], object]) -> Way:
        self._process.send_signal(signal.SIGUSR1)
        assert self._traces.readline() == "begun\n"
        request()
        time.sleep(SETTLE_SECONDS)
        self._process.send_signal(signal.SIGUSR2)
        return _way(self._traces.readline())

    def query(self, document: str, /, **variables: Any) -> Any:
        """The value of its only field."""
        response = self._http.post(f"{self.url}/graphql", json={"query": document, "variables": variables})
        answer = response.json()
        if "errors" in answer:
            raise RuntimeError(response.text)
        (value,) = answer["data"].values()
        return value

    def update(self) -> Callable[[], None]:
        """A change of owner, ready to be sent."""
        shard = self.query(LOOKUP, n=NAMESPACE, k=SHARD)
        owner = OWNERS[shard["ownerNodeId"] == OWNERS[0]]
        change = {"actor": "way", "reason": "count", "changeTicket": "CHG-1"}
        key = {"namespace": NAMESPACE, "shardId": SHARD, "expectedVersion": shard["version"]}

        def send() -> None:
            outcome = self.query(UPDATE, i={**key, "ownerNodeId": owner, "change": change})
            if outcome["__typename"] != "ShardsChanged":
                raise RuntimeError(outcome)

        return send

    @contextmanager
    def subscriber(self) -> Iterator[Callable[[], None]]:
        """Waits for the next diff of the namespace."""
        address = self.url.replace("http", "ws", 1) + "/graphql"
        with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
            payload = {"query": WATCH, "variables": {"n": NAMESPACE}}
            for message in ({"type": "connection_init"}, {"id": "1", "type": "subscribe", "payload": payload}):
                socket.send(json.dumps(message))
                socket.recv()

            def diff() -> None:
                while not json.loads(socket.recv())["payload"]["data"]["shardDiffs"]["diffs"]:
                    pass

            yield diff


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    with (
        _started("serve", "--port", "0", "--data-dir", str(folder), "--demo", stderr=None) as (process, traces),
        # A request with an id of its own is not one whose head came before: those are answered without a task.
        httpx2.Client(timeout=60, headers={"x-request-id": "way"}) as http,
    ):
        assert process.stdout is not None
        address = re.search(r"http://\S+:\d+", process.stdout.readline())
        if address is None:
            raise RuntimeError("the server did not start; its messages are above")
        try:
            yield Server(process, traces, address[0], http)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def command(*arguments: str) -> Way:
    """The way of one whole run of the command line."""
    with _started(*arguments, stderr=subprocess.PIPE) as (process, traces):
        _, messages = process.communicate()
        if process.returncode:
            raise RuntimeError(messages)
        return _way(traces.readline())


@contextmanager
def _started(*arguments: str, stderr: int | None) -> Iterator[tuple[subprocess.Popen[str], TextIO]]:
    """The program under the hook, and what the hook writes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMNIRELAY_")}
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8") as traces:  # noqa: PTH123 - a descriptor
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-m", "tests.benchmarks.call_trace", str(writing), *arguments],
            cwd=ROOT,
            env={**environment, "OMNIRELAY_PLAN_PROCESSES": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            pass_fds=[writing],
        )
        os.close(writing)
        with process:
            yield process, traces


def _way(line: str) -> Way:
    if not line:
        raise RuntimeError("the process ended without a trace")
    trace = json.loads(line)
    way: Way = {}
    for owner, file, name in trace["steps"]:
        way.setdefault(f"{owner} {trace['owners'][owner]}", []).append((file, name))
    return way


def _steps_of(way: Way, owner: str) -> list[Step]:
    """Raises RuntimeError unless exactly one task or thread has `owner` as a word of its name."""
    found = [steps for name, steps in way.items() if owner in name.split()]
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} tasks or threads named {owner} among: {', '.join(way)}")
    return found[0]


def cases(server: Server) -> Iterator[Case]:
    def listing(rows: int) -> Way:
        return server.traced(lambda: server.query(LIST, n=NAMESPACE, f=rows))

    def lookup() -> Way:
        return server.traced(lambda: server.query(LOOKUP, n=NAMESPACE, k=SHARD))

    def update() -> Way:
        return server.traced(server.update())

    def mesh(*arguments: str) -> Way:
        return command("mesh", *arguments, "--server", server.url)

    def list_shards() -> Way:
        return mesh("shards", "list", "--namespace", NAMESPACE, "--limit", str(CLI_ROWS))

    yield Case("list", lambda: listing(1), [("list over HTTP, one row", [REQUEST], Bar(20, 40))])
    yield Case("list-two", lambda: listing(2), [("list over HTTP, two rows", [REQUEST], None)])
    yield Case("lookup", lookup, [("point lookup", [REQUEST], None)])
    yield Case("update", update, [("updateShard", [REQUEST], Bar(40, 100)), ("updateShard: its feed", [FEED], None)])
    with server.subscriber() as receive_diff:

        def deliver() -> Way:
            send = server.update()
            return server.traced(lambda: (send(), receive_diff()))

        yield Case("diff", deliver, [("one diff to one socket: feed and group", [FEED, GROUP], Bar(24, 55))])
    yield Case("cli-list", list_shards, [(f"CLI shards list, {CLI_ROWS} rows", [CLI], Bar(10, 30))])
    yield Case("cli-node", lambda: mesh("nodes", "get", NODE), [("CLI nodes get", [CLI], None)])


def _print(counts: Sequence[Count], *, verbose: bool) -> None:
    if verbose:
        for count in counts:
            for owner, steps in count.way.items():
                print(f"\n{count.case} ({owner}); a move is marked with >")
                before = ""
                for file, name in steps:
                    print(f"{' ' if file == before else '>'} {file}:{name}")
                    before = file
            for owner, steps in count.elsewhere.items():
                print(f"{count.case}: not counted are {len(steps)} steps of {owner.partition(' ')[2]}")
        print()
    table = Table("case", "files", "moves", "bar: files", "bar: moves", "")
    for count in counts:
        bar = (str(count.bar.files), str(count.bar.moves)) if count.bar else ("", "")
        table.add_row(count.case, str(count.files), str(count.moves), *bar, "over" if count.is_over else "")
    Console(width=100).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=CASES, help="only this one; may be given again")
    parser.add_argument("--verbose", action="store_true", help="print the steps, in their order")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a case is over its bar")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="omnirelay-way-") as folder, serving(Path(folder) / "data") as server:
        counts = [
            count
            for case in cases(server)
            if options.case is None or case.name in options.case
            for count in case.counts()
        ]
    _print(counts, verbose=options.verbose)
    return int(options.check and any(count.is_over for count in counts))


if __name__ == "__main__":
    sys.exit(main())
