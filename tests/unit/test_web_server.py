"""How the web server begins to serve a connection that was accepted."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.datastructures import State

from graph.server.web_server import WebServer
from graph.settings import load_settings


@pytest.fixture
def server() -> WebServer:
    app = Starlette()
    app.state = State({"kept_answers": None})
    return WebServer(app, load_settings(None, {}), lambda: None)


def adopting(monkeypatch: pytest.MonkeyPatch, connect: Any) -> None:
    """What the event loop does with a connection."""
    monkeypatch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", connect, raising=False)


async def test_a_connection_is_begun_in_the_turn_in_which_it_comes(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[socket.socket] = []

    async def connect(_: object, connection: socket.socket) -> None:
        begun.append(connection)
        await asyncio.sleep(0)

    adopting(monkeypatch, connect)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert server.adopt(ours)
        assert begun == [ours]
        await asyncio.sleep(0)


@pytest.mark.parametrize(("error", "logged"), [(OSError(), 0), (MemoryError(), 1)])
async def test_a_connection_that_cannot_be_served_is_closed_and_ends_nothing_else(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, logged: int
) -> None:
    async def connect(*_: object) -> None:
        raise error

    adopting(monkeypatch, connect)
    ours, theirs = socket.socketpair()
    with ours, theirs, caplog.at_level(logging.ERROR):
        assert server.adopt(ours)
        assert ours.fileno() == -1
    assert [record.message for record in caplog.records] == ["A connection cannot be served"] * logged
