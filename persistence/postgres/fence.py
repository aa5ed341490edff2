"""What a process refuses to forget of its databases: the newest timeline, and what a standby is known to hold.

A promotion makes a new timeline. A server of an older one is an old primary that came back: what it commits is lost
when it is made a standby, and what it is asked has been answered otherwise since.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final, Protocol
from zlib import crc32

from persistence.errors import Fenced, StoreError, StoreUnavailable, Unavailable
from persistence.postgres.driver import Connection
from persistence.postgres.driver_errors import translated

BARRIER_SECONDS: Final = 5.0
"""How long a caller waits for the standby."""

# Transactional: it has a commit record, which is waited for. A message by itself, pg_current_xact_id() and NOTIFY
# are not.
BARRIER: Final = "SELECT pg_logical_emit_message(true, 'omnirelay', '')"

_STILL_ALIVE_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerLife:
    """A server between one recovery and the next: until then no commit becomes visible without having been waited for.

    The start of the postmaster does not change where PostgreSQL recovers from the crash of one backend; the counters
    of its statistics begin anew there.
    """

    system: str
    timeline: int
    started: datetime
    counting_since: datetime | None


class SharedWord(Protocol):
    """64 bits that processes share, such as `multiprocessing.RawValue("Q")`. Read and written as a whole."""

    value: int


class Fence:
    """The newest timeline of each system (cluster) that this process, or one that shares `word`, has seen.

    The word holds 32 bits that tell systems apart, and the timeline. No lock: a process that was killed would keep it.
    Of two that write at once one is overwritten, and writes again with its next connection.
    """

    def __init__(self, word: SharedWord | None = None) -> None:
        self._word = word
        self._seen: dict[str, int] = {}
        self._told_until: dict[tuple[str, int], float] = {}

    def newest(self, system: str) -> int:
        """0 for a system that is new."""
        seen = self._seen.get(system, 0)
        if self._word is None:
            return seen
        mark, timeline = divmod(self._word.value, 1 << 32)
        return max(seen, timeline) if mark == _mark(system) else seen

    def admit(self, system: str, timeline: int, recorded: int = 0) -> bool:
        """Note that a server of the system is on that timeline; true if it is newer than all that were seen.

        `recorded` is the timeline that the database itself says was seen. Raises Fenced for an older one.
        """
        newest = self.newest(system)
        if timeline < max(newest, recorded):
            raise self._refusal(system, timeline, max(newest, recorded))
        self._seen[system] = timeline
        if self._word is not None:
            self._word.value = (_mark(system) << 32) | timeline
        return 0 < newest < timeline

    def _refusal(self, system: str, timeline: int, newest: int) -> Fenced:
        message = (
            f"this server of system {system} is on timeline {timeline}, and timeline {newest} has been seen: an old "
            "primary came back. Nothing is read from it or written to it; stop it, and make it a standby of the new one"
        )
        # It is met with each heartbeat while it stays up.
        if monotonic() >= self._told_until.get((system, timeline), 0.0):
            self._told_until[system, timeline] = monotonic() + REMINDER_SECONDS
            _log.error("%s", message)
        return Fenced(message)


REMINDER_SECONDS: Final = 60.0
"""After which an old primary that is still there is logged again."""


def _mark(system: str) -> int:
    return crc32(system.encode())


class Barrier:
    """Waits until the synchronous standby, where there is one, holds everything that could be read when the wait began.

    One commit is under way at a time, on a connection of its own, and all who come meanwhile join the next one: 0.3 ms,
    or what a round trip to the standby takes. `connect` opens the connection, `life_of` says whose it is, and
    `is_stale` whether it is closed or of a server that may not be used any more: another process, or another pool of
    this one, may have seen a newer timeline since.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        life_of: Callable[[Connection], ServerLife],
        is_stale: Callable[[Connection], bool],
    ) -> None:
        self._connect = connect
        self._life_of = life_of
        self._is_stale = is_stale
        self._connection: Connection | None = None
        self._next: asyncio.Future[ServerLife] | None = None
        self._running: asyncio.Task[None] | None = None

    async def wait(self, seconds: float = BARRIER_SECONDS) -> ServerLife:
        """Until a commit that began after this call is confirmed; gives the server's life that it was made in.

        Raises StoreUnavailable (AWAITING_STANDBY) where that takes longer. The commit goes on: its wait must not be
        cancelled, and each wait that is given up would leave a backend behind.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        joined = self._next
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="omnirelay-barrier")
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(joined)
        except TimeoutError:
            raise StoreUnavailable(
                f"the synchronous standby has confirmed nothing for {seconds:g} s", Unavailable.AWAITING_STANDBY
            ) from None

    def drop(self) -> None:
        """The connection is of a server that is not to be used any more. A commit that is under way on it is answered
        with StoreUnavailable: what it stood for may not be there on the next one."""
        if self._connection is not None:
            self._connection.terminate()

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
        self.drop()

    async def _run(self) -> None:
        while (joined := self._next) is not None:
            outcome: ServerLife | StoreError = StoreUnavailable("the store is being closed")
            try:
                with translated():
                    connection = await self._ready()
                    self._next = None  # until here more may join: nothing has been sent
                    await self._commit(connection)
                    outcome = self._life_of(connection)
            except StoreError as error:
                self.drop()
                outcome = error
            finally:
                if self._next is joined:
                    self._next = None
                _complete(joined, outcome)

    async def _ready(self) -> Connection:
        if self._connection is None or self._is_stale(self._connection):
            self.drop()
            self._connection = await self._connect()
        return self._connection

    async def _commit(self, connection: Connection) -> None:
        commit = asyncio.ensure_future(connection.execute(BARRIER))
        try:
            while not (await asyncio.wait({commit}, timeout=_STILL_ALIVE_SECONDS))[0]:
                # Is it the standby that is away, or the primary? The one is waited for, the other never answers.
                if not await self._lives(self._life_of(connection)):
                    raise StoreUnavailable("the primary broke off while it waited for its standby")
            commit.result()
        finally:
            commit.cancel()

    async def _lives(self, life: ServerLife) -> bool:
        try:
            second = await self._connect()
        except StoreError:
            return False
        try:
            return self._life_of(second) == life
        finally:
            second.terminate()


def _complete(sent: asyncio.Future[ServerLife], outcome: ServerLife | StoreError) -> None:
    if isinstance(outcome, StoreError):
        sent.set_exception(outcome)
        sent.exception()  # all who waited may have given up
    else:
        sent.set_result(outcome)
