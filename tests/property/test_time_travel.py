"""Random histories, with compactions in the middle: every revision is read exactly, or refused because it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from itertools import product
from typing import Final, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.commands.shards import NewShard
from persistence.errors import Compacted
from persistence.model.records import AsOf, Shard, ShardDiff, ShardKey
from persistence.ports.writes import Retention
from persistence.postgres.compaction import PostgresRetention
from persistence.postgres.store import open_store
from tests.reference.retention import MemoryRetention
from tests.reference.store import store_on
from tests.reference.tables import Memory
from tests.support.databases import Databases
from tests.support.length import rounds
from tests.support.mesh import BILLING, SEARCH, Mesh, because, patch
from tests.support.model import applied, replay

KEYS: Final = tuple(ShardKey(namespace, f"s{number}") for namespace in (BILLING, SEARCH) for number in range(3))
# What becomes of a shard that is there; one that is not is created.
FATES: Final = ("move", "lead", "delete")
Step: TypeAlias = tuple[list[ShardKey], str, str]
Life: TypeAlias = tuple[list[Step], float]
"""Changes, then a compaction to this part of all the revisions there are."""

STEPS: Final = st.tuples(
    st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True),
    st.sampled_from(FATES),
    st.sampled_from(["node-a", "node-b", "node-c"]),
)


def lives(most: int) -> st.SearchStrategy[list[Life]]:
    part = st.lists(STEPS, min_size=1, max_size=most)
    return st.lists(st.tuples(part, st.floats(0, 1)), min_size=1, max_size=2)


class Story:
    """A store, everything that was ever committed to it, and the floor it was compacted to."""

    def __init__(self, mesh: Mesh, retention: Retention) -> None:
        self.mesh = mesh
        self.retention = retention
        self.rows: list[ShardDiff] = []
        self.floor = 0

    async def live(self, life: Sequence[Life]) -> None:
        for name in (BILLING, SEARCH):
            await self.mesh.configure(name)
        for steps, part in life:
            for step in steps:
                await self.take(step)
            self.rows += (await self.mesh.store.stream.after(len(self.rows), 1_000)).diffs
            await self.check()
            await self.compact(round(part * len(self.rows)))
            await self.check()

    async def take(self, step: Step) -> None:
        keys, fate, node = step
        table = await self.mesh.table()
        there = [table[key] for key in keys if key in table]
        if absent := [NewShard(*key, node) for key in keys if key not in table]:
            await self.mesh.create(*absent)
        if there and fate == "delete":
            await self.mesh.delete(*there)
        elif there:
            field = "owner_node_id" if fate == "move" else "leader_id"
            await self.mesh.update(*(patch(shard, **{field: node}) for shard in there))

    async def compact(self, floor: int) -> None:
        done = await self.retention.compact(floor, because("nobody reads this any more"))
        assert (done is not None) == (floor > self.floor)
        self.floor = max(self.floor, floor)

    async def check(self) -> None:
        tables = [replay(self.rows[:revision]) for revision in range(len(self.rows) + 1)]
        for revision, table in enumerate(tables):
            await self.check_moment(AsOf(revision=revision), revision, table)
        await self.check_times(tables)
        for start, end in product(range(len(tables)), repeat=2):
            await self.check_difference(start, end, tables)

    async def check_moment(self, moment: AsOf, revision: int, table: dict[ShardKey, Shard]) -> None:
        key = KEYS[revision % len(KEYS)]
        if revision < self.floor:
            for ask in (self.mesh.table(moment), self.mesh.store.shards.get(key, moment)):
                with pytest.raises(Compacted) as refused:
                    await ask
                assert (refused.value.requested, refused.value.oldest) == (revision, self.floor)
        else:
            assert await self.mesh.table(moment) == table
            assert (await self.mesh.store.shards.get(key, moment)).value == table.get(key)

    async def check_times(self, tables: Sequence[dict[ShardKey, Shard]]) -> None:
        """The time of each commit has it, the microsecond before has not."""
        for time in {row.change.committed_at for row in self.rows}:
            for moment in (time, time - timedelta(microseconds=1)):
                revision = sum(row.change.committed_at <= moment for row in self.rows)
                assert await self.mesh.store.history.revision_at(moment) == revision
                await self.check_moment(AsOf(time=moment), revision, tables[revision])

    async def check_difference(self, start: int, end: int, tables: Sequence[dict[ShardKey, Shard]]) -> None:
        if min(start, end) < self.floor:
            with pytest.raises(Compacted):
                await self.mesh.difference(start, end)
        else:
            difference = await self.mesh.difference(start, end)
            assert applied(tables[start], difference.values()) == tables[end]


@given(life=lives(6))
@settings(max_examples=rounds(300, 30))
def test_every_revision_in_memory_is_history_played_back_to_it(life: list[Life]) -> None:
    memory = Memory()
    asyncio.run(Story(Mesh(store_on(memory)), MemoryRetention(memory)).live(life))


def test_every_revision_on_postgresql_is_history_played_back_to_it(
    databases: Databases, template_database: str
) -> None:
    async def live(life: list[Life], url: str) -> None:
        async with open_store(url, read_connections=1, write_connections=1) as store:
            await Story(Mesh(store), PostgresRetention(url)).live(life)

    @given(life=lives(3))
    @settings(max_examples=rounds(30, 3))
    def lived(life: list[Life]) -> None:
        with databases.temporary(template=template_database) as url:
            asyncio.run(live(life, url))

    lived()
