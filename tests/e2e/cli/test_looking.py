"""Commands on the database itself: they look at what is there, make nothing, and leave no PostgreSQL behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from graph.cli import offline
from graph.cli.errors import Exit
from graph.cli.offline import run_on_database
from graph.embedded_postgres.server import start_embedded_postgres
from tests.support.command_line import omnirelay

LOOKING = {
    "check": ("db", "check"),
    "compact": ("db", "compact", "--before", "1", "--reason", "old", "--dry-run"),
    "really compact": ("db", "compact", "--before", "1", "--reason", "old"),
    "new epoch": ("db", "new-epoch"),
    "verify": ("mesh", "audit", "verify"),
    "export": ("mesh", "audit", "export"),
    "check the audit": ("mesh", "audit", "check"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store of an embedded PostgreSQL that does not run."""
    folder = tmp_path_factory.mktemp("store")
    assert omnirelay("db", "upgrade", "--data-dir", folder).exit == Exit.OK
    return folder


@pytest.fixture
def stopped(store: Path) -> Iterator[Path]:
    """The same, which has to be stopped again in the end."""
    yield store
    assert not (store / "postgres" / "cluster" / "postmaster.pid").exists()


@pytest.mark.parametrize("arguments", LOOKING.values(), ids=LOOKING.keys())
def test_in_a_folder_without_a_store_nothing_is_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    for folder in (tmp_path / "missing", tmp_path):
        answer = omnirelay(*arguments, "--data-dir", folder)
        assert (answer.exit, answer.out) == (Exit.NOT_FOUND, "")
        assert answer.err.startswith(f"There is no store in {folder}.\n")
        assert not list(tmp_path.iterdir())


def test_beside_a_running_server_nothing_is_started_or_stopped(stopped: Path) -> None:
    server = start_embedded_postgres(stopped)
    try:
        for name in ("check", "verify", "check the audit"):
            answer = omnirelay(*LOOKING[name], "--data-dir", stopped)
            assert (answer.exit, "PostgreSQL" in answer.err) == (Exit.OK, False), answer.err
        assert server.is_running()
    finally:
        server.stop()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class InterruptedLog:
    """Progress, and Ctrl-C three times at one step of it."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.came = False

    def __call__(self, step: str) -> None:
        if step.startswith(self.step):
            self.came = True
            for _ in range(3):
                interrupt()


@pytest.mark.parametrize("step", ["Starting PostgreSQL", "Stopping PostgreSQL"])
def test_ctrl_c_while_postgresql_starts_or_stops_leaves_none_behind(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    log = InterruptedLog(step)
    monkeypatch.setattr(offline, "StepLog", lambda: log)

    async def work(url: str) -> None:
        assert url

    with pytest.raises(KeyboardInterrupt):
        run_on_database(None, stopped, None, work)
    assert log.came


def test_ctrl_c_while_a_first_start_makes_the_store_leaves_no_server_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "StepLog", lambda: InterruptedLog("Starting PostgreSQL"))

    async def work(_url: str) -> None:
        raise AssertionError("the start was given up")

    with pytest.raises(KeyboardInterrupt):
        run_on_database(None, tmp_path, None, work, create=True)
    assert not (tmp_path / "postgres" / "cluster" / "postmaster.pid").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_command_works_ends_it_and_stops_postgresql(stopped: Path, number: signal.Signals) -> None:
    async def work(_url: str) -> None:
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        run_on_database(None, stopped, None, work)


def test_a_second_ctrl_c_ends_work_that_does_not_give_way_and_postgresql_is_stopped_all_the_same(stopped: Path) -> None:
    async def work(_url: str) -> None:
        for _ in range(2):
            interrupt()
        raise AssertionError("the second one interrupts")

    with pytest.raises(KeyboardInterrupt):
        run_on_database(None, stopped, None, work)
