"""How often a change is decided before its caller gets a TransientConflict."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from persistence.commands.shards import CreateShards
from persistence.errors import TransientConflict
from persistence.model.outcomes import ShardsChanged
from persistence.ports.writes import UnitOfWork
from persistence.service.executor import CommandExecutor
from tests.reference.store import store_on
from tests.reference.tables import Memory
from tests.support.mesh import CHANGE, Mesh, new

OTHERS = 10


async def test_a_writer_that_meets_many_others_gets_its_turn() -> None:
    """Each of the others lets one change through, as where a crowd joins one group; the last is this one."""
    store = store_on(Memory())
    await Mesh(store).configure()
    met = 0

    @asynccontextmanager
    async def unit_of_work() -> AsyncIterator[UnitOfWork]:
        nonlocal met
        if met < OTHERS:
            met += 1
            raise TransientConflict("another one came first")
        async with store.unit_of_work() as unit:
            yield unit

    assert isinstance(await CommandExecutor(unit_of_work).execute(CreateShards([new("s1")], CHANGE)), ShardsChanged)
