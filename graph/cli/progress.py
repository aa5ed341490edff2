"""Progress on stderr, where somebody is there to see it.

What a starting server is doing, one line a step, with the seconds since it began.

Ctrl-C where something must not be broken off halfway.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from graph.cli.output import print_status

_STEP = 1_000
"""Redrawing takes longer than dealing with one."""


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with how much was done. Silent when stderr is no terminal."""
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
    """A function to call with how much is done, and how much there is, as often as one likes. Silent as above."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - see above

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = 0
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)

        def so_far(done: int, total: int) -> None:
            nonlocal shown
            if done - shown >= _STEP or done >= total:
                shown = done
                progress.update(task, completed=done, total=total)

        yield so_far


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say what is being waited for, and for how long so far; gone when it is there. Silent as above."""
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


@contextmanager
def stop_after(step: str) -> Iterator[threading.Event]:
    """Set at the first Ctrl-C inside: whoever is at a step finishes it, and then looks. A second one interrupts."""
    asked = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        print_status(f"Stopping after this {step}. Ctrl-C again stops at once.")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
