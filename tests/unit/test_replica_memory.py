"""How many shards a replica may hold: from the setting, or from the memory of control groups and machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from graph.server import replica_memory
from graph.server.replica_memory import Memory, available_memory, replica_limits
from persistence.replica.replica import ReplicaLimits

GIB: Final = 2**30
UNLIMITED: Final = "9223372036854771712"
"""What version 1 has where there is no limit."""


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 64 GiB."""
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4_096, "SC_PHYS_PAGES": 64 * GIB // 4_096}.__getitem__)


def available(folder: Path, groups: str, files: Mapping[str, str]) -> Memory:
    """With `groups` in /proc/self/cgroup, and such files under /sys/fs/cgroup."""
    (folder / "self").mkdir()
    (folder / "self" / "cgroup").write_text(groups)
    for name, content in files.items():
        file = folder / "mounted" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return available_memory(folder / "self", folder / "mounted")


@pytest.mark.parametrize(
    ("groups", "files", "size"),
    [
        ("0::/\n", {"memory.max": str(2 * GIB)}, 2 * GIB),
        ("0::/\n", {"memory.max": "max"}, None),
        ("0::/\n", {}, None),
        ("0::/system.slice/mesh.service\n", {"system.slice/mesh.service/memory.max": str(GIB)}, GIB),
        (
            "0::/system.slice/mesh.service\n",
            {"system.slice/mesh.service/memory.max": "max", "system.slice/memory.max": str(3 * GIB)},
            3 * GIB,
        ),
        ("0::/a/b\n", {"a/b/memory.max": str(3 * GIB), "a/memory.max": str(2 * GIB), "memory.max": "max"}, 2 * GIB),
        ("0::/../elsewhere\n", {"memory.max": str(2 * GIB)}, 2 * GIB),
        ("5:cpu:/x\n3:memory:/mesh\n", {"memory/mesh/memory.limit_in_bytes": str(GIB)}, GIB),
        ("3:cpu,memory:/docker/of-the-host\n", {"memory/memory.limit_in_bytes": str(GIB)}, GIB),
        ("3:memory:/mesh\n0::/\n", {"memory/mesh/memory.limit_in_bytes": UNLIMITED}, None),
        ("5:cpu:/x\n", {"memory/x/memory.limit_in_bytes": str(GIB)}, None),
        ("0::/\n", {"memory.max": str(100 * GIB)}, None),
        ("no line of a group\n", {"memory.max": str(GIB)}, None),
    ],
)
def test_the_least_limit_of_its_groups_is_what_there_is(
    tmp_path: Path, groups: str, files: Mapping[str, str], size: int | None
) -> None:
    expected = (
        Memory(64 * GIB, "the machine's memory") if size is None else Memory(size, "the limit of its control group")
    )
    assert available(tmp_path, groups, files) == expected


def test_where_there_are_no_control_groups_it_is_the_machines(tmp_path: Path) -> None:
    assert available_memory(tmp_path, tmp_path) == Memory(64 * GIB, "the machine's memory")


@pytest.mark.parametrize("setting", [0, 1, 20_000_000])
def test_a_number_is_taken_as_it_is(setting: int) -> None:
    assert replica_limits(setting, workers=3) == ReplicaLimits(setting, "replica_shards")


@pytest.mark.parametrize(
    ("size", "workers", "shards"),
    [
        (8 * 10**9, 1, 2_000_000),
        (8 * 10**9, 4, 500_000),
        (64 * 10**9, 1, 10_000_000),
        (256 * 10**6, 1, 100_000),
        (8 * 10**9, 100, 100_000),
    ],
)
def test_without_a_number_it_follows_from_memory(
    monkeypatch: pytest.MonkeyPatch, size: int, workers: int, shards: int
) -> None:
    monkeypatch.setattr(replica_memory, "available_memory", lambda: Memory(size, "the machine's memory"))
    assert replica_limits(None, workers).shards == shards


def test_what_it_follows_from_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_memory, "available_memory", lambda: Memory(8 * GIB, "the machine's memory"))
    assert replica_limits(None).origin == "a quarter of 8.0 GiB, the machine's memory"
    assert replica_limits(None, 2).origin == "a quarter of 8.0 GiB, the machine's memory, for 2 workers"
