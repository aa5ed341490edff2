"""The mesh that most parts of `make bench` work on: 10,000 shards in 100 namespaces, with history."""

from __future__ import annotations

from typing import Final

import asyncpg

from persistence.commands.command import ChangeRequest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.shards import CreateShards, NewShard, ShardPatch, UpdateShards
from persistence.model.outcomes import ShardsChanged
from persistence.model.records import ShardKey
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.benchmarks.report import say
from tests.benchmarks.workloads import NAMESPACES, SHARDS_EACH
from tests.support.mesh import ANY_MOVES

CHANGE: Final = ChangeRequest("bench", "measure", "CHG-1")


async def populate(url: str, rounds: int) -> None:
    """The shards with `rounds` rows of history each, which makes `rounds` their version."""
    async with open_store(url) as store:
        writer = CommandExecutor(store.unit_of_work)
        names = [f"ns{number}" for number in range(NAMESPACES)]
        ids = [f"shard-{number:04}" for number in range(SHARDS_EACH)]
        for name in names:
            await writer.execute(ConfigureNamespace(name, "rendezvous", {}, 0, CHANGE, ANY_MOVES))
        new = [NewShard(name, id_, f"node-{i % 10}", f"node-{i % 10}") for name in names for i, id_ in enumerate(ids)]
        await writer.execute(CreateShards(new, CHANGE))
        for version in range(1, rounds):
            if version % 5 == 0:
                say(f"  history: {version * len(new):,} of {(rounds - 1) * len(new):,} rows")
            patches = [ShardPatch(*shard.key, version, owner_node_id=f"node-{version % 10}") for shard in new]
            outcome = await writer.execute(UpdateShards(patches, CHANGE))
            assert isinstance(outcome, ShardsChanged)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def versions(url: str) -> dict[ShardKey, int]:
    """Of all shards, as they are now: parts that ran before may have changed them."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT namespace, shard_id, version FROM shards")
    finally:
        await connection.close()
    return {ShardKey(row[0], row[1]): row[2] for row in rows}
