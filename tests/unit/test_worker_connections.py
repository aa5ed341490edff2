"""Connections that a worker is handed: one that it has no room for is offered again, before those that follow."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

from graph.server.worker import _Connections


async def test_one_that_is_not_taken_is_offered_again_and_others_wait_meanwhile() -> None:
    with ExitStack() as stack:
        giving, taking = map(stack.enter_context, socket.socketpair())
        offered: list[int] = []
        taken: list[int] = []
        done = asyncio.Event()

        def adopt(connection: socket.socket) -> bool:
            """A connection by a byte that it has: the first is taken at the third offer."""
            number = connection.recv(1, socket.MSG_PEEK)[0]
            offered.append(number)
            if len(offered) < 3:
                return False
            stack.enter_context(connection)
            taken.append(number)
            if len(taken) == 3:
                done.set()
            return True

        for number in range(3):
            ours, theirs = socket.socketpair()
            stack.enter_context(ours).sendall(bytes([number]))
            socket.send_fds(giving, [b"\0"], [theirs.fileno()])
            theirs.close()
        connections = _Connections(taking)
        connections.take(adopt)
        async with asyncio.timeout(10):
            await done.wait()
        assert offered == [0, 0, 0, 1, 2]
        giving.close()
        async with asyncio.timeout(10):
            await connections.taken()
