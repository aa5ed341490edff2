"""Loading the demo mesh, once: a load that was cut short goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graph.demo.mesh import demo_shards
from graph.demo.story import story
from persistence.outcomes import Committed
from persistence.paging import PageRequest
from persistence.ports import Store
from persistence.queries import ChangeFilter
from persistence.write import Writer


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
        keyed = replace(command, change=replace(command.change, idempotency_key=f"demo-2-{number}"))  # type: ignore[type-var]  # every command is a dataclass
        outcome = await writer.execute(keyed)
        if not isinstance(outcome, Committed):
            # Somebody changed the demo between a load that was cut short and this one; theirs is left as it is.
            progress(f"The demo mesh was changed meanwhile; it stays as it is ({type(outcome).__name__})")
            return True
    return True
