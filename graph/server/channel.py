"""Calls between the supervisor and a worker, in both directions over one stream socket.

Either end calls methods of the other by name. Messages are pickled, each after its length in four bytes: both ends are
processes of one program, and nothing else can reach a socket pair.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

_LENGTH: Final = struct.Struct("!I")

_CALL, _CANCEL, _RETURN, _RAISE = range(4)

Methods: TypeAlias = Mapping[str, Callable[..., Awaitable[Any]]]


class ChannelClosed(ConnectionError):
    """The process at the other end has ended, or ends."""


class Channel:
    """One end. `run` reads what arrives: without it no call is answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, methods: Methods) -> None:
        self._reader = reader
        self._writer = writer
        self._methods = methods
        self._number = 0
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._closed = False

    @classmethod
    async def open(cls, end: socket.socket, methods: Methods) -> Channel:
        """`methods` are what the other end may call: coroutine functions by name."""
        end.settimeout(0.0)
        return cls(*await asyncio.open_unix_connection(sock=end), methods)

    async def call(self, method: str, *arguments: Any) -> Any:
        """What the method returns. Raises what it raises, and ChannelClosed. Cancelled, it is cancelled there, too."""
        if self._closed:
            raise ChannelClosed
        self._number = number = self._number + 1
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            await self._send(_CALL, number, (method, arguments))
            return await future
        except asyncio.CancelledError:
            if not self._closed:
                self._write(_CANCEL, number, None)
            raise
        finally:
            del self._calls[number]

    async def run(self) -> None:
        """Until the other end is closed. Calls that wait then raise ChannelClosed, those that run are cancelled."""
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                    self._received(*pickle.loads(await self._reader.readexactly(length)))  # noqa: S301 - see above
        finally:
            self._closed = True
            for future in self._calls.values():
                if not future.done():
                    future.set_exception(ChannelClosed())
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)
            self._writer.close()

    def _received(self, kind: int, number: int, content: Any) -> None:
        if kind == _CALL:
            self._running[number] = asyncio.create_task(self._answer(number, *content))
        elif kind == _CANCEL:
            if (task := self._running.get(number)) is not None:
                task.cancel()
        elif (future := self._calls.get(number)) is not None and not future.done():
            if kind == _RETURN:
                future.set_result(content)
            else:
                future.set_exception(content)

    async def _answer(self, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        try:
            content = await self._methods[method](*arguments)
        except Exception as error:  # noqa: BLE001 - raised where it was called
            await self._send(_RAISE, number, error)
        else:
            await self._send(_RETURN, number, content)
        finally:
            del self._running[number]

    async def _send(self, kind: int, number: int, content: Any) -> None:
        """Raises ChannelClosed."""
        self._write(kind, number, content)
        try:
            await self._writer.drain()
        except ConnectionError:
            raise ChannelClosed from None

    def _write(self, kind: int, number: int, content: Any) -> None:
        message = pickle.dumps((kind, number, content), pickle.HIGHEST_PROTOCOL)
        self._writer.write(_LENGTH.pack(len(message)) + message)
