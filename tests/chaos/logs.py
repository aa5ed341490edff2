"""What servers of a run wrote when they met something that they should not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_BEGINS: Final = "Traceback (most recent call last):"
_MOST: Final = 3


def tracebacks(logs: Iterable[Path]) -> list[str]:
    """The first three of each log, with the line before and the error that each ends with."""
    return [f"{log.name}: {found}" for log in logs if log.exists() for found in _first(log)]


def _first(log: Path) -> Iterator[str]:
    lines = log.read_text(errors="replace").splitlines()
    starts = [number for number, line in enumerate(lines) if _BEGINS in line]
    for start in starts[:_MOST]:
        end = next(
            (number for number in range(start + 1, len(lines)) if not lines[number].startswith((" ", "\t"))), start
        )
        yield "\n".join(lines[max(0, start - 1) : end + 1])
