"""What only the in-memory store can do: take another clock, another epoch, and signal when it was written."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from persistence.model.records import AsOf
from tests.reference.store import memory_store
from tests.support.mesh import Mesh, because, new
from tests.support.model import first_broken_link

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_the_epoch_is_the_one_given_or_one_of_its_own() -> None:
    assert (await memory_store(epoch="blue").stream.head()).epoch == "blue"
    first, second = memory_store(), memory_store()
    assert (await first.stream.head()).epoch != (await second.stream.head()).epoch


async def test_times_are_those_of_the_clock_but_never_go_back() -> None:
    ticks = [NOON, NOON + timedelta(hours=2), NOON + timedelta(hours=1), NOON + timedelta(hours=3)]
    clock = iter(ticks)
    mesh = Mesh(memory_store(clock=lambda: next(clock)))
    await mesh.configure()
    for number in range(3):
        await mesh.create(new(f"s{number}"))
    changes = await mesh.changes()
    assert [change.committed_at for change in changes] == [ticks[0], ticks[1], ticks[1], ticks[3]]
    assert first_broken_link(changes, await mesh.history()) is None
    assert len(await mesh.table(AsOf(time=NOON))) == 0
    assert len(await mesh.table(AsOf(time=ticks[1]))) == 2
    assert len(await mesh.table(AsOf(time=ticks[3] - timedelta(microseconds=1)))) == 2


async def test_the_signal_is_raised_by_a_commit_and_by_nothing_else() -> None:
    mesh = Mesh(memory_store())
    waiting = asyncio.create_task(mesh.store.signal.wait())
    async with mesh.store.unit_of_work():
        pass
    await asyncio.sleep(0)
    assert not waiting.done()
    await mesh.configure()
    await waiting
    again = asyncio.create_task(mesh.store.signal.wait())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()


async def test_what_the_caller_does_with_its_values_later_changes_nothing() -> None:
    """The audit chain covers the values, not what became of the object that held them."""
    mesh = Mesh(memory_store())
    parameters = {"virtualNodes": 7}
    metadata = {"waves": [1, 2]}
    change = (await mesh.configure(strategy="ring", parameters=parameters)).change
    await mesh.create(new("s1"), change=because("why", metadata=metadata))
    parameters["virtualNodes"] = 8
    metadata["waves"].append(3)
    assert change.configuration is not None
    assert (await mesh.namespace()).strategy_parameters == {"virtualNodes": 7}
    assert first_broken_link(await mesh.changes(), await mesh.history()) is None
