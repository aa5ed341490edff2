"""The store in memory: the reference model of what a backend promises, for tests. Plain rather than fast."""

from persistence.memory.retention import MemoryRetention
from persistence.memory.store import memory_store, store_on
from persistence.memory.tables import Clock, Memory

__all__ = ["Clock", "Memory", "MemoryRetention", "memory_store", "store_on"]
