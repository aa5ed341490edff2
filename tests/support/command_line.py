"""The command line, run in this process or in one of its own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from unittest import mock

from graph.cli.program import run

ROOT: Final = Path(__file__).parents[2]
# A shell that runs the tests in the background has them ignore SIGINT, and so would what they start: Ctrl-C must mean
# the same here wherever the tests run.
_PROGRAM: Final = (
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from graph.cli import main; main()",
)


@dataclass(frozen=True)
class Answer:
    exit: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one document there is."""
        (document,) = self.documents
        return document

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def omnirelay(*arguments: object, stdin: bytes = b"") -> Answer:
    """Run a command here and now."""
    out, err = io.StringIO(), io.StringIO()
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin))),
    ):
        code = run([str(argument) for argument in arguments])
    return Answer(int(code), out.getvalue(), err.getvalue())


class Running:
    """A command in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line(self) -> str:
        """The next line on stdout."""
        return _line(self._process.stdout)

    def message(self) -> str:
        """The next line on stderr."""
        return _line(self._process.stderr)

    def message_with(self, words: str) -> str:
        """The next line on stderr that contains this; those before it are skipped."""
        while words not in (message := self.message()):
            pass
        return message

    def stop_reading(self) -> None:
        """As `head` does when it has seen enough."""
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.stdout = None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def finish(self) -> Answer:
        """Waits for its end. What was not read yet."""
        out, err = self._process.communicate()
        return Answer(self._process.returncode, out or "", err)


@contextmanager
def started(*arguments: object, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """The command; killed in the end if it still runs. A server has no processes beside it unless it is told to: each
    takes a second or two of a processor to start."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [*_PROGRAM, *map(str, arguments)],
        cwd=ROOT,
        env={"OMNIRELAY_PLAN_PROCESSES": "0", **os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def _line(stream: IO[str] | None) -> str:
    assert stream is not None
    line = stream.readline()
    assert line, "the process ended, or closed its output"
    return line.rstrip("\n")
