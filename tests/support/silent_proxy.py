"""A way to a server that can go dead without either end hanging up, as behind a firewall that forgot the connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class SilentProxy:
    """Once `dead`, bytes of the connections there are go nowhere; new ones are served."""

    url: str
    _lanes: list[threading.Event] = field(default_factory=list)

    def lane(self) -> threading.Event:
        dead = threading.Event()
        self._lanes.append(dead)
        return dead

    def cut(self) -> None:
        for dead in self._lanes:
            dead.set()


@contextmanager
def silent_proxy(server: str) -> Iterator[SilentProxy]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="silent-proxy")
    thread.start()
    target = urlsplit(server)
    proxy = SilentProxy("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(target.hostname, target.port)
        dead = proxy.lane()
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(_forward(reader, back, dead), _forward(there, writer, dead))
        for end in (writer, back):
            end.close()

    async def stop() -> None:
        listener.close()
        # Until there are none: a connection that was on its way begins to be served meanwhile.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    listener = asyncio.run_coroutine_threadsafe(asyncio.start_server(serve, "127.0.0.1", 0), loop).result()
    proxy.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dead: threading.Event) -> None:
    while data := await reader.read(65_536):
        if not dead.is_set():
            writer.write(data)
            await writer.drain()
    if not dead.is_set():
        writer.close()
