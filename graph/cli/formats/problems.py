"""What is wrong with a file, line by line."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from graph.cli.errors import Exit, Failure
from graph.cli.output import pluralized, print_status, printable

_LISTED: Final = 20


class Problems:
    """Counts everything and lists the first twenty: a mistake made in every line needs to be seen once."""

    def __init__(self) -> None:
        self.count = 0
        self._listed: list[str] = []
        self._left_out: Counter[str] = Counter()

    def add(self, line: int, column: str | None, message: str) -> None:
        self.count += 1
        if len(self._listed) < _LISTED:
            where = f"line {line:,}" if column is None else f"line {line:,}, {column}"
            self._listed.append(f"{where}: {message}")

    def leave_out(self, what: str, count: int = 1) -> None:
        """Of what is right in its place, but no shard with an owner."""
        self._left_out[what] += count

    @property
    def lines(self) -> Sequence[str]:
        rest = self.count - len(self._listed)
        return [*self._listed, f"and {rest:,} more"] if rest > 0 else self._listed

    def raise_if_any(self, file: str, done: str = "imported, nothing was written") -> None:
        """Raises Failure with everything listed."""
        if self.count:
            message = f"{printable(file)} cannot be {done}: {pluralized(self.count, 'problem')}."
            raise Failure(Exit.INVALID, message, [f"  {line}" for line in self.lines])

    def print_left_out(self) -> None:
        for what, count in self._left_out.items():
            print_status(f"Left out: {count:,} {what}.")
