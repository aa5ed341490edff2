"""The in-memory backend, assembled."""

from __future__ import annotations

from persistence.ports.store import Store
from tests.reference.readers import (
    MemoryChanges,
    MemoryHistory,
    MemoryNamespaces,
    MemoryShards,
    MemoryStream,
    MemoryTotals,
)
from tests.reference.rebalancing_readers import MemoryNodes, MemoryPlacement, MemoryPlans
from tests.reference.refusals import MemoryRefusals
from tests.reference.tables import Clock, Memory, utc_now
from tests.reference.unit_of_work import MemoryGroups, MemoryUnitsOfWork


def memory_store(*, clock: Clock = utc_now, epoch: str | None = None) -> Store:
    """An empty store. `clock` gives aware times; without `epoch` the stream gets one of its own."""
    return store_on(Memory(clock=clock, epoch=epoch))


def store_on(memory: Memory) -> Store:
    """The store whose tables the caller keeps hold of, to compact them for example (`MemoryRetention`)."""
    return Store(
        shards=MemoryShards(memory),
        totals=MemoryTotals(memory),
        namespaces=MemoryNamespaces(memory),
        nodes=MemoryNodes(memory),
        plans=MemoryPlans(memory),
        placement=MemoryPlacement(memory),
        history=MemoryHistory(memory),
        changes=MemoryChanges(memory),
        stream=MemoryStream(memory),
        signal=memory,
        refusals=MemoryRefusals(memory),
        unit_of_work=MemoryUnitsOfWork(memory),
        change_group=MemoryGroups(memory),
    )
