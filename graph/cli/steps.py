"""What a starting server is doing, one line a step, with the seconds since it began."""

import time

from graph.cli.output import tell


class Steps:
    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def __call__(self, step: str) -> None:
        tell(f"[{self.seconds:5.1f} s] {step}")
