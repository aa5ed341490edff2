"""The LISTEN connection: one per process, outside the pool, watched, and replaced when it dies.

A notification says only that something was committed; what, is read from history. So this may lose, double or delay
hints without harm, as long as it never stays silent about a gap: each time it is connected anew it raises the
signal, because anything may have happened meanwhile.
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

HEARTBEAT_SECONDS: Final = 5.0

HEARTBEAT_TIMEOUT_SECONDS: Final = 3.0

RECONNECT_MAX_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)


class PostgresListener:
    """CommitSignal. `connected` is false while hints cannot arrive; the feed's slow poll covers that time."""

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
        """One connection's life. Raises when it is lost."""
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
                # asyncpg sets no TCP keepalive: a peer that vanished is noticed only by asking it something. And what
                # is asked is what a new connection is: a schema that was upgraded meanwhile shows here first.
                async with asyncio.timeout(HEARTBEAT_TIMEOUT_SECONDS):
                    await database.recheck(connection)
        except (StoreError, OSError):
            # What is wrong with this connection is wrong with those that idle in the pools.
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
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _interrupted(error: BaseException) -> bool:
    """Whatever it was, listening begins anew: a listener that died is silent. Only being cancelled ends it."""
    if not isinstance(error, Exception):
        return False
    expected = isinstance(error, (StoreError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError))
    reason = str(error) or type(error).__name__
    _log.warning("listening for commits was interrupted (%s); reconnecting", reason, exc_info=not expected)
    return True
