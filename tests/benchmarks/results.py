"""What `make bench` measured last, part by part: results.json, from which docs/performance.md is written."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("results.json")

_DIGITS: Final = 4


def part(figures: Any, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of one part: its figures, its rows of the report, when and on what kind of machine."""
    return {
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "figures": _rounded(figures),
        "rows": list(rows),
    }


def machine() -> str:
    """Its kind; nothing that names it."""
    model = next((line.partition(":")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    kilobytes = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{cores} cores of {model.strip() or platform.machine()}, {int(kilobytes) / 1_048_576:.0f} GiB of memory, "
        f"{platform.system()}, Python {platform.python_version()}"
    )


def load() -> dict[str, Any]:
    """Results by part; none before the first run."""
    if not FILE.exists():
        return {}
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


def keep(found: Mapping[str, Any]) -> None:
    """In place of what these parts had before."""
    lines = [f" {json.dumps(name)}: {json.dumps(each)}" for name, each in sorted({**load(), **found}.items())]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def _lines(path: str) -> Sequence[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except OSError:
        return ()


def _rounded(value: Any) -> Any:
    """With four digits of each number that is no whole one: there is no more to any of them."""
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
