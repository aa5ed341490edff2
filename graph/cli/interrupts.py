"""Ctrl-C where something must not be broken off halfway."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from graph.cli.output import tell


@contextmanager
def stop_after(step: str) -> Iterator[threading.Event]:
    """Set at the first Ctrl-C inside: whoever is at a step finishes it, and then looks. A second one interrupts."""
    asked = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        tell(f"Stopping after this {step}. Ctrl-C again stops at once.")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
