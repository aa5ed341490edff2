"""Waiting for the synchronous standby, and the life of a server that such a wait was answered in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from persistence.errors import StoreError, StoreUnavailable, Unavailable
from persistence.postgres.driver import Connection
from persistence.postgres.driver_errors import translated
from persistence.tasks import end

BARRIER_SECONDS: Final = 5.0
"""How long a caller waits for the standby."""

# Transactional: it has a commit record, which is waited for. A message by itself, pg_current_xact_id() and NOTIFY
# are not.
BARRIER: Final = "SELECT pg_logical_emit_message(true, 'omnirelay', '')"

_STILL_ALIVE_SECONDS: Final = 5.0


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


class Barrier:
    """Waits until the synchronous standby, where there is one, holds everything that could be read when the wait began.

    One commit is under way at a time, on a connection of its own, and all that begin to wait meanwhile join the next
    one: 0.3 ms, or what a round trip to the standby takes. `connect` opens the connection, `life_of` is that of its
    server, and `is_stale` whether it is closed or of a server that may not be used any more: another process, or
    another pool of this one, may have seen a newer timeline since.
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
            await end(self._running)
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
                if not await self._is_alive(self._life_of(connection)):
                    raise StoreUnavailable("the primary broke off while it waited for its standby")
            commit.result()
        finally:
            commit.cancel()

    async def _is_alive(self, life: ServerLife) -> bool:
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
        sent.exception()  # every caller may have given up waiting
    else:
        sent.set_result(outcome)
