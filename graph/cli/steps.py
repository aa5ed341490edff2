"""What a starting server is doing, one line a step, with the seconds since it began."""

import re
import time
from typing import Final

from graph.cli.output import tell

_COUNT: Final = re.compile(r": \d+ of \d+\b.*")


class Steps:
    """A step that counts what it does (`Loading: 3 of 21`) is still one step, and one line."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._last = ""

    def __call__(self, step: str) -> None:
        step = _COUNT.sub("", step)
        if step != self._last:
            tell(f"[{time.monotonic() - self._began:5.1f} s] {step}")
            self._last = step
