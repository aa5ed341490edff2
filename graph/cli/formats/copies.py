"""Copies of a shard, which other systems keep on several nodes: a shard each.

The first, whose node is the owner, has the id of the shard itself; the others have `/1`, `/2` ... after it. All of them
are one anti-affinity group, called like the first, so that no plan brings two to one node.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from graph.cli.errors import Exit, Failure
from graph.cli.output import printable
from graph.client.records import Json

_COPY: Final = re.compile(r"(.+)/([1-9][0-9]{0,2})", re.ASCII)


def copies(shard_id: str, owners: Sequence[str | None], **of_the_first: object) -> Iterator[Json]:
    """A row for each owner, by its position; null is a position that nothing is at."""
    group = shard_id if len(owners) > 1 else None
    for position, owner in enumerate(owners):
        if owner is not None:
            name = f"{shard_id}/{position}" if position else shard_id
            row: Json = {"shardId": name, "ownerNodeId": owner, "antiAffinityGroup": group}
            yield row if position else row | of_the_first


def collected(shards: Iterable[Json]) -> dict[str, dict[int, Json]]:
    """By the id of the first the copies that there are, by their positions, in order."""
    found: dict[str, dict[int, Json]] = defaultdict(dict)
    for shard in shards:
        copy = _COPY.fullmatch(shard["shardId"])
        shard_id, position = (copy[1], int(copy[2])) if copy else (shard["shardId"], 0)
        found[shard_id][position] = shard
    return {shard_id: dict(sorted(held.items())) for shard_id, held in found.items()}


def cannot_be_written(shard: Json | str, why: str) -> Failure:
    name = shard if isinstance(shard, str) else f"{shard['namespace']}/{shard['shardId']}"
    return Failure(
        Exit.INVALID, f"{printable(name)} cannot be written in this format: {why}.", ["What can be: --format csv"]
    )
