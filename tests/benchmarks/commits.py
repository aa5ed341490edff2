"""Changes of shards under load: single ones by 1 to 128 clients, mixed with conflicts and refusals, and in bulk.

Of one server and of two on one database, beside a loop on asyncpg that makes the same changes by hand, and puts in
etcd. Each is loaded in turn; they share PostgreSQL and the disk.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import asyncpg

from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.shards import CreateShards, NewShard
from persistence.model.policy import NamespacePolicy
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.benchmarks import generator, hand_written, limits, meshes, processes, servers, write_load
from tests.benchmarks.load import each_once, post
from tests.benchmarks.report import say
from tests.benchmarks.servers import Server

CLIENTS: Final = (1, 8, 32, 128)
BULKS: Final = (100, 1_000, 10_000)
ATTEMPTS: Final = 3

ONE, TWO, BY_HAND, ETCD = "omnirelay", "omnirelay, two servers", "asyncpg by hand", "etcd, puts by its JSON gateway"

_BULK_QUERY: Final = write_load.QUERY.replace("UpdateShard", "UpdateShards").replace("updateShard(", "updateShards(")
_CHANGE: Final = {"actor": "bench", "reason": "measure", "changeTicket": "CHG-1"}
_VALUE_BYTES: Final = 350  # of an image
_ETCD_SECONDS: Final = 15.0

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scale:
    """`seconds` of each load; of `rounds`, which are interleaved, medians are taken."""

    seconds: float = 1.5
    rounds: int = 2
    clients: Sequence[int] = CLIENTS
    attempts: int = ATTEMPTS


async def measure(url: str, postmaster: int, folder: Path, scale: Scale) -> Figures:
    """By number of clients and contender changes a second, latencies in milliseconds by percentile, and milliseconds of
    processor time a change, of what makes them (`server`) and of PostgreSQL; of bulks seconds, and a shard's share."""
    await _prepare(url)
    async with servers.omnirelay(url) as server:
        bulks = await _bulks(server, url, postmaster, scale.attempts)
    async with servers.omnirelay(url) as one, servers.omnirelay(url) as other, _etcd(folder) as etcd:
        single: dict[str, dict[str, Figures]] = {}
        for clients in scale.clients:
            say(f"  {clients} client{'s' if clients > 1 else ''}: {scale.rounds} rounds of {scale.seconds:g} s each")
            taken: dict[str, list[Figures]] = {}
            for _ in range(scale.rounds):
                for name, load in (
                    (ONE, partial(_ours, [one], url, clients, postmaster, scale.seconds)),
                    (TWO, partial(_ours, [one, other], url, clients, postmaster, scale.seconds)),
                    (BY_HAND, partial(_by_hand, url, clients, postmaster, scale.seconds)),
                    (ETCD, partial(_puts, etcd, clients, scale.seconds)),
                ):
                    figures = await load()
                    if figures is not None:
                        taken.setdefault(name, []).append(figures)
            single[str(clients)] = {name: _medians(found) for name, found in taken.items()}
        say("  mixed with conflicts and refusals")
        mixed = {
            name: await _ours(loaded, url, 32, postmaster, scale.seconds, mixed=True)
            for name, loaded in ((ONE, [one]), (TWO, [one, other]))
        }
    return {
        "seconds": scale.seconds,
        "rounds": scale.rounds,
        "share": write_load.SHARE,
        "single": single,
        "mixed": mixed,
        "bulk": bulks,
    }


async def _prepare(url: str) -> None:
    await meshes.populate(url, 1)
    async with open_store(url) as store:
        writer = CommandExecutor(store.unit_of_work)
        policy, name = NamespacePolicy(ticket_required=True), write_load.REFUSED_NAMESPACE
        await writer.execute(ConfigureNamespace(name, "rendezvous", {}, 0, meshes.CHANGE, policy))
        await writer.execute(CreateShards([NewShard(name, "s", "node-1")], meshes.CHANGE))
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(hand_written.TABLES)
    finally:
        await connection.close()
    await limits.prepare(url)


async def _shards_of(url: str, clients: int) -> list[tuple[str, str, int]]:
    """One for each client, with the version that it is at."""
    known = await meshes.versions(url)
    keys = sorted(key for key in known if key.namespace != write_load.REFUSED_NAMESPACE)
    return [(*key, known[key]) for key in keys[:: len(keys) // clients][:clients]]


async def _ours(
    loaded: Sequence[Server], url: str, clients: int, postmaster: int, seconds: float, *, mixed: bool = False
) -> Figures:
    command = ["tests.benchmarks.write_load", *(str(server.port) for server in loaded), "--seconds", str(seconds)]
    shards = await _shards_of(url, clients)
    before = [server.usage for server in loaded], processes.usage(postmaster)
    load = await _run([*command, *(["--mixed"] if mixed else [])], shards)
    spent = sum(processes.seconds_between(was, server.usage) for was, server in zip(before[0], loaded, strict=True))
    return _figures(load, spent, processes.seconds_between(before[1], processes.usage(postmaster)))


async def _by_hand(url: str, clients: int, postmaster: int, seconds: float) -> Figures:
    shards = await _shards_of(url, clients)
    before = processes.usage(postmaster)
    load = await _run(["tests.benchmarks.hand_written", url, "--seconds", str(seconds)], shards)
    return _figures(load, load["spent"], processes.seconds_between(before, processes.usage(postmaster)))


async def _run(module: Sequence[str], shards: Sequence[tuple[str, str, int]]) -> Figures:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *module, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = await process.communicate(json.dumps(shards).encode())
    if process.returncode:
        raise RuntimeError(f"{module[0]} failed: {errors.decode()[-2_000:]}")
    answer: Figures = json.loads(output)
    return answer


def _figures(load: Mapping[str, Any], server: float, postgres: float) -> Figures:
    each = 1e3 / load["answered"]
    return {
        "rate": load["rate"],
        "server": server * each,
        "postgres": postgres * each,
        "latencies": load["latencies"],
        **({"kinds": load["kinds"]} if "kinds" in load else {}),
    }


def _medians(found: Sequence[Figures]) -> Figures:
    latencies = zip(*(figures["latencies"] for figures in found), strict=True)
    return {
        **{name: median(figures[name] for figures in found) for name in ("rate", "server", "postgres")},
        "latencies": [(each[0][0], median(value for _, value in each)) for each in latencies],
    }


@asynccontextmanager
async def _etcd(folder: Path) -> AsyncIterator[Server | None]:
    """None, after a line that says why, where there is none."""
    program = shutil.which("etcd")
    if program is None:
        say("  without etcd: it is not installed (Debian: etcd-server)")
        yield None
        return
    client, peer = _free_port(), _free_port()
    addresses = (f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}")
    options = ["--data-dir", str(folder / "etcd"), "--log-level", "error"]
    for name, address in zip(("client", "peer"), addresses, strict=True):
        options += [f"--listen-{name}-urls", address]
    options += ["--advertise-client-urls", addresses[0], "--initial-advertise-peer-urls", addresses[1]]
    options += ["--initial-cluster", f"default={addresses[1]}"]
    process = await asyncio.create_subprocess_exec(
        program, *options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    server = Server(client, process.pid)
    try:
        await _answering(server)
        yield server
    finally:
        process.terminate()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


async def _answering(server: Server) -> None:
    async with asyncio.timeout(_ETCD_SECONDS):
        while True:
            try:
                await each_once(server.port, [_put(0)], connections=1)
            except (OSError, RuntimeError):
                await asyncio.sleep(0.1)
            else:
                return


async def _puts(etcd: Server | None, clients: int, seconds: float) -> Figures | None:
    if etcd is None:
        return None
    before = etcd.usage
    load = await generator.flat_out(
        etcd.port, [_put(number) for number in range(1_000)], seconds=seconds, connections=clients
    )
    spent = processes.seconds_between(before, etcd.usage)
    found = {"answered": load.requests, "rate": load.rate, "latencies": list(load.latencies.items())}
    return _figures(found, spent, 0.0)


def _put(number: int) -> bytes:
    key, value = (base64.b64encode(each).decode() for each in (b"shard-%04d" % number, b"x" * _VALUE_BYTES))
    return post("/v3/kv/put", json.dumps({"key": key, "value": value}).encode())


async def _bulks(server: Server, url: str, postmaster: int, attempts: int) -> list[Figures]:
    """The best of some attempts, of each size. `plain` is what the same rows take in one plain statement."""
    plain = await limits.bulk_seconds(url) / 10_000
    keys = sorted(key for key in await meshes.versions(url) if key.namespace != write_load.REFUSED_NAMESPACE)
    found = []
    for size in BULKS:
        taken = [await _bulk(server, url, postmaster, keys[:size]) for _ in range(attempts)]
        best = min(taken, key=lambda each: float(each["seconds"]))
        say(f"  updateShards of {size:,}: {size / best['seconds']:,.0f} shards/s")
        found.append({"shards": size, "plain": plain * size, **best})
    return found


async def _bulk(server: Server, url: str, postmaster: int, keys: Sequence[tuple[str, str]]) -> Figures:
    known: Mapping[Any, int] = await meshes.versions(url)
    shards = [
        {
            "namespace": key[0],
            "shardId": key[1],
            "expectedVersion": known[key],
            "ownerNodeId": f"node-{known[key] % 10}",
        }
        for key in keys
    ]
    variables = {"i": {"shards": shards, "change": _CHANGE}}
    request = post("/graphql", json.dumps({"query": _BULK_QUERY, "variables": variables}).encode())
    before = server.usage, processes.usage(postmaster)
    begin = perf_counter()
    (body,) = await each_once(server.port, [request], connections=1)
    seconds = perf_counter() - begin
    if b'"__typename":"ShardsChanged"' not in body:
        raise RuntimeError(body[:1_000].decode(errors="replace"))
    spent = server.usage, processes.usage(postmaster)
    each = [1e3 * processes.seconds_between(was, now) / len(keys) for was, now in zip(before, spent, strict=True)]
    return {"seconds": seconds, "server": each[0], "postgres": each[1]}
