"""How many shards a replica may hold: what the setting names, or what follows from the memory that there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from persistence.replica.replica import ReplicaLimits
from persistence.replica.sorted_table import BYTES_A_SHARD

_SHARE: Final = 4
"""One part in so many of the memory is for replicas. The embedded PostgreSQL and the processes that plan take memory,
too, and what is sent of a record is cached."""

_LEAST: Final = 100_000
"""Also where memory is short: less than 100 MB."""

_MOST: Final = 10_000_000

_PATH_FIELDS: Final = 3
"""Of a line of /proc/self/cgroup: number of the hierarchy, its controllers, path."""


def replica_limits(setting: int | None, workers: int = 1) -> ReplicaLimits:
    """Of one of so many processes on this machine, each of which holds a replica. `setting` is `replica_shards`, null
    where it is not set."""
    if setting is not None:
        return ReplicaLimits(setting, "replica_shards")
    memory = available_memory()
    shards = memory.size // (_SHARE * BYTES_A_SHARD * workers)
    among = f", for {workers} workers" if workers > 1 else ""
    origin = f"a quarter of {memory.size / 2**30:.1f} GiB, {memory.origin}{among}"
    return ReplicaLimits(min(max(shards, _LEAST), _MOST), origin)


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes, and where that is from, in a few words."""

    size: int
    origin: str


def available_memory(process: Path = Path("/proc/self"), cgroups: Path = Path("/sys/fs/cgroup")) -> Memory:
    """What this process may use: the least limit of the control groups it is in, version 2 or 1, or what the machine
    has if that is less.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
    https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
    """
    physical = Memory(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "the machine's memory")
    limits = [Memory(size, "the limit of its control group") for size in _limits(process, cgroups)]
    return min([physical, *limits], key=lambda memory: memory.size)


def _limits(process: Path, cgroups: Path) -> Iterator[int]:
    """Of each group from that of the process to the root. In a container the path may be one of the host's, which is
    not mounted: the root is the container's own group then."""
    for line in _read(process / "cgroup").splitlines():
        fields = line.split(":", _PATH_FIELDS - 1)
        if len(fields) != _PATH_FIELDS:
            continue
        _, controllers, path = fields
        if not controllers:
            root, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root) and (written := _read(folder / name).strip()).isdecimal():
                yield int(written)


def _read(path: Path) -> str:
    """Empty for a file that is not there: on other systems than Linux none of them is."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
