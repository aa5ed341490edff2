"""What becomes different in a table, for those who want to hear of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from persistence.records import Shard

Namespaces: TypeAlias = Mapping[str, Mapping[str, Shard]]

_NONE: Final[Mapping[str, Shard]] = {}


@dataclass(frozen=True, slots=True)
class ShardChange:
    """One shard as the table had it before and has it now; null is for not at all."""

    namespace: str
    shard_id: str
    previous: Shard | None
    current: Shard | None


@dataclass(frozen=True, slots=True)
class TableChange:
    """What brought the table to `revision`, in order.

    `replaced`: a new table was read, at first or because the old one could not be followed any further; `shards` is the
    net difference between the two.
    """

    revision: int
    shards: tuple[ShardChange, ...]
    replaced: bool


def difference(before: Namespaces, after: Namespaces) -> Iterator[ShardChange]:
    """The net difference between two tables, namespace by namespace."""
    for namespace in sorted(before.keys() | after.keys()):
        held, holds = before.get(namespace, _NONE), after.get(namespace, _NONE)
        for shard_id, shard in held.items():
            if shard_id not in holds:
                yield ShardChange(namespace, shard_id, shard, None)
        for shard_id, shard in holds.items():
            if held.get(shard_id) != shard:
                yield ShardChange(namespace, shard_id, held.get(shard_id), shard)
