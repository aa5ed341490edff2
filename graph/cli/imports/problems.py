"""What is wrong with a file, line by line."""

from collections.abc import Sequence
from typing import Final

from graph.cli.exits import Exit, Failure
from graph.cli.text import counted, shown

_SHOWN: Final = 20


class Problems:
    """Counts everything, keeps the first twenty: whoever made one mistake a line needs to see it once."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[str] = []

    def add(self, line: int, column: str | None, message: str) -> None:
        self.count += 1
        if len(self._kept) < _SHOWN:
            where = f"line {line:,}" if column is None else f"line {line:,}, {column}"
            self._kept.append(f"{where}: {message}")

    @property
    def lines(self) -> Sequence[str]:
        rest = self.count - len(self._kept)
        return [*self._kept, f"and {rest:,} more"] if rest > 0 else self._kept

    def raise_if_any(self, file: str) -> None:
        """Raises Failure with everything kept."""
        if self.count:
            message = f"{shown(file)} cannot be imported, nothing was written: {counted(self.count, 'problem')}."
            raise Failure(Exit.INVALID, message, [f"  {line}" for line in self.lines])
