"""How much was changed over a time: counted from the counters that changes and revisions are, not by reading them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated, Final

import strawberry

from graph.execution.context import Info
from graph.schema.arguments import invalid
from graph.schema.scalars import Revision

MAX_BUCKETS: Final = 500


@strawberry.type(description="How much was changed in a part of a time.")
class ActivityBucket:
    begins: datetime = strawberry.field(description="When it begins.")
    ends: datetime = strawberry.field(description="When it ends, which is not in it.")
    changes: int = strawberry.field(description="How many changes were committed, of anything.")
    shard_changes: int = strawberry.field(description="How often shards were changed by them.")
    last_revision: Revision = strawberry.field(
        description="The newest revision at its end: `asOf` or `shardDiff` show the table as it was."
    )


@dataclass(frozen=True, slots=True)
class Bucket:
    """`ActivityBucket`."""

    begins: datetime
    ends: datetime
    changes: int
    shard_changes: int
    last_revision: int


async def activity(
    info: Info,
    begins: Annotated[datetime, strawberry.argument(name="from", description="When the time begins.")],
    ends: Annotated[
        datetime | None, strawberry.argument(name="to", description="When it ends, which is not in it; now by default.")
    ] = None,
    buckets: Annotated[
        int, strawberry.argument(description=f"How many parts it is divided into, equally long: 1 to {MAX_BUCKETS}.")
    ] = 60,
) -> Sequence[Bucket]:
    if not 1 <= buckets <= MAX_BUCKETS:
        raise invalid("buckets", f"must be between 1 and {MAX_BUCKETS}, not {buckets:,}")
    ends = ends or info.context.services.clock()
    if ends <= begins:
        raise invalid("to", "must be later than from")
    step = (ends - begins) / buckets
    if step < timedelta(microseconds=1):
        raise invalid("buckets", "must be fewer than there are microseconds in the time")
    times = [*(begins + step * number for number in range(buckets)), ends]
    counted = await info.context.services.store.changes.counted_before(times)
    return [
        Bucket(start, end, after[0] - before[0], after[1] - before[1], after[1])
        for (start, end), (before, after) in zip(pairwise(times), pairwise(counted), strict=True)
    ]
