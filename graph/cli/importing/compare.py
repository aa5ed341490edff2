"""The difference between a file and the store, as what must be sent; and the shards there are of those in the file."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graph.cli.errors import ApiClient
from graph.cli.importing.parse import Row
from graph.client.http import PAGE, rows
from graph.client.records import Json
from persistence.model.records import ShardKey


@dataclass(frozen=True, slots=True)
class Difference:
    """Inputs of `createShards` and `updateShards`, in the order of the file, how many rows are equal already, and
    inputs of `deleteShards`, in the order of the store."""

    creations: list[Json] = field(default_factory=list)
    updates: list[Json] = field(default_factory=list)
    equal: int = 0
    deletions: list[Json] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.creations) + len(self.updates) + len(self.deletions)


def compare(rows: Iterable[Row], existing: Mapping[ShardKey, Json], *, prune: bool = False) -> Difference:
    """`existing` holds the shards there are of those in the file, and to `prune`, all others of its namespaces: they
    are deleted then, and else left alone."""
    creations, updates, equal = [], [], 0
    others = dict(existing) if prune else {}
    for row in rows:
        others.pop(row.key, None)
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
    deletions = [
        {"namespace": key.namespace, "shardId": key.shard_id, "expectedVersion": shard["version"]}
        for key, shard in others.items()
    ]
    return Difference(creations, updates, equal, deletions)


def read_existing(
    api: ApiClient,
    keys: Iterable[ShardKey],
    counts: Mapping[str, int],
    advance: Callable[[int], None],
    *,
    whole: bool = False,
) -> dict[ShardKey, Json]:
    """The shards there are of `keys`; with `whole`, all of their namespaces.

    `counts`: how many shards each namespace holds, of those that exist: others are still to be created.

    Not one snapshot: each version is expected when it is written.
    """
    named: dict[str, list[str]] = defaultdict(list)
    for namespace, shard_id in keys:
        if namespace in counts:
            named[namespace].append(shard_id)
    found = {}
    for namespace, shard_ids in named.items():
        filters = [{"namespace": namespace}] if whole else _filters(namespace, shard_ids, counts[namespace])
        for where in filters:
            for shard in rows(api, "ExportShards", {"filter": where}):
                found[ShardKey(shard["namespace"], shard["shardId"])] = shard
                advance(1)
    return found


def _filters(namespace: str, shard_ids: Sequence[str], count: int) -> Iterator[Json]:
    """The whole namespace, or only what is named, whichever is less to read."""
    if count <= len(shard_ids):
        yield {"namespace": namespace}
        return
    for start in range(0, len(shard_ids), PAGE):
        yield {"namespace": namespace, "shardIds": shard_ids[start : start + PAGE]}
