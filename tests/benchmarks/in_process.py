"""What the event loop spends on one large change before the database is asked, and on a batch made for subscribers.

In this process, on the store in memory: nothing is measured but this program's own work on the loop's thread.
"""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from statistics import median
from time import thread_time
from typing import Any, Final

from graph.auth.principal import UNRESTRICTED
from graph.execution.context import Context
from graph.execution.metrics import Metrics
from graph.execution.services import Services
from graph.http.app import create_app
from graph.operations import operation
from graph.schema.build import build_schema
from graph.server.garbage import THRESHOLDS
from graph.subscriptions.operation import SubscriptionOperation, open_operation
from persistence.errors import StoreUnavailable, Unavailable
from persistence.feed.live import live_feed
from persistence.model.queries import DiffFilter
from persistence.model.records import ChangeMark, ShardDiff, StreamPosition
from persistence.model.stream import DiffBatch
from persistence.ports.store import Store
from persistence.ports.writes import UnitOfWorkFactory
from persistence.service.executor import CommandExecutor
from tests.benchmarks.report import say
from tests.reference.store import memory_store
from tests.support.graphql_api import services_of
from tests.support.mesh import Mesh, new, patch

SHARDS: Final = 10_000
PER_BATCH: Final = 100
ROUNDS: Final = 15
BATCHES: Final = 120
FOLLOWED: Final = ("FollowShards", "WatchShards")

_CHUNK: Final = 65_536
"""What uvicorn passes on at a time, at most."""

_CHANGE: Final = {"actor": "bench", "reason": "measure", "changeTicket": "CHG-1"}


async def measure(shards: int = SHARDS, rounds: int = ROUNDS, batches: int = BATCHES) -> dict[str, Any]:
    """Milliseconds of processor time."""
    say(f"In this process: updateShards of {shards:,}, batches of {PER_BATCH} diffs")
    taken: list[float] = []
    made: dict[str, list[float]] = {name: [] for name in FOLLOWED}
    with _as_in_a_server():
        async with _followed(batches) as followed:
            # In turn, as a processor may be slow for a second.
            for number in range(rounds):
                taken.append(await _until_asked(shards, number))
                for name, (opened, changed) in followed.items():
                    for batch in changed[number::rounds]:
                        begin = thread_time()
                        await opened.payload(batch)
                        made[name].append(1e3 * (thread_time() - begin))
    of_batches = {name: median(times) for name, times in made.items()}
    say(f"  {median(taken):.1f} ms; " + ", ".join(f"{name} {each:.3f} ms" for name, each in of_batches.items()))
    return {"shards": shards, "update_shards": median(taken), "diffs": PER_BATCH, "batches": of_batches}


@contextmanager
def _as_in_a_server() -> Iterator[None]:
    """Garbage collected as there; and no log, as each change is refused."""
    thresholds = gc.get_threshold()
    logging.disable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        logging.disable(logging.NOTSET)


async def _until_asked(shards: int, number: int) -> float:
    """Of this thread, from the request to the first unit of work, for an operation that was sent twice before."""
    asked: list[float] = []

    def unit_of_work() -> Any:
        asked.append(thread_time())
        raise StoreUnavailable("far enough", Unavailable.UNREACHABLE)

    async with _services(memory_store(), unit_of_work) as services:
        app = create_app(services)
        for count in (1, 1, shards):
            body = _update(count, number)
            asked.clear()
            begin = thread_time()
            await _post(app, body)
    return 1e3 * (asked[0] - begin)


def _update(count: int, number: int) -> bytes:
    shards = [
        {"namespace": f"ns{at % 100}", "shardId": f"shard-{at:05}", "expectedVersion": "1", "ownerNodeId": f"n{number}"}
        for at in range(count)
    ]
    given = {"input": {"shards": shards, "change": _CHANGE}}
    return json.dumps({"query": operation("UpdateShards"), "variables": given}).encode()


async def _post(app: Any, body: bytes) -> None:
    """As uvicorn has an application answer. What is answered is of no interest: that it could not be committed."""
    parts = [body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK)]
    messages = iter(
        {"type": "http.request", "body": part, "more_body": number < len(parts)} for number, part in enumerate(parts, 1)
    )

    async def receive() -> Any:
        return next(messages, {"type": "http.disconnect"})

    async def send(_: Any) -> None:
        pass

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)


@asynccontextmanager
async def _services(store: Store, unit_of_work: UnitOfWorkFactory) -> AsyncIterator[Services]:
    async with live_feed(store.stream, store.signal) as feed:
        yield services_of(store, CommandExecutor(unit_of_work), feed)


@asynccontextmanager
async def _followed(count: int) -> AsyncIterator[Mapping[str, tuple[SubscriptionOperation, Sequence[DiffBatch]]]]:
    """Of each operation, a subscription that has been sent some, and so many batches of diffs, and records, that are
    new to it."""
    mesh = Mesh(memory_store())
    warming = 5
    async with _services(mesh.store, mesh.store.unit_of_work) as services:
        batches = await _changed(mesh, services, warming + count)
        found: dict[str, tuple[SubscriptionOperation, Sequence[DiffBatch]]] = {}
        for name in FOLLOWED:
            context = Context(services, UNRESTRICTED, "bench")
            schema = build_schema(Metrics())
            for _ in range(3):  # a document is known from its third time on, at the latest
                opened = await open_operation(schema, operation(name), {}, None, context)
            assert isinstance(opened, SubscriptionOperation)
            for batch in batches[:warming]:
                await opened.payload(batch)
            found[name] = opened, batches[warming:]
        yield found


async def _changed(mesh: Mesh, services: Services, count: int) -> Sequence[DiffBatch]:
    """So many batches, of a change a diff."""
    await mesh.configure()
    created = await mesh.create(*(new(f"shard-{number:04}") for number in range(PER_BATCH)))
    shards = list(created.shards)
    begin = services.feed.position
    diffs: list[ShardDiff] = []
    for number in range(count):
        for place, shard in enumerate(shards):
            changed = await mesh.update(patch(shard, owner_node_id=f"node-{number}"))
            (shards[place],) = changed.shards
    wanted = PER_BATCH * count
    async with aclosing(services.feed.follow(begin, DiffFilter())) as followed:
        async for batch in followed:
            diffs += [diff for diff in batch.diffs if diff.previous is not None]
            if len(diffs) >= wanted:
                break
    return [_batch(begin.epoch, diffs[at : at + PER_BATCH]) for at in range(0, wanted, PER_BATCH)]


def _batch(epoch: str, diffs: Sequence[ShardDiff]) -> DiffBatch:
    newest = diffs[-1].change
    mark = ChangeMark(newest.id, bytes.fromhex(newest.hash)[:8])
    return DiffBatch(StreamPosition(epoch, diffs[-1].revision, mark), diffs, caught_up=True)
