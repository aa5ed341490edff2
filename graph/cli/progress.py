"""Progress on stderr: bars on a terminal, a line for each step of a server; and Ctrl-C between steps."""

import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from graph.cli.output import print_status

_STEP = 1_000
"""Redrawing takes longer than dealing with one."""


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with how much was done. Prints nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    # Imported here: a library that draws takes a while to load.
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - see above

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)


@contextmanager
def progress_so_far(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call with how much is done, and how much there is, however often. Prints nothing as above."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - see above

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    drawn = 0
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)

        def so_far(done: int, total: int) -> None:
            nonlocal drawn
            if done - drawn >= _STEP or done >= total:
                drawn = done
                progress.update(task, completed=done, total=total)

        yield so_far


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A line with the seconds so far, gone in the end. Prints nothing as above."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - see above

    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(what, total=None)
        yield


class StepLog:
    """Prints each step with the seconds since it was made. A step that is repeated is one line."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._last = ""

    def __call__(self, step: str) -> None:
        if step != self._last:
            print_status(f"[{time.monotonic() - self._began:5.1f} s] {step}")
            self._last = step


class StopFlag:
    """Set by a signal handler, and waited for in the thread that it interrupts. `threading.Event` is for neither: a
    handler that runs while `wait` holds the event's lock waits for that lock for ever."""

    def __init__(self) -> None:
        self._read_end, self._write_end = socket.socketpair()
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._write_end.send(b"1")

    def wait(self, seconds: float) -> bool:
        """Whether it is set, at the latest after so many seconds."""
        select.select([self._read_end], [], [], seconds)
        return self._is_set

    def close(self) -> None:
        self._read_end.close()
        self._write_end.close()


@contextmanager
def stop_after(step: str) -> Iterator[StopFlag]:
    """A flag, set at the first Ctrl-C inside, to be looked at after each step. A second Ctrl-C interrupts."""
    stopping = StopFlag()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()
        print_status(f"Stopping after this {step}. Ctrl-C again stops at once.")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)
        stopping.close()
