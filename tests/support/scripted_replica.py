"""A replica whose feed and store do what the test has them do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from persistence.model.outcomes import ShardsChanged
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, ChangeMark, DiffKind, Shard, ShardDiff, ShardKey, StreamPosition
from persistence.model.stream import OmittedRange
from persistence.ports.feed import Watcher
from persistence.ports.readers import Stamped, holds_none
from persistence.replica.replica import Replica, ReplicaLimits, following
from tests.support.rows import HISTORY, history_row, position
from tests.support.streams import a_shard

LIMITS = ReplicaLimits(shards=5, retry_seconds=0.0)


def at(revision: int, epoch: str = "one") -> StreamPosition:
    return position(revision, epoch)


def put(shard: Shard) -> ShardDiff:
    row = history_row(shard.revision, namespace=shard.namespace)
    return ShardDiff(
        shard.revision, DiffKind.UPDATED, shard.namespace, shard.shard_id, shard.version, (), None, shard, row.change
    )


def deletion(shard: Shard, revision: int) -> ShardDiff:
    change = history_row(revision).change
    return ShardDiff(revision, DiffKind.DELETED, shard.namespace, shard.shard_id, 2, (), shard, None, change)


@dataclass
class Scripted:
    """A feed that sends what the test gives it, and a store whose pages come when the test hands them over."""

    position: StreamPosition = field(default_factory=lambda: at(0))
    fresh: bool = True
    recent: bool = True
    watchers: list[Watcher] = field(default_factory=list)
    asked: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    answers: asyncio.Queue[Stamped[Page[Shard]] | Exception] = field(default_factory=asyncio.Queue)
    history: asyncio.Queue[ShardDiff] = field(default_factory=asyncio.Queue)
    read: list[OmittedRange] = field(default_factory=list)
    looked_up: list[ShardKey | ShardFilter | AsOf] = field(default_factory=list)
    stored_at: StreamPosition = field(default_factory=lambda: at(2))
    answering: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.answering.set()

    def now(self) -> float:
        return 0.0

    def is_fresh(self, received: float) -> bool:
        assert received == 0.0
        return self.recent

    @contextmanager
    def watched_by(self, watcher: Watcher) -> Iterator[StreamPosition]:
        self.watchers.append(watcher)
        try:
            yield self.position
        finally:
            self.watchers.remove(watcher)

    async def deliver(self, *diffs: ShardDiff, omitted: OmittedRange | None = None) -> None:
        """And let those that wait for it go on."""
        self.position = at(omitted.last if omitted else diffs[-1].revision, self.position.epoch)
        for watcher in self.watchers:
            watcher.advanced(self.position, diffs, omitted)
        await turns()

    async def read_omitted(self, omitted: OmittedRange) -> AsyncGenerator[Sequence[ShardDiff], None]:
        """What the test puts into `history`, one after the other."""
        self.read.append(omitted)
        while True:
            diff = await self.history.get()
            yield [diff]
            if diff.revision == omitted.last:
                return

    async def replace(self, position: StreamPosition) -> None:
        self.position = position
        for watcher in self.watchers:
            watcher.replaced(position)
        await turns()

    async def hand_over(
        self,
        revision: int,
        *shards: Shard,
        more: bool = False,
        epoch: str = "one",
        history: str = HISTORY,
        mark: ChangeMark | None = None,
    ) -> None:
        """A page of the table as of a revision."""
        async with asyncio.timeout(10):
            await self.asked.get()
        page = Page(shards, has_next=more, has_previous=False)
        stamp = position(revision, epoch, history)
        self.answers.put_nowait(Stamped(page, stamp if mark is None else stamp._replace(mark=mark)))
        await turns()

    async def page(
        self, where: ShardFilter, _page: PageRequest[ShardKey], as_of: AsOf | None = None
    ) -> Stamped[Page[Shard]]:
        self.looked_up.append(as_of or where)
        return Stamped(Page((), has_next=False, has_previous=False), self.stored_at)

    async def scan(self) -> AsyncGenerator[Stamped[Sequence[Shard]], None]:
        more = True
        while more:
            self.asked.put_nowait(None)
            answer = await self.answers.get()
            if isinstance(answer, Exception):
                raise answer
            yield Stamped(answer.value.items, answer.position)
            more = answer.value.has_next

    async def get(self, key: ShardKey, as_of: AsOf | None = None) -> Stamped[Shard | None]:
        self.looked_up.append(as_of or key)
        await self.answering.wait()
        return Stamped(None, self.stored_at)

    def holder(self) -> Callable[[Shard], bool]:
        return holds_none

    async def get_many(self, keys: Sequence[ShardKey], as_of: AsOf | None = None) -> Stamped[Sequence[Shard | None]]:
        self.looked_up += [as_of] if as_of else keys
        return Stamped([None for _ in keys], self.stored_at)

    async def count(self, where: ShardFilter, as_of: AsOf | None = None) -> int:
        self.looked_up.append(as_of or where)
        return 99


@asynccontextmanager
async def replicated(scripted: Scripted, limits: ReplicaLimits = LIMITS) -> AsyncIterator[Replica]:
    async with following(scripted, scripted, limits) as replica:
        yield replica
    assert "omnirelay-replica" not in {task.get_name() for task in asyncio.all_tasks()}
    assert scripted.watchers == []


def held(replica: Replica) -> Sequence[Shard] | None:
    """Everything, if it serves that."""
    table = replica.table_of(None)
    if table is None:
        return None
    page = table.value.page(ShardFilter(), PageRequest(500))
    assert page is not None
    return list(page.items)


ONE, TWO = a_shard("a", "1", revision=1), a_shard("a", "2", revision=2)
TWO_AGAIN = a_shard("a", "2", "node-2", 2, revision=4)
THREE = a_shard("b", "3", revision=3)


def changed(revision: int, *shards: Shard, epoch: str = "one") -> ShardsChanged:
    return ShardsChanged(history_row(revision).change, shards, at(revision, epoch))


async def turns() -> None:
    """Until everything that is ready has run."""
    for _ in range(10):
        await asyncio.sleep(0)


LONG = OmittedRange(2, 3, frozenset({"a"}), history_row(1).change.mark)
"""A change of ONE and TWO, which were there: the rest of what revision 1 begins with."""

ONE_MOVED, TWO_MOVED = a_shard("a", "1", "node-2", 2, revision=2), a_shard("a", "2", "node-2", 2, revision=3)
