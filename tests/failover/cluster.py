"""Three PostgreSQL nodes under Patroni, and etcd: started, waited for, changed, frozen, killed and stopped."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from string import Template
from time import monotonic
from typing import Any, Final, TypeVar

import asyncpg
import httpx2

from tests.failover.installation import PATRONI, PYTHON, Installation

T = TypeVar("T")

TEMPLATE: Final = Path(__file__).with_name("patroni.yaml")
DATABASE: Final = "mesh"
ROLE: Final = "mesh"
_LOOK_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 30
_REST_SECONDS: Final = 1.0
_PATRONICTL: Final = "from patroni.ctl import ctl; ctl(prog_name='patronictl')"
_STANDBYS: Final = """
    SELECT count(*) FILTER (WHERE state = 'streaming') AS streaming, count(*) FILTER (WHERE sync_state = 'sync') AS sync
    FROM pg_stat_replication
"""


class ClusterError(Exception):
    """The cluster did not do what the harness waited for: the harness or Patroni is at fault, not the servers."""


class Ports:
    """Free ports below those the kernel gives to outgoing connections, which could take that of a node that is down."""

    def __init__(self, randomness: random.Random) -> None:
        lowest, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        self._candidates = iter(randomness.sample(range(10_000, min(int(lowest), 32_768)), 2_000))

    def take(self) -> int:
        for port in self._candidates:
            with socket.socket() as probe, suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
        raise ClusterError("no port of 127.0.0.1 is free")


class Node:
    """One PostgreSQL and the Patroni that minds it."""

    def __init__(self, name: str, folder: Path, installation: Installation, ports: Ports, etcd_port: int) -> None:
        self.name = name
        self.folder = folder
        self.data = folder / "data"
        self.port = ports.take()
        self.rest_port = ports.take()
        self._installation = installation
        self._postmortem_port = ports.take()
        self._patroni: Process | None = None
        folder.mkdir(mode=0o700)
        self.settings = folder / "patroni.yaml"
        given = {
            "name": name,
            "folder": folder,
            "bin_dir": installation.bin_dir,
            "postgres_port": self.port,
            "rest_port": self.rest_port,
            "etcd_port": etcd_port,
        }
        self.settings.write_text(Template(TEMPLATE.read_text()).substitute(given))
        for path in (folder, self.settings):
            os.chown(path, installation.owner.pw_uid, installation.owner.pw_gid)

    def url(self, role: str = "postgres", database: str = DATABASE) -> str:
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    async def start(self) -> None:
        command = (*self._installation.prefix, str(PYTHON), "-m", "patroni", str(self.settings))
        self._patroni = await started(command, self.folder.parent, self.folder / "patroni.log")

    @property
    def postmaster_pid(self) -> int | None:
        """None if there is none. The file of one that was killed may name a process that is another's by now."""
        with suppress(OSError, ValueError, IndexError):
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            if str(self.data).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    @property
    def walreceiver_pid(self) -> int | None:
        postmaster = self.postmaster_pid
        for pid in [] if postmaster is None else children(postmaster):
            with suppress(OSError):
                if b"walreceiver" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    def freeze_patroni(self) -> None:
        send(self._patronis(), signal.SIGSTOP)

    def freeze(self) -> None:
        """Patroni, the postmaster, then their children: what is stopped starts no more of them."""
        parents = [*self._patronis()[:1], *([] if self.postmaster_pid is None else [self.postmaster_pid])]
        send(parents, signal.SIGSTOP)
        send([child for parent in parents for child in children(parent)], signal.SIGSTOP)

    def thaw_postgres(self) -> None:
        """The reverse: children first."""
        postmaster = self.postmaster_pid
        if postmaster is not None:
            send([*children(postmaster), postmaster], signal.SIGCONT)

    def thaw_patroni(self) -> None:
        send(reversed(self._patronis()), signal.SIGCONT)

    async def kill(self) -> None:
        """As a machine that loses power: Patroni, the postmaster and all their children."""
        postmaster = self.postmaster_pid
        pids = [*self._patronis(), *([] if postmaster is None else [postmaster, *children(postmaster)])]
        send(pids, signal.SIGKILL)
        if self._patroni is not None:
            await self._patroni.wait()
            self._patroni = None
        await until(lambda: gone(pids), 10, f"{self.name} to be dead")

    async def kill_patroni(self) -> None:
        """PostgreSQL goes on."""
        send(self._patronis(), signal.SIGKILL)
        if self._patroni is not None:
            await self._patroni.wait()
            self._patroni = None

    async def kill_postmaster(self) -> int:
        """Returns its pid."""
        pid = self.postmaster_pid
        if pid is None:
            raise ClusterError(f"{self.name} has no postmaster to kill")
        os.kill(pid, signal.SIGKILL)
        return pid

    async def stop(self) -> None:
        """Patroni stops its PostgreSQL; what does not stop in time is killed."""
        if self._patroni is not None:
            with suppress(TimeoutError, ProcessLookupError):
                self._patroni.terminate()
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._patroni.wait()
        await self.kill()

    @asynccontextmanager
    async def postmortem(self) -> AsyncIterator[str]:
        """PostgreSQL alone on the data of a node that was killed, which it recovers: yields its URL."""
        command = (
            *self._installation.prefix,
            str(self._installation.bin_dir / "postgres"),
            *("-D", str(self.data), "-c", f"port={self._postmortem_port}", "-c", "listen_addresses=127.0.0.1"),
            *("-c", "synchronous_standby_names=", "-c", "logging_collector=off", "-c", "max_connections=200"),
        )
        process = await started(command, self.folder.parent, self.folder / "postmortem.log")
        url = f"postgresql://postgres@127.0.0.1:{self._postmortem_port}/{DATABASE}?sslmode=disable"
        try:
            await until(lambda: answers(url), 60, f"PostgreSQL to recover the data of {self.name}")
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
            await self.kill()

    def _patronis(self) -> list[int]:
        """It and its children; the postmaster is none of them."""
        if self._patroni is None or self._patroni.returncode is not None:
            return []
        return [self._patroni.pid, *children(self._patroni.pid)]


class Cluster:
    """`folder` is its owner's; it holds data and logs."""

    def __init__(self, folder: Path, installation: Installation, seed: int) -> None:
        ports = Ports(random.Random(f"ports {seed} {os.getpid()}"))
        self.folder = folder
        self._installation = installation
        self._etcd_port, self._etcd_peer_port = ports.take(), ports.take()
        self._etcd: Process | None = None
        self._http = httpx2.AsyncClient(timeout=_REST_SECONDS)
        self.nodes = [
            Node(f"n{number}", folder / f"n{number}", installation, ports, self._etcd_port) for number in (1, 2, 3)
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Cluster]:
        """With an empty database that a role without privileges owns."""
        try:
            await self._start()
            yield self
        finally:
            await self._stop()

    async def _start(self) -> None:
        site = self.folder / "site"
        # A copy, because the folder of the project may be closed to the user that Patroni runs as.
        await asyncio.to_thread(shutil.copytree, PATRONI, site)
        await self._start_etcd()
        first, *others = self.nodes
        await first.start()
        await until(lambda: self._leads(first), 60, "the first node to lead")
        for node in others:
            await node.start()
        await self.healthy(90)
        connection = await asyncpg.connect(first.url(database="postgres"))
        try:
            await connection.execute(f"CREATE ROLE {ROLE} LOGIN")
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
        finally:
            await connection.close()

    async def _start_etcd(self) -> None:
        data = self.folder / "etcd"
        clients, peers = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._etcd_peer_port}"
        command = (
            *self._installation.prefix,
            str(self._installation.etcd),
            *("--name", "e1", "--data-dir", str(data)),
            *("--listen-client-urls", clients, "--advertise-client-urls", clients),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"e1={peers}", "--logger", "zap", "--log-level", "warn"),
        )
        self._etcd = await started(command, self.folder, self.folder / "etcd.log")
        await until(self._etcd_answers, 30, "etcd to answer")

    async def _stop(self) -> None:
        """Standbys, then the leader, then etcd; everything, whatever fails on the way."""
        leader = None
        with suppress(Exception):
            leader = await self.leader()
        try:
            await asyncio.gather(*(node.stop() for node in self.nodes if node is not leader), return_exceptions=True)
            if leader is not None:
                await leader.stop()
        finally:
            for node in self.nodes:
                await node.kill()
            if self._etcd is not None and self._etcd.returncode is None:
                self._etcd.kill()
                await self._etcd.wait()
            await self._http.aclose()

    def url(self, first: int = 0) -> str:
        """For the servers. Which node stands first in it matters: one that hangs must not hide those behind it."""
        nodes = [*self.nodes[first:], *self.nodes[:first]]
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        return f"postgresql://{ROLE}@{hosts}/{DATABASE}?target_session_attrs=read-write&sslmode=disable"

    async def leader(self) -> Node | None:
        for node in self.nodes:
            if await self._leads(node):
                return node
        return None

    async def promoted(self, old: Node, seconds: float) -> Node:
        """The first that takes writes instead of the old one, by PostgreSQL: Patroni reports it later."""
        others = [node for node in self.nodes if node is not old]

        async def look() -> Node | None:
            taking = await asyncio.gather(*(_takes_writes(node) for node in others))
            return next((node for node, takes in zip(others, taking, strict=True) if takes), None)

        return await until(look, seconds, f"another node than {old.name} to be promoted")

    async def synchronous_standby(self) -> Node:
        async def look() -> Node | None:
            for node in self.nodes:
                if await self._status(node, "sync") == httpx2.codes.OK:
                    return node
            return None

        # Each node says so of itself, from what it read of etcd last, later than the leader says it of all.
        return await until(look, 30, "a node to be a synchronous standby")

    async def healthy(self, seconds: float, *, synchronous: bool = True) -> Node:
        """Returns the leader, once it has two standbys that stream, one of them synchronously."""

        async def look() -> Node | None:
            leader = await self.leader()
            if leader is None:
                return None
            connection = await asyncpg.connect(leader.url(database="postgres"), timeout=2)
            try:
                row = await connection.fetchrow(_STANDBYS)
            finally:
                connection.terminate()
            members = (await self._http.get(f"http://127.0.0.1:{leader.rest_port}/cluster")).json()["members"]
            roles = sorted(member["role"] for member in members if member["state"] in {"running", "streaming"})
            wanted = ["leader", "replica", "sync_standby" if synchronous else "replica"]
            return leader if (row["streaming"], row["sync"], roles) == (2, int(synchronous), wanted) else None

        return await until(look, seconds, "all three nodes to be well")

    async def configure(self, **settings: Any) -> None:
        leader = await self.healthy(60, synchronous=await self._synchronous())
        response = await self._http.patch(f"http://127.0.0.1:{leader.rest_port}/config", json=settings)
        response.raise_for_status()

        async def known() -> bool:
            """Patroni reads its settings once in `loop_wait`."""
            shown = [await self._seen(node) for node in self.nodes]
            return all(settings.items() <= config.items() for config in shown)

        await until(known, 30, f"the settings {settings}")
        await self.healthy(60, synchronous=await self._synchronous())

    async def patronictl(self, *arguments: str) -> str:
        command = (*self._installation.prefix, str(PYTHON), "-c", _PATRONICTL, "-c", str(self.nodes[0].settings))
        process = await asyncio.create_subprocess_exec(
            *(*command, *arguments),
            cwd=self.folder,
            env=environment(self.folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise ClusterError(f"patronictl {' '.join(arguments)} ended with {process.returncode}: {said.decode()}")
        return said.decode()

    async def _synchronous(self) -> bool:
        return bool((await self._seen(self.nodes[0]))["synchronous_mode"])

    async def _seen(self, node: Node) -> Mapping[str, Any]:
        config: dict[str, Any] = (await self._http.get(f"http://127.0.0.1:{node.rest_port}/config")).json()
        return config

    async def _leads(self, node: Node) -> bool:
        return await self._status(node, "primary") == httpx2.codes.OK

    async def _status(self, node: Node, path: str) -> int | None:
        with suppress(httpx2.HTTPError, OSError):
            return (await self._http.get(f"http://127.0.0.1:{node.rest_port}/{path}")).status_code
        return None

    async def _etcd_answers(self) -> bool:
        answer = await self._http.get(f"http://127.0.0.1:{self._etcd_port}/health")
        return bool(answer.json() == {"health": "true"})


async def started(command: Sequence[str], folder: Path, log: Path) -> Process:
    """In a session of its own: Ctrl-C is for the harness, which stops all in order."""
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=environment(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def environment(folder: Path) -> dict[str, str]:
    """Of the machine nothing but where programs are: no PGHOST, no PYTHONHOME."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "PYTHONPATH": str(folder / "site"),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }


async def until(look: Callable[[], Awaitable[T | None]], seconds: float, what: str) -> T:
    """What `look` answers, once that is true. A node that cannot be reached is one that has not answered yet."""
    begun = monotonic()
    while True:
        with suppress(httpx2.HTTPError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            found = await look()
            if found:
                return found
        if monotonic() - begun > seconds:
            raise ClusterError(f"waited {seconds:.0f} s for {what}")
        await asyncio.sleep(_LOOK_SECONDS)


async def answers(url: str) -> bool:
    connection = await asyncpg.connect(url, timeout=2)
    try:
        return not await connection.fetchval("SELECT pg_is_in_recovery()")
    finally:
        connection.terminate()


async def _takes_writes(node: Node) -> bool:
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        return await answers(node.url())
    return False


async def gone(pids: Iterable[int]) -> bool:
    """Whether none of them runs; those that have ended and are not yet reaped do not."""

    def runs(pid: int) -> bool:
        with suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return False

    return not any(map(runs, pids))


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
