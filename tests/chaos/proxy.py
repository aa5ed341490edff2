"""A TCP proxy that can go silent: connections stay open and nothing comes through, as behind a firewall that forgot."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, TypeAlias, cast

Target: TypeAlias = str | int
"""Where connections lead: the path of a Unix socket, or a TCP port of this machine."""

Rewrite: TypeAlias = Callable[[bytes], bytes]

# Small, so that a client that does not read is soon felt by the server behind the proxy.
_BUFFER_BYTES: Final = 65_536


class Proxy:
    """Listens on a port of its own from `start` to `stop`. `target` may change; connections keep the one they have.

    `inspect` sees the first bytes of each connection, and may answer with what rewrites the bytes that come back.
    """

    def __init__(self, inspect: Callable[[bytes], Rewrite | None] = lambda _: None) -> None:
        self.target: Target | None = None
        self.inspect = inspect
        self.silent = False
        self.links: set[Link] = set()
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self.port = listener.getsockname()[1]
        self._server = await asyncio.get_running_loop().create_server(lambda: Link(self).near, sock=listener)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()

    def go_silent(self) -> None:
        """From now on nothing comes through, in either direction, and no connection is closed over it."""
        self.silent = True
        for link in self.links:
            link.mute()

    def speak(self) -> None:
        """New connections work again. Those that were silent stay so for their clients, until these give up;
        their far ends are closed, as the keepalive of a server closes them.
        """
        self.silent = False
        for link in [link for link in self.links if link.muted]:
            link.far.abort()

    def cut(self) -> None:
        for link in list(self.links):
            link.abort()


class Link:
    """One connection: `near` is the client, `far` is the target."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.near = Half(self)
        self.far = Half(self)
        self.near.other, self.far.other = self.far, self.near
        self.muted = False
        self._connecting: asyncio.Task[None] | None = None

    def opened(self, half: Half) -> None:
        if half is self.far:
            return
        self._proxy.links.add(self)
        if self._proxy.silent:
            self.mute()
        else:
            self._connecting = asyncio.create_task(self._connect())

    def lost(self, half: Half) -> None:
        if half is self.near:
            self._proxy.links.discard(self)
            self.far.abort()
        elif not self.muted:
            self.near.close()

    def mute(self) -> None:
        """Nothing is read any more, so that a sender finds, in the end, that nothing leaves."""
        self.muted = True
        for half in (self.near, self.far):
            half.pause_reading()

    def abort(self) -> None:
        self.near.abort()
        self.far.abort()

    def inspected(self, data: bytes) -> None:
        self.far.rewrite = self._proxy.inspect(data)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        target = self._proxy.target
        assert target is not None
        try:
            if isinstance(target, str):
                await loop.create_unix_connection(lambda: self.far, target)
            else:
                await loop.create_connection(lambda: self.far, "127.0.0.1", target)
        except OSError:
            self.near.abort()


class Half(asyncio.Protocol):
    """One of a link's two sockets. What it receives goes to the other one."""

    other: Half

    def __init__(self, link: Link) -> None:
        self._link = link
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._inspected = False
        self._ended = False
        self.rewrite: Rewrite | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        if self._ended:
            self._transport.abort()
            return
        self._link.opened(self)
        for data in self._early:
            self._transport.write(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self._link.muted:
            return
        if self is self._link.near and not self._inspected:
            self._inspected = True
            self._link.inspected(data)
        self.other.send(data if self.rewrite is None else self.rewrite(data))

    def send(self, data: bytes) -> None:
        if self._transport is None:
            self._early.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self._link.lost(self)

    def pause_writing(self) -> None:
        self.other.pause_reading()

    def resume_writing(self) -> None:
        if not self._link.muted:
            self.other.resume_reading()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Once what is on its way has been sent."""
        self._ended = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        self._ended = True
        if self._transport is not None:
            self._transport.abort()
