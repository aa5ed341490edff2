"""A server's life: address, database, schema, store, feed, demo, web server; and all of it backwards."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import click

from graph.app import create_app
from graph.cli.exits import Exit, Failure
from graph.cli.listening import bound_socket, url_of
from graph.cli.output import tell
from graph.cli.steps import Steps
from graph.cli.web_server import WebServer
from graph.composition import open_runtime
from graph.settings import Settings
from persistence.errors import StoreError

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def serve_until_stopped(settings: Settings) -> Exit:
    """Returns when the server was stopped by SIGINT or SIGTERM. Raises Failure when it could not start."""
    _log_to_stderr(settings.log_level)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_Life(settings).run())


class _Life:
    """One run of a server, and what a signal means at each point of it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._steps = Steps()
        self._server: WebServer | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    async def run(self) -> Exit:
        loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._live(), name="omnirelay-serve")
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop)
        try:
            await self._task
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        except StoreError as error:
            raise Failure(Exit.NO, f"The server did not start: {error}.") from error
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
        self._steps("Stopped")
        return Exit.OK
