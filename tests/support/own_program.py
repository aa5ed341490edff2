"""Programs that are not the project's, such as a proxy: whether one is here, and running it for a while."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SECONDS: Final = 20


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def running(folder: Path, *command: str | Path, port: int) -> Iterator[None]:
    """A program, until it listens and to the end of the context."""
    log = folder / "output"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - found above
            list(map(str, command)), stdout=output, stderr=output, env={**os.environ, "HOME": str(folder)}
        )
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)
