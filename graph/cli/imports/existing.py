"""The shards there are, of those a file names."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from graph.cli.api import Api
from graph.cli.output import Json
from graph.client.pages import PAGE, rows
from persistence.records import ShardKey


def read_existing(
    api: Api, keys: Iterable[ShardKey], counts: Mapping[str, int], advance: Callable[[int], None]
) -> dict[ShardKey, Json]:
    """`counts`: how many shards each namespace holds, of those that exist: others are still to be created.

    Not one snapshot: each version is expected when it is written.
    """
    wanted: dict[str, list[str]] = defaultdict(list)
    for namespace, shard_id in keys:
        if namespace in counts:
            wanted[namespace].append(shard_id)
    found = {}
    for namespace, shard_ids in wanted.items():
        for where in _filters(namespace, shard_ids, counts[namespace]):
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
