"""Requests to a fork server, of tests and of scripts that stand in for `omnirelay`. Few imports: scripts start soon."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

CONTROL: Final = "TESTS_FORK_SERVER"
"""Names the descriptor of the fork server's socket in the environment of such a script."""

_SCRIPT: Final = f"""#!{sys.executable} -ES
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.support.fork_client import main
main()
"""


def request_fork(
    control: socket.socket, program: Sequence[str], environment: Mapping[str, str], folder: str, files: Sequence[int]
) -> socket.socket:
    """The socket over which the id of the process comes, then its exit code: a line each. Files are the descriptors of
    its standard input, output and error."""
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(control, [b"f"], [*files, theirs.fileno()])
    ours.sendall(json.dumps({"program": program, "environment": dict(environment), "folder": folder}).encode())
    ours.shutdown(socket.SHUT_WR)
    return ours


def write_script(path: Path, program: str) -> None:
    """A script that runs a module's `main` in a fork, with the script's arguments, environment, folder and files."""
    path.write_text(_SCRIPT.replace("main()", f"main({program!r})"))
    path.chmod(0o755)


def main(program: str) -> NoReturn:
    environment = dict(os.environ)
    with socket.socket(fileno=int(environment.pop(CONTROL))) as control:
        status = request_fork(control, [program, *sys.argv[1:]], environment, str(Path.cwd()), range(3))
    with status, status.makefile() as lines:
        _, code = lines
    sys.exit(int(code))
