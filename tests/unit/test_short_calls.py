"""System calls on sockets that are made without giving the interpreter to another thread."""

from __future__ import annotations

import itertools
import select
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from graph.server.short_calls import accept, close, has_left, peer_of

_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are those of socket")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6, socket.AF_UNIX], ids=["IPv4", "IPv6", "a path"])
def listener(
    request: pytest.FixtureRequest, stack: ExitStack, tmp_path_factory: pytest.TempPathFactory
) -> socket.socket:
    listener = stack.enter_context(socket.socket(request.param))
    addresses: dict[int, str | tuple[str, int]] = {socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}
    try:
        listener.bind(addresses.get(request.param) or str(tmp_path_factory.mktemp("s") / "s"))
    except OSError:
        pytest.skip("this machine has no such addresses")
    listener.listen()
    listener.settimeout(0.0)
    return listener


def client(stack: ExitStack, listener: socket.socket) -> socket.socket:
    connection = stack.enter_context(socket.socket(listener.family))
    connection.connect(listener.getsockname())
    return connection


def test_connections_are_accepted_in_turn_and_do_not_block(stack: ExitStack, listener: socket.socket) -> None:
    for name in (b"1", b"2"):
        client(stack, listener).sendall(name)
    accepted = [stack.enter_context(accept(listener)) for _ in range(2)]
    assert [each.recv(9) for each in accepted] == [b"1", b"2"]
    assert [(each.family, each.type) for each in accepted] == [(listener.family, socket.SOCK_STREAM)] * 2
    assert not any(each.get_inheritable() for each in accepted)
    with pytest.raises(BlockingIOError):
        accepted[0].recv(9)
    with pytest.raises(BlockingIOError):
        accept(listener)


def test_a_listener_that_was_closed_accepts_nothing() -> None:
    with socket.socket() as listener:
        listener.settimeout(0.0)
        with pytest.raises(OSError, match="argument"):
            accept(listener)


def test_the_address_of_a_client_is_the_same_for_each_of_its_connections(
    stack: ExitStack, listener: socket.socket
) -> None:
    names = set()
    for _ in range(2):
        client(stack, listener)
        names.add(peer_of(stack.enter_context(accept(listener))))
    assert len(names) == 1
    if listener.family == socket.AF_UNIX:
        assert names == {b""}
    elif sys.platform == "linux":
        assert names == {socket.inet_pton(listener.family, listener.getsockname()[0])}


def test_one_that_is_not_connected_has_no_address() -> None:
    with socket.socket() as connection:
        assert peer_of(connection) is None


@pytest.mark.skipif(not hasattr(select, "POLLRDHUP"), reason="only Linux tells")
def test_a_client_that_has_left_is_told_from_one_that_is_silent(stack: ExitStack, listener: socket.socket) -> None:
    leaving, _staying = client(stack, listener), client(stack, listener)
    leaving.sendall(b"what it has sent is not read before")
    left, stayed = (stack.enter_context(accept(listener)) for _ in range(2))
    assert (has_left(left), has_left(stayed)) == (False, False)
    leaving.close()
    assert (has_left(left), has_left(stayed)) == (True, False)


def test_a_connection_is_closed(stack: ExitStack, listener: socket.socket) -> None:
    other = client(stack, listener)
    connection = accept(listener)
    close(connection)
    assert connection.fileno() == -1
    assert other.recv(1) == b""
    close(connection)


@_LINUX
def test_another_thread_does_not_run_meanwhile(stack: ExitStack) -> None:
    """It would have the interpreter for as long as it computes, or for the switch interval."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))
    for _ in range(200):
        client(stack, listener)
    interval, count, ends = sys.getswitchinterval(), itertools.count(), threading.Event()

    def compute() -> None:
        while not ends.is_set():
            next(count)

    computing = threading.Thread(target=compute)
    try:
        sys.setswitchinterval(0.5)
        computing.start()  # waits, and has the interpreter again after an interval, for another one
        before = next(count)
        for _ in range(200):
            connection = accept(listener)
            peer_of(connection)
            has_left(connection)
            close(connection)
        after = next(count)
    finally:
        ends.set()
        sys.setswitchinterval(interval)
        computing.join()
    assert after == before + 1
