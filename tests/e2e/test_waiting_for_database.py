"""`omnirelay serve --wait-for-database`: a server that is started before its database."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from migrations import upgrade
from tests.support.command_line import omnirelay, started
from tests.support.own_postgres import OwnPostgres


@pytest.fixture
def stopped(tmp_path: Path) -> OwnPostgres:
    """A migrated database that is not up."""
    server = OwnPostgres.start(tmp_path / "data")
    asyncio.run(upgrade(server.url))
    server.stop()
    return server


def test_a_server_waits_for_a_database_that_is_not_up_yet(stopped: OwnPostgres) -> None:
    arguments = ("serve", "--port", 0, "--database-url", stopped.url, "--wait-for-database", 60)
    with started(*arguments) as server:
        assert "s at most" in server.message_with("Waiting for the database")
        stopped.restart()
        try:
            assert server.line().startswith("GraphiQL")
            server.send(signal.SIGTERM)
            assert server.finish().exit == 0
        finally:
            stopped.stop()


def test_waiting_ends(stopped: OwnPostgres) -> None:
    arguments = ("serve", "--port", 0, "--database-url", stopped.url)
    for more in ((), ("--wait-for-database", 0.2)):
        answer = omnirelay(*arguments, *more)
        assert answer.exit == 1
        assert "The server cannot run: the database cannot be reached: " in answer.err


def test_what_waiting_does_not_mend_is_told_at_once(stopped: OwnPostgres) -> None:
    stopped.restart()
    try:
        url = stopped.url.replace("postgres@", "nobody-we-know@")
        answer = omnirelay("serve", "--port", 0, "--database-url", url, "--wait-for-database", 60)
        assert answer.exit == 1
        assert 'role "nobody-we-know" does not exist' in answer.err
        assert "Waiting" not in answer.err
    finally:
        stopped.stop()
