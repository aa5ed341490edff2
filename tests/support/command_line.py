"""The command line, run in this process or in one of its own. What it prints to be typed next is checked wherever it
is printed: see `suggestions`."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import IO, Any, Final, Protocol
from unittest import mock

from graph.cli.program import run
from tests.support import suggestions
from tests.support.fork_server import PROGRAM, ROOT, fork

# A shell that runs the tests in the background has them ignore SIGINT, and so would what they start: Ctrl-C must mean
# the same here wherever the tests run.
_INTERPRETER: Final = (
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
    suggestions.check(out.getvalue(), err.getvalue())
    return Answer(int(code), out.getvalue(), err.getvalue())


class _Process(Protocol):
    """Of an interpreter of its own, or forked."""

    def send_signal(self, number: signal.Signals, /) -> None: ...
    def kill(self) -> None: ...
    def wait(self) -> int: ...


class Running:
    """A command in a process of its own."""

    def __init__(self, process: _Process, out: IO[str], err: IO[str]) -> None:
        self._process = process
        self._out = out
        self._err = err

    def line(self) -> str:
        """The next line on stdout."""
        return _line(self._out)

    def message(self) -> str:
        """The next line on stderr."""
        line = _line(self._err)
        suggestions.check("", line)
        return line

    def message_with(self, words: str) -> str:
        """The next line on stderr that contains this; those before it are skipped."""
        while words not in (message := self.message()):
            pass
        return message

    def stop_reading(self) -> None:
        """As `head` does when it has seen enough."""
        self._out.close()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def finish(self) -> Answer:
        """Waits for its end. What was not read yet."""
        with ThreadPoolExecutor(1) as executor:
            err = executor.submit(self._err.read)
            out = "" if self._out.closed else self._out.read()
        suggestions.check(out, err.result())
        return Answer(self._process.wait(), out, err.result())


@contextmanager
def started(*arguments: object, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """The command; killed in the end if it still runs. A server has no processes beside it unless it is told to: each
    takes a second or two of a processor to start."""
    with _pipe() as (out, its_out), _pipe() as (err, its_err):
        with open(os.devnull) as stdin:  # noqa: PTH123 - no path
            process = fork(
                PROGRAM + tuple(map(str, arguments)),
                environment=_environment(environment),
                stdin=stdin.fileno(),
                stdout=its_out.fileno(),
                stderr=its_err.fileno(),
            )
        its_out.close()
        its_err.close()
        try:
            yield Running(process, out, err)
        finally:
            process.kill()
            process.wait()


@contextmanager
def interpreted(*arguments: object, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """The same in an interpreter of its own, as a shell starts it."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [*_INTERPRETER, *map(str, arguments)],
        cwd=ROOT,
        env=_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield Running(process, process.stdout, process.stderr)
        finally:
            process.kill()


def _environment(given: Mapping[str, str] | None) -> Mapping[str, str]:
    return {"OMNIRELAY_PLAN_PROCESSES": "0", **os.environ, **(given or {})}


@contextmanager
def _pipe() -> Iterator[tuple[IO[str], IO[str]]]:
    reading, writing = os.pipe()
    with open(reading) as out, open(writing, "w") as into:  # noqa: PTH123 - no path
        yield out, into


def _line(stream: IO[str]) -> str:
    line = stream.readline()
    assert line, "the process ended, or closed its output"
    return line.rstrip("\n")
