"""What must be sent to bring the store to a file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from graph.cli.imports.rows import Row
from graph.cli.output import Json
from persistence.records import ShardKey


@dataclass(frozen=True, slots=True)
class Difference:
    """Inputs of `createShards` and `updateShards`, in the order of the file, and how many rows are equal already."""

    creations: list[Json] = field(default_factory=list)
    updates: list[Json] = field(default_factory=list)
    equal: int = 0

    @property
    def count(self) -> int:
        return len(self.creations) + len(self.updates)


def compare(rows: Iterable[Row], existing: Mapping[ShardKey, Json]) -> Difference:
    """`existing` holds the shards there are of those in the file. Shards the file does not name are left alone."""
    creations, updates, equal = [], [], 0
    for row in rows:
        identity = {"namespace": row.key.namespace, "shardId": row.key.shard_id}
        shard = existing.get(row.key)
        if shard is None:
            creations.append({**identity, **row.fields})
            continue
        changed = {name: value for name, value in row.fields.items() if shard[name] != value}
        if changed:
            updates.append({**identity, "expectedVersion": shard["version"], **changed})
        else:
            equal += 1
    return Difference(creations, updates, equal)
