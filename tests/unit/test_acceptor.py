"""Connections of one listening socket: accepted many in a turn of the event loop, handed to workers in turn."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from graph.server import acceptor as acceptor_module
from graph.server.acceptor import Acceptor, WorkerAcceptor


class Worker:
    def __init__(self, stack: ExitStack) -> None:
        giving, taking = socket.socketpair()
        self.giving = stack.enter_context(giving)
        self.taking = stack.enter_context(taking)
        self.taking.settimeout(0)

    async def taken(self) -> socket.socket:
        await readable(self.taking)
        message, (file,), _, _ = socket.recv_fds(self.taking, 1, 1)
        assert message == b"\0"
        return socket.socket(fileno=file)

    def has_one(self) -> bool:
        try:
            return bool(self.taking.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False


async def readable(end: socket.socket) -> None:
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(end, event.set)
    await event.wait()
    loop.remove_reader(end)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def listener(stack: ExitStack) -> socket.socket:
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    return listener


def client(stack: ExitStack, listener: socket.socket, name: bytes) -> None:
    """A connection that this is sent over."""
    connection = stack.enter_context(socket.create_connection(listener.getsockname()))
    connection.sendall(name)


async def names(worker: Worker, count: int) -> list[bytes]:
    """Of the clients whose connections the worker is handed next."""
    found = []
    for _ in range(count):
        with await worker.taken() as connection:
            found.append(connection.recv(64))
    return found


async def test_workers_take_connections_in_turn(stack: ExitStack, listener: socket.socket) -> None:
    first, second = Worker(stack), Worker(stack)
    acceptor = WorkerAcceptor(listener)
    acceptor.add(first.giving)
    acceptor.add(second.giving)
    acceptor.listen()
    for number in range(16):
        client(stack, listener, b"%d" % number)
    assert await names(first, 8) == [b"%d" % number for number in range(0, 16, 2)]
    assert await names(second, 8) == [b"%d" % number for number in range(1, 16, 2)]
    acceptor.close()


async def test_a_worker_that_has_ended_or_left_is_passed_over(stack: ExitStack, listener: socket.socket) -> None:
    workers = [Worker(stack) for _ in range(3)]
    acceptor = WorkerAcceptor(listener)
    for worker in workers:
        acceptor.add(worker.giving)
    acceptor.listen()
    workers[0].taking.close()
    acceptor.remove(workers[1].giving)
    for number in range(4):
        client(stack, listener, b"%d" % number)
    assert await names(workers[2], 4) == [b"0", b"1", b"2", b"3"]
    assert not workers[1].has_one()
    acceptor.close()


async def test_connections_wait_while_no_worker_takes_them(stack: ExitStack, listener: socket.socket) -> None:
    gone, late = Worker(stack), Worker(stack)
    acceptor = WorkerAcceptor(listener)
    acceptor.add(gone.giving)
    acceptor.listen()
    gone.taking.close()
    client(stack, listener, b"early")
    await readable(listener)
    acceptor.remove(gone.giving)
    acceptor.add(late.giving)
    client(stack, listener, b"later")
    assert sorted(await names(late, 2)) == [b"early", b"later"]
    acceptor.close()


async def test_before_it_listens_clients_are_refused(stack: ExitStack, listener: socket.socket) -> None:
    acceptor = WorkerAcceptor(listener)
    acceptor.add(Worker(stack).giving)
    with pytest.raises(ConnectionRefusedError):
        client(stack, listener, b"too early")
    acceptor.close()


async def test_what_waits_is_accepted_many_in_a_turn_and_what_is_behind_it_soon(
    stack: ExitStack, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(acceptor_module, "perf_counter", lambda: next(ticks) * 2**-16)
    many = int(acceptor_module._ACCEPTING_SECONDS * 2**16)  # noqa: SLF001 - 15 us each, whatever the machine takes
    turns: list[int] = []

    async def count() -> None:
        while True:
            turns.append(0)
            await asyncio.sleep(0)

    taken = asyncio.Event()

    def take(connection: socket.socket) -> bool:
        stack.enter_context(connection)
        turns[-1] += 1
        if sum(turns) == 300:
            taken.set()
        return True

    listener.listen(512)
    for _ in range(300):
        client(stack, listener, b"")
    acceptor = Acceptor(listener, take)
    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    acceptor.listen()
    async with asyncio.timeout(10):
        await taken.wait()
    counting.cancel()
    acceptor.close()
    assert max(turns) == many  # so that the loop goes on
    assert sum(accepted > 0 for accepted in turns) == -(-300 // many)


async def test_what_is_not_taken_is_offered_again(stack: ExitStack, listener: socket.socket) -> None:
    offered, taken = 0, asyncio.Event()

    def take(connection: socket.socket) -> bool:
        nonlocal offered
        offered += 1
        if offered < 3:
            return False
        stack.enter_context(connection)
        taken.set()
        return True

    acceptor = Acceptor(listener, take)
    acceptor.listen()
    client(stack, listener, b"")
    async with asyncio.timeout(10):
        await taken.wait()
    acceptor.close()
    assert offered == 3
