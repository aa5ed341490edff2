"""Processes that have the program imported when they begin: importing takes a second of a processor, forking 20 ms.

A fork server is a process that imports what `omnirelay serve` does, and waits. For each process that is started it
forks itself; the child takes over the environment and the files it is given, and runs a module's `main` as an
interpreter of its own would.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final

from tests.support.fork_client import request_fork

PROGRAM: Final = ("graph.cli",)
"""`omnirelay`, for `fork`."""

ROOT: Final = Path(__file__).parents[2]
_SERVER: Final = "import sys; from tests.support.fork_server import serve_forks; serve_forks(int(sys.argv[1]))()"
_IMPORTED: Final = (
    "alembic.command",
    "graph.cli.serve",
    "graph.http.app",
    "graph.server.lifecycle",
    "graph.server.web_server",
    "migrations",
    "uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "websockets.asyncio.server",
)


class ForkedProcess:
    """As `subprocess.Popen`, of a child of the fork server."""

    def __init__(self, status: socket.socket) -> None:
        self._status = status
        self._received = b""
        self.pid = int(self._next_line(None) or 0)
        self.returncode: int | None = None
        """As of `Popen`: negative for the signal that ended it."""

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Raises TimeoutError after that many seconds."""
        if (returncode := self._ended(timeout)) is None:
            raise TimeoutError
        return returncode

    async def ended(self) -> int:
        """The same, once it has ended."""
        if self.poll() is None:
            loop, ready = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(self._status, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(self._status)
        return self.wait()

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and (line := self._next_line(timeout)) is not None:
            self.returncode = int(line)
            self._status.close()
        return self.returncode

    def _next_line(self, timeout: float | None) -> bytes | None:
        """What the fork server sends of the process: its id, then its exit code."""
        while b"\n" not in self._received:
            if not select.select([self._status], [], [], timeout)[0]:
                return None
            received = self._status.recv(64)
            if not received:
                raise RuntimeError("the fork server has ended")
            self._received += received
        line, _, self._received = self._received.partition(b"\n")
        return line


def fork(
    program: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: int,
    stdout: int,
    stderr: int,
) -> ForkedProcess:
    """Run `main` of a module, in a process of its own: the module's name, then its arguments. Files are descriptors."""
    return ForkedProcess(request_fork(fork_server(), program, environment, str(ROOT), [stdin, stdout, stderr]))


@cache
def fork_server() -> socket.socket:
    """The control socket of this process's fork server, which ends with it."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", _SERVER, str(theirs.fileno())],
            cwd=ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a process with threads had better not fork
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def serve_forks(control: int) -> Callable[[], None]:
    """Returns in each child, with what it is to run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    for name in _IMPORTED:
        import_module(name)
    gc.freeze()
    gc.enable()
    return _Forks(control).serve()


class _Forks:
    def __init__(self, control: int) -> None:
        self._control = socket.socket(fileno=control)
        self._wakeup, wakeup = socket.socketpair()
        wakeup.settimeout(0)  # as a handler of signals needs it
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._wakeups = wakeup
        self._running: dict[int, socket.socket] = {}

    def serve(self) -> Callable[[], None]:
        while True:
            ready, _, _ = select.select([self._control, self._wakeup], [], [])
            if self._wakeup in ready:
                self._wakeup.recv(4_096)
                self._reap()
            if self._control in ready:
                message, files, _, _ = socket.recv_fds(self._control, 1, 4)
                if not message:
                    return lambda: None
                if (child := self._fork(files)) is not None:
                    return child

    def _fork(self, files: Sequence[int]) -> Callable[[], None] | None:
        *standard, status = files
        pid = os.fork()
        if pid == 0:
            return self._child(standard, socket.socket(fileno=status))
        for file in standard:
            os.close(file)
        self._running[pid] = socket.socket(fileno=status)
        self._running[pid].sendall(b"%d\n" % pid)
        return None

    def _reap(self) -> None:
        for pid in list(self._running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with self._running.pop(pid) as client, suppress(BrokenPipeError):
                    client.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))

    def _child(self, standard: Sequence[int], status: socket.socket) -> Callable[[], None]:
        """What an interpreter of its own would begin with."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for inherited in (self._control, self._wakeup, self._wakeups, *self._running.values()):
            inherited.close()
        with status, status.makefile("rb") as stream:
            request = json.load(stream)
        for number, file in enumerate(standard):
            os.dup2(file, number)
            os.close(file)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        time.tzset()
        sys.argv = request["program"]
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - lives as long as the process
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - same
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115 - same
        main: Callable[[], None] = import_module(sys.argv[0]).main
        return main
