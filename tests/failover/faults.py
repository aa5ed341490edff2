"""What befalls the primary, and in which order: the schedule is a pure function of the seed."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Final, TypeAlias

import asyncpg

from tests.failover.cluster import Cluster, Node, answers, send, until
from tests.failover.history import Lost, read_lost


class FaultKind(StrEnum):
    RESTARTED = "postmaster killed, restarted in place"
    KILLED = "postmaster killed, standby promoted"
    FROZEN = "primary frozen, thawed beside the new one"
    SWITCHED = "planned switchover"
    RETURNED = "node killed in the middle of a commit, returns"
    ORPHANED = "Patroni killed, its primary goes on"
    UNREPLICATED = "commit without standby, restart, node killed"
    LOST = "asynchronous standby promoted with loss"


LOSSLESS: Final = frozenset(FaultKind) - {FaultKind.LOST}
"""Nothing that was sent to any client may be lost: what had no standby was not to be sent."""

PROMOTION_SECONDS: Final = 60.0
_RECOVERY_SECONDS: Final = 60.0
_TWO_PRIMARIES_SECONDS: Final = 4.0
# Patroni's leader key outlives it by 18 s or more, so waiting costs nothing: servers have all that time to tell what
# they must not.
_UNREPLICATED_SECONDS: Final = 12.0
_LOSS_SECONDS: Final = 2.0
_ARRIVAL_SECONDS: Final = 3.0
_WAITING: Final = """
    SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%FROM commit_change%'
"""


def schedule(seed: int, rounds: int, kinds: Sequence[FaultKind] = tuple(FaultKind)) -> list[FaultKind]:
    """Every kind once before any comes again, in another order each time."""
    randomness = random.Random(f"failover {seed}")
    order: list[FaultKind] = []
    while len(order) < rounds:
        order += randomness.sample(kinds, len(kinds))
    return order[:rounds]


@dataclass(slots=True)
class Struck:
    """What became of it, on the clock of `time.monotonic`: when it struck, and when another node led.

    `serves_at` is when a node was primary again, whichever it is. `lost` is what the old primary had, read from its
    data after its death; None where it did not die. `returns` brings the old primary back.
    """

    at: float
    serves_at: float
    promoted: Node | None
    lost: Lost | None = None
    returns: Callable[[], Awaitable[None]] | None = None


Fault: TypeAlias = Callable[[Cluster, Node, Callable[[], None]], Awaitable[Struck]]


async def strike(kind: FaultKind, cluster: Cluster, primary: Node, dead: Callable[[], None]) -> Struck:
    """Returns once there is a primary again. `dead` is called where the old one loses something, once all that it had
    told has arrived.
    """
    return await _MEANS[kind](cluster, primary, dead)


async def _restart(cluster: Cluster, primary: Node, _dead: Callable[[], None]) -> Struck:
    await cluster.configure(primary_start_timeout=300)
    at = monotonic()
    pid = await primary.kill_postmaster()
    await _restarted(primary, pid)
    return Struck(at, monotonic(), None)


async def _kill(cluster: Cluster, primary: Node, _dead: Callable[[], None]) -> Struck:
    await cluster.configure(primary_start_timeout=0)
    at = monotonic()
    await primary.kill_postmaster()
    promoted, serves_at = await _promoted(cluster, primary)
    return Struck(at, serves_at, promoted)


async def _freeze(cluster: Cluster, primary: Node, _dead: Callable[[], None]) -> Struck:
    """The old primary's PostgreSQL wakes up before its Patroni does: two take writes for a while."""
    at = monotonic()
    primary.freeze()
    promoted, serves_at = await _promoted(cluster, primary)

    async def thaw() -> None:
        primary.thaw_postgres()
        await asyncio.sleep(_TWO_PRIMARIES_SECONDS)
        primary.thaw_patroni()

    return Struck(at, serves_at, promoted, returns=thaw)


async def _switch_over(cluster: Cluster, primary: Node, _dead: Callable[[], None]) -> Struck:
    standby = await cluster.synchronous_standby()
    at = monotonic()
    # Both at once: patronictl returns seconds after the new primary has begun to serve.
    _, (promoted, serves_at) = await asyncio.gather(
        cluster.patronictl("switchover", "--leader", primary.name, "--candidate", standby.name, "--force"),
        _promoted(cluster, primary),
    )
    return Struck(at, serves_at, promoted)


async def _kill_node(cluster: Cluster, primary: Node, _dead: Callable[[], None]) -> Struck:
    """A commit is under way which the standbys have been sent and have not confirmed. It survives, and its writer is
    answered with it when it asks again.
    """
    receivers = _receivers(cluster, primary)
    send(receivers, signal.SIGSTOP)
    try:
        await until(lambda: _waits_for_standby(primary), 30, "a commit to wait for its standby")
        at = monotonic()
        await primary.kill()
    finally:
        # Their sockets hold what they were sent: they read that before they find that nothing more comes.
        send(receivers, signal.SIGCONT)
    promoted, serves_at = await _promoted(cluster, primary)
    return Struck(at, serves_at, promoted, returns=primary.start)


async def _orphan(cluster: Cluster, primary: Node, _dead: Callable[[], None]) -> Struck:
    """The old primary lives on, until there is a Patroni again that stops it: connections to it never break."""
    at = monotonic()
    await primary.kill_patroni()
    promoted, serves_at = await _promoted(cluster, primary)
    return Struck(at, serves_at, promoted, returns=primary.start)


async def _leave_unreplicated(cluster: Cluster, primary: Node, _dead: Callable[[], None]) -> Struck:
    """Recovery makes a commit visible that waits for a standby which does not have it. Patroni is frozen once it has
    restarted PostgreSQL: else it takes the standby off, and none is promoted.
    """
    await cluster.configure(primary_start_timeout=300)
    async with _receivers_stopped(cluster, primary):
        await until(lambda: _waits_for_standby(primary), 30, "a commit to wait for its standby")
        at = monotonic()
        pid = await primary.kill_postmaster()
        await _restarted(primary, pid)
        primary.freeze_patroni()
        await asyncio.sleep(_UNREPLICATED_SECONDS)
        await primary.kill()
    promoted, serves_at = await _promoted(cluster, primary)
    return Struck(at, serves_at, promoted, await _autopsy(primary, promoted), primary.start)


async def _lose(cluster: Cluster, primary: Node, dead: Callable[[], None]) -> Struck:
    await cluster.configure(synchronous_mode=False)
    candidate = next(node for node in cluster.nodes if node is not primary)
    async with _receivers_stopped(cluster, primary):
        await asyncio.sleep(_LOSS_SECONDS)
        at = monotonic()
        await primary.kill()
    await asyncio.sleep(_ARRIVAL_SECONDS)
    dead()
    await cluster.patronictl("failover", "--candidate", candidate.name, "--force")
    promoted, serves_at = await _promoted(cluster, primary)

    async def return_to_synchronous() -> None:
        await primary.start()
        await cluster.healthy(90, synchronous=False)
        await cluster.configure(synchronous_mode=True)

    return Struck(at, serves_at, promoted, await _autopsy(primary, promoted), return_to_synchronous)


_MEANS: Final[Mapping[FaultKind, Fault]] = {
    FaultKind.RESTARTED: _restart,
    FaultKind.KILLED: _kill,
    FaultKind.FROZEN: _freeze,
    FaultKind.SWITCHED: _switch_over,
    FaultKind.RETURNED: _kill_node,
    FaultKind.ORPHANED: _orphan,
    FaultKind.UNREPLICATED: _leave_unreplicated,
    FaultKind.LOST: _lose,
}


async def _promoted(cluster: Cluster, old: Node) -> tuple[Node, float]:
    """Which node leads instead, and since when."""
    promoted = await cluster.promoted(old, PROMOTION_SECONDS)
    return promoted, monotonic()


async def _restarted(primary: Node, killed: int) -> None:
    async def look() -> bool:
        return primary.postmaster_pid not in {None, killed} and await answers(primary.url())

    await until(look, _RECOVERY_SECONDS, f"{primary.name} to be restarted in place")


async def _waits_for_standby(primary: Node) -> bool:
    connection = await asyncpg.connect(primary.url(), timeout=2)
    try:
        return bool(await connection.fetchval(_WAITING))
    finally:
        connection.terminate()


@asynccontextmanager
async def _receivers_stopped(cluster: Cluster, primary: Node) -> AsyncIterator[None]:
    """No standby receives anything. In the end they are ended before they can read what their sockets hold."""
    pids = _receivers(cluster, primary)
    send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pids, signal.SIGTERM)
        send(pids, signal.SIGCONT)


def _receivers(cluster: Cluster, primary: Node) -> list[int]:
    standbys = [node for node in cluster.nodes if node is not primary]
    return [pid for node in standbys if (pid := node.walreceiver_pid) is not None]


async def _autopsy(dead: Node, promoted: Node) -> Lost:
    async with dead.postmortem() as url:
        return await read_lost(url, promoted.url())
