"""The change stream as the API shows it."""

import strawberry

from graph.cursors import Cursor
from graph.scalars import Revision
from graph.types.diffs import ShardDiff


@strawberry.type(description="Where the change stream is.")
class StreamHead:
    cursor: Cursor = strawberry.field(description="Follow from here with `shardDiffs(after:)`.")
    epoch: str = strawberry.field(
        description="Names this stream. It changes when the store is restored or replaced; older cursors end there."
    )
    revision: Revision = strawberry.field(description="The newest revision; 0 before the first change.")
    oldest_revision: Revision = strawberry.field(
        description="The oldest revision that can still be read as of, diffed from and followed after."
    )


@strawberry.type(description="Shard changes in order, and the place in the stream they lead up to.")
class ShardDiffBatch:
    cursor: Cursor = strawberry.field(description="Resume here: `after` of the next subscription.")
    revision: Revision = strawberry.field(
        description="Everything up to and including this revision has been delivered to this subscription."
    )
    diffs: list[ShardDiff] = strawberry.field(
        description="The changes that match, in order of revision. Empty in a bookmark, which only moves the cursor."
    )
    caught_up: bool = strawberry.field(description="Whether this was the newest revision when the batch was made.")
