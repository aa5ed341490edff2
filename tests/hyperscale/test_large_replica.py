"""A replica of a store of a million shards in a thousand namespaces: every one of them, in the memory that the default
of `replica_shards` reckons with."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Final

import pytest

from tests.support.fork_server import ROOT
from tests.support.large_store import fill
from tests.support.length import rounds

NAMESPACES: Final = rounds(1_000, 50)
SHARDS_EACH: Final = 1_000
BYTES_A_SHARD: Final = 1_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(240)
async def test_a_replica_takes_less_than_a_kilobyte_a_shard(database_url: str) -> None:
    await fill(database_url, NAMESPACES, SHARDS_EACH)
    shards, size = await _loaded(database_url)
    assert shards == NAMESPACES * SHARDS_EACH
    assert size / shards < BYTES_A_SHARD


async def _loaded(database_url: str) -> tuple[int, int]:
    """In a process of its own: the memory of this one was other tests' before. Shards, and bytes that they take."""
    command = [sys.executable, "-m", "tests.support.replica_alone", database_url]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    shards, size = map(int, output.split())
    return shards, size
