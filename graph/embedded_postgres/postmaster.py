"""Whether a PostgreSQL serves a data directory, seen from outside: by its postmaster.pid, its process and its socket.

The files alone prove nothing, since a killed server leaves them behind, and their process id may belong to another
program by now. The format is PostgreSQL's own: `LOCK_FILE_LINE_*` in src/include/utils/pidfile.h.
"""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PORT = 5432
"""Part of the socket's name; no TCP port is opened."""

SOCKET = f".s.PGSQL.{PORT}"

SOCKET_LOCK = f"{SOCKET}.lock"

POLL_SECONDS = 0.02

# Answered with one letter, without a user; the connection may be closed after that.
# https://www.postgresql.org/docs/current/protocol-message-formats.html
_SSL_REQUEST = struct.pack(">ii", 8, 80_877_103)


@dataclass(frozen=True, slots=True)
class PidFile:
    """What a server writes of itself, line by line, so that of a starting one anything may be missing."""

    pid: int
    socket_dir: str
    status: str

    @property
    def answers(self) -> bool:
        """Whether it replies. A connection alone proves nothing: a killed server accepts some until it is gone."""
        if self.status != "ready":
            return False
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(1)
            client.connect(f"{self.socket_dir}/{SOCKET}")
            client.sendall(_SSL_REQUEST)
            return bool(client.recv(1))
        return False


def read_pid_file(cluster: Path) -> PidFile | None:
    """What lies in the data directory, true or not."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    lines += [""] * (8 - len(lines))
    return PidFile(pid=int(lines[0]) if lines[0].isdecimal() else 0, socket_dir=lines[4], status=lines[7].strip())


def serves(pid: int, cluster: Path) -> bool:
    """Whether that process is, now, the server of that data directory, or about to become it."""
    return exists(pid) and os.fsencode(cluster) in _command_line(pid)


def exists(pid: int) -> bool:
    """Whether there is such a process, be it a zombie. A child of this process that has ended is reaped first."""
    if pid <= 0:
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def shut_down(cluster: Path, deadline: float) -> bool:
    """Stop the server, if there is one, "fast": open transactions are rolled back, everything is written out.

    False if it is still there at the deadline (of `time.monotonic`).
    """
    found = read_pid_file(cluster)
    if found is None or not serves(found.pid, cluster):
        return True
    os.kill(found.pid, signal.SIGINT)
    if not wait_until(lambda: not serves(found.pid, cluster), deadline):
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(found.pid, 0)  # it has lost its command line, but may not have exited quite yet
    if Path(found.socket_dir).parent != cluster.parent:
        with contextlib.suppress(OSError):
            Path(found.socket_dir).rmdir()
    return True


def wait_until(condition: Callable[[], bool], deadline: float) -> bool:
    """Whether it does before the deadline (of `time.monotonic`)."""
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _command_line(pid: int) -> bytes:
    """Empty for a zombie, and when there is no such process."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        return b""
    else:  # noqa: RET505 - mypy calls it unreachable on Linux otherwise
        command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, check=False).stdout  # noqa: S603 - nothing of it is from outside
