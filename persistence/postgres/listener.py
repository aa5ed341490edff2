"""The LISTEN connection: one per process, outside the pool, with a heartbeat, and replaced when it dies.

A notification is a hint that something was committed; what, is read from history. So hints may be lost, doubled or
delayed without harm, except across a gap: after each new connection the signal is raised, for commits may have been
missed meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg
import stamina

from persistence.errors import StoreError
from persistence.postgres.commit import CHANNEL
from persistence.postgres.database import Database
from persistence.tasks import end

HEARTBEAT_SECONDS: Final = 5.0
"""Between two checks of the connection."""

HEARTBEAT_TIMEOUT_SECONDS: Final = 3.0

RECONNECT_MAX_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)


class PostgresListener:
    """CommitSignal. `connected` is false while no hints arrive; the feed's slow poll covers that time."""

    def __init__(self) -> None:
        self._raised = asyncio.Event()
        self.connected = False

    async def wait(self) -> None:
        await self._raised.wait()
        self._raised.clear()

    def raise_signal(self, *_: Any) -> None:
        self._raised.set()

    async def run(self, database: Database) -> None:
        """Keep listening until cancelled."""
        while True:
            async for attempt in stamina.retry_context(
                on=_interrupted,
                attempts=None,
                timeout=None,
                wait_initial=0.05,
                wait_max=RECONNECT_MAX_SECONDS,
                wait_jitter=0.2,
            ):
                with attempt:
                    await self._listen(database)

    async def _listen(self, database: Database) -> None:
        """From one connection's beginning to its loss, which is raised."""
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connection = await database.listen(application_name="omnirelay-listener")
        try:
            connection.add_termination_listener(lambda _: lost.cancel())
            await connection.add_listener(CHANNEL, self.raise_signal)
            self.connected = True
            self.raise_signal()
            while True:
                await asyncio.wait([lost], timeout=HEARTBEAT_SECONDS)
                if lost.done():
                    raise ConnectionError("the listening connection was closed")
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_TIMEOUT_SECONDS):
                        await database.look_beside(connection)
                # asyncpg sets no TCP keepalive: a peer that vanished is noticed only by a query. This one makes the
                # checks of a new connection, so a schema that was upgraded meanwhile shows here first.
                async with asyncio.timeout(HEARTBEAT_TIMEOUT_SECONDS):
                    await database.recheck(connection)
        except (StoreError, OSError):
            # The connections that idle in the pools have failed the same way.
            database.drop_idle()
            raise
        finally:
            self.connected = False
            connection.terminate()


@asynccontextmanager
async def listening(database: Database) -> AsyncIterator[PostgresListener]:
    """A listener with a task of its own, which ends with the context."""
    listener = PostgresListener()
    task = asyncio.create_task(listener.run(database), name="omnirelay-listener")
    try:
        yield listener
    finally:
        await end(task)


def _interrupted(error: BaseException) -> bool:
    """True, and logged, for every error but cancellation: a listener that died is silent."""
    if not isinstance(error, Exception):
        return False
    expected = isinstance(error, (StoreError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError))
    reason = str(error) or type(error).__name__
    _log.warning("listening for commits was interrupted (%s); reconnecting", reason, exc_info=not expected)
    return True
