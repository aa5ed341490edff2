"""The database behind the queue of group commit, whose groups commit, wait and fail as a test has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from persistence.commands.command import Command
from persistence.commands.read_state import ReadSet, ReadState
from persistence.commands.shards import CreateShards
from persistence.commands.write_set import WriteSet
from persistence.errors import StoreError, StoreUnavailable
from persistence.model.outcomes import Committed, NotFound, Outcome
from persistence.model.records import ShardKey
from persistence.ports.writes import ChangeGroup
from persistence.service.group_commit import GroupCommit
from strategies.registry import Registry
from tests.reference.store import memory_store
from tests.support.mesh import SEARCH, Mesh, because, new


@dataclass
class GroupDatabase:
    """Groups of a store in memory, each of which waits before it commits until it is let go; then it may fail."""

    mesh: Mesh
    groups: list[list[str]] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    noted: list[Outcome] = field(default_factory=list)
    failures: list[Exception | None] = field(default_factory=list)
    answers: list[list[StoreError | None]] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    limiting: asyncio.Event | None = None
    """Until it is set, no limit is answered."""
    reads: list[int] = field(default_factory=list)
    """How many shards each group has read."""
    locked: set[ShardKey] = field(default_factory=set)
    held: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    fails_at_the_end: bool = False
    """Once a group is committed, when its connection is given back."""

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[ChangeGroup]:
        async with self.mesh.store.change_group() as group:
            yield HeldGroup(self, group)
        if self.fails_at_the_end:
            raise StoreUnavailable("gone")

    async def execute_alone(self, command: Command) -> Outcome:
        self.alone.append(command.change.reason)
        return NotFound(namespaces=(command.change.reason,))

    def queue(self) -> GroupCommit:
        return GroupCommit(self, Registry(), self.execute_alone, self.noted.append)


@dataclass
class HeldGroup:
    database: GroupDatabase
    group: ChangeGroup

    async def limit(self, seconds: float) -> None:
        self.database.limits.append(seconds)
        if self.database.limiting is not None:
            await self.database.limiting.wait()

    async def read(self, shards: Sequence[ShardKey], node_ids: Collection[str] = ()) -> ReadState:
        self.database.reads.append(len(shards))
        state = await self.group.read(shards, node_ids)
        return replace(state, locked=frozenset(self.database.locked))

    async def commit(self, changes: Sequence[tuple[ReadSet, WriteSet]]) -> Sequence[Committed | StoreError]:
        database = self.database
        database.groups.append([write_set.request.reason for _, write_set in changes])
        database.entered.set()
        if database.held is not None:
            await database.held.wait()
        if database.failures and (failure := database.failures.pop(0)) is not None:
            raise failure
        given = await self.group.commit(changes)
        instead = database.answers.pop(0) if database.answers else [None] * len(given)
        return [other or answer for other, answer in zip(instead, given, strict=True)]


async def group_database() -> GroupDatabase:
    """With two namespaces."""
    mesh = Mesh(memory_store())
    await mesh.configure()
    await mesh.configure(SEARCH)
    return GroupDatabase(mesh)


def create(name: str, **change: Any) -> Command:
    return CreateShards([new(name)], because(name, **change))


async def settled() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def under_way(database: GroupDatabase, queue: GroupCommit) -> asyncio.Task[Outcome]:
    """A change that is being committed until `held` is set."""
    database.held = asyncio.Event()
    first = asyncio.create_task(queue.execute(create("first")))
    await database.entered.wait()
    return first
