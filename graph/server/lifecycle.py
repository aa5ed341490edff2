"""A run of a server that is one process: address, services (`composition`), demo, declared namespaces, web server,
opened in this order; closed in the reverse. The address is bound first, so that a port that is taken is reported before
anything is started. With more workers than one it is a `supervisor` that runs.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from graph.auth.tokens import authentication
from graph.logs import log_to_stderr
from graph.server.composition import Progress, open_services
from graph.server.demo import load_demo
from graph.server.descriptors import raise_file_limit
from graph.server.namespace_sync import syncing_namespaces
from graph.server.process import (
    ServerRun,
    added_documents,
    bound_socket,
    import_web,
    loop_factory,
    serving_from,
    url_of,
)
from graph.settings import Settings

if TYPE_CHECKING:
    from graph.server.web_server import WebServer

_log = logging.getLogger(__name__)


def serve_until_stopped(
    settings: Settings,
    config: Path | None,
    *,
    reread: Callable[[], Settings],
    progress: Progress,
    announce: Callable[[str], None],
) -> None:
    """Returns when the server was stopped by SIGINT or SIGTERM. Raises CannotStart.

    `config` is the file the settings were read from: the namespaces it declares are followed while the server runs.
    `reread` is called for the settings that workers are restarted with, and raises SettingsError. `progress` is called
    with each step, `announce` with the server's URL once it listens. The garbage collector may be off, and is on once
    everything is imported.
    """
    log_to_stderr(settings.log_level, settings.log_format)
    raise_file_limit()
    run: ServerRun
    if settings.workers == 1:
        run = _SingleProcess(settings, config, progress, announce)
    else:
        from graph.server.supervisor import Supervisor  # noqa: PLC0415 - a server of one process need not load it

        run = Supervisor(settings, config, reread, progress, announce)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(run.run())
    finally:
        gc.enable()


class _SingleProcess(ServerRun):
    def __init__(
        self, settings: Settings, config: Path | None, progress: Progress, announce: Callable[[str], None]
    ) -> None:
        super().__init__(progress)
        self._settings = settings
        self._config = config
        self._announce = announce
        self._server: WebServer | None = None

    async def _serve(self) -> None:
        settings = self._settings
        callers = authentication(settings)
        added = added_documents(settings)
        async with AsyncExitStack() as stack:
            listener = bound_socket(settings.host, settings.port)
            stack.callback(listener.close)
            web = asyncio.get_running_loop().run_in_executor(None, import_web)
            services = await stack.enter_async_context(open_services(settings, self._progress))
            if settings.loads_demo:
                await load_demo(services.store, services.writer, self._progress)
            if self._config is not None:
                following = syncing_namespaces(
                    self._config, services.store.namespaces, services.writer, services.strategies
                )
                await stack.enter_async_context(following)
            await web
            serving = serving_from(services, settings, callers, added, lambda: self._announce(url_of(listener)))
            self._server = await stack.enter_async_context(serving)
            await self._server.serve([listener])

    def _stop(self, task: asyncio.Task[None]) -> None:
        """A signal came. The second one while requests are being waited for stops the waiting."""
        repeated, self._stopping = self._stopping, True
        if self._server is not None:
            self._server.should_exit = True
            self._server.force_exit = repeated
            self._progress("Stopping at once" if repeated else "Stopping; requests under way are finished")
        else:
            task.cancel()

    def _reload(self) -> None:
        _log.warning("SIGHUP restarts workers one after the other, and this server has none beside it (--workers)")
