"""Loading the demo mesh, once: a load that was cut short goes on where it stopped."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import TypeVar

from graph.demo.story import story
from persistence.commands import Command, NewShard
from persistence.outcomes import NamespaceConfigured, ShardsChanged
from persistence.paging import PageRequest
from persistence.ports import Store
from persistence.queries import ChangeFilter
from persistence.write import Writer

C = TypeVar("C", bound=Command)


async def load_demo(store: Store, writer: Writer, progress: Callable[[str], None]) -> bool:
    """Tell the demo mesh's story to an empty store, or what of it is missing. False if the store is somebody's own.

    Every command carries an idempotency key, so what was told before is answered and not done again.
    """
    oldest = await store.changes.page(ChangeFilter(), PageRequest(1), newest_first=False)
    if oldest.items and oldest.items[0].actor != "demo":
        return False
    commands = list(story(demo_shards()))
    for number, command in enumerate(commands, 1):
        progress(f"Loading the demo mesh: {number} of {len(commands)} changes")
        keyed = replace(command, change=replace(command.change, idempotency_key=f"demo-1-{number}"))  # type: ignore[type-var]  # every command is a dataclass
        outcome = await writer.execute(keyed)
        if not isinstance(outcome, ShardsChanged | NamespaceConfigured):
            # Somebody changed the demo between a load that was cut short and this one; theirs is left as it is.
            progress(f"The demo mesh was changed meanwhile; it stays as it is ({type(outcome).__name__})")
            return True
    return True


def demo_shards() -> Sequence[NewShard]:
    """The ownership table the story begins with."""
    with files("graph.demo").joinpath("shards.csv").open(encoding="utf-8") as lines:
        return [
            NewShard(
                row["namespace"],
                row["shardId"],
                row["ownerNodeId"],
                row["leaderId"],
                float(row["capacityHint"]),
                row["localityHint"] or None,
            )
            for row in csv.DictReader(lines)
        ]
