"""Processor time and memory of processes, as Linux counts them in /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

# Of /proc/PID/stat, counted after the name, which ends with the last parenthesis: proc(5).
_PARENT: Final = 1
_TIMES: Final = slice(11, 13)  # utime, stime


Usage = Mapping[int, int]
"""Ticks of processor time that each process has had."""


def usage(root: int) -> Usage:
    """Of a process and of its descendants that run, in ticks of 10 ms."""
    return {process: sum(map(int, fields[_TIMES])) for process, fields in _tree(root)}


def seconds_between(before: Usage, after: Usage) -> float:
    """Processor time that those which run at the end have had since. One that ended meanwhile does not count: none that
    serves does, and its time would be its parent's at some moment between the two."""
    return sum(ticks - before.get(process, 0) for process, ticks in after.items()) / _TICKS


def cpu_nanoseconds(root: int) -> int:
    """The same of the threads that run now, by the scheduler's count: for stretches of milliseconds."""
    total = 0
    for process, _ in _tree(root):
        for thread in Path(f"/proc/{process}/task").glob("*/schedstat"):
            total += int(_read(thread).split()[0] or 0)
    return total


def resident_bytes(process: int) -> int:
    """Memory of one process that is private to it, in bytes: what it shares with others is not counted."""
    lines = _read(Path(f"/proc/{process}/smaps_rollup")).splitlines()
    return 1_024 * sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:")))


def _tree(root: int) -> Iterator[tuple[int, Sequence[str]]]:
    """A process and all of its descendants, with the fields of their stat."""
    found: dict[int, Sequence[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        if counted := _read(path).rpartition(")")[2].split():
            found[int(path.parts[2])] = counted
    children: dict[int, list[int]] = {}
    for process, fields in found.items():
        children.setdefault(int(fields[_PARENT]), []).append(process)
    wanted = [root]
    while wanted:
        process = wanted.pop()
        if process in found:
            yield process, found[process]
        wanted += children.get(process, [])


def _read(path: Path) -> str:
    """Empty when the process has ended meanwhile."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
