"""What the replica waits for: changes that it cannot apply yet, and revisions that it has not got yet.

A change of thousands of shards has to be read from history first. Meanwhile its namespaces are behind: their tables
stay as they were before it, and what comes next of them waits its turn. Other namespaces go on.

What was committed through a process, or read from the database through it, must not be missing from what is read
through it next. The stream brings it a few milliseconds later. A read that needs it waits for a tenth of a second;
where it has not come by then, exactly those shards are read from the database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self, TypeAlias, TypeVar

from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import ChangeMark, Shard, ShardDiff, ShardKey, StreamPosition
from persistence.model.stream import OmittedRange

Item: TypeAlias = ShardDiff | OmittedRange

PAGES_AT_MOST: Final = 32
"""That a lookup is held against, a microsecond or two each. Of one more each shard of its namespace counts as
changed."""


class _Received(NamedTuple):
    """`position`: before the item, and before all of a long change. `time`: when it came, by the feed's clock."""

    item: Item
    position: StreamPosition
    time: float


class Lag:
    """What a namespace that is behind waits for: one item at least."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: deque[_Received] = deque()

    @property
    def position(self) -> StreamPosition:
        """Where its table is in the stream."""
        return self.waiting[0].position

    @property
    def received(self) -> float:
        """When the first of what its table lacks came."""
        return self.waiting[0].time


class Backlog:
    """In the order of the stream."""

    def __init__(self) -> None:
        self.items: deque[_Received] = deque()
        """To be read only, as what there is to apply; it is looked at for each lookup."""
        self.lags: dict[str, Lag] = {}
        """Of the namespaces that are behind. To be read only."""

    def add(
        self, position: StreamPosition, diffs: Sequence[ShardDiff], omitted: OmittedRange | None, time: float
    ) -> None:
        """All of what follows `position`, received at this time."""
        for diff in diffs:
            self._add(diff, position, time)
            position = diff.position_in(position.epoch)
        if omitted is not None:
            self._add(omitted, position, time)

    def hold_back(
        self, position: StreamPosition, diffs: Sequence[ShardDiff], omitted: OmittedRange | None, time: float
    ) -> Sequence[ShardDiff]:
        """As `add`, of namespaces that are behind, and of the change that is omitted, which these diffs end with the
        beginning of; the others are to be applied."""
        applied: list[ShardDiff] = []
        for diff in diffs:
            begins = omitted is not None and diff.change.mark == omitted.mark
            if begins or diff.namespace in self.lags:
                self._add(diff, position, time)
            else:
                applied.append(diff)
            if not begins:
                position = diff.position_in(position.epoch)
        if omitted is not None:
            self._add(omitted, position, time)
        return applied

    def _add(self, item: Item, position: StreamPosition, time: float) -> None:
        received = _Received(item, position, time)
        self.items.append(received)
        for name in _namespaces(item):
            lag = self.lags.get(name)
            if lag is None:
                lag = self.lags[name] = Lag()
            lag.waiting.append(received)

    def next(self, limit: int) -> Sequence[Item]:
        """What is to be applied together: about so many diffs, or up to an omitted range, that one included. No change
        is divided."""
        items: list[Item] = []
        for item, *_ in self.items:
            if len(items) >= limit and _mark(item) != _mark(items[-1]):
                break
            items.append(item)
            if isinstance(item, OmittedRange):
                break
        return items

    def done(self, count: int) -> None:
        """So many items have been applied."""
        for _ in range(count):
            for name in _namespaces(self.items.popleft().item):
                lag = self.lags[name]
                lag.waiting.popleft()
                if not lag.waiting:
                    del self.lags[name]

    def of(self, namespace: str | None) -> Lag | None:
        """Of a namespace, null for one that is not behind; without a name, of the one that is furthest behind."""
        if namespace is not None:
            return self.lags.get(namespace)
        return self.lags[next(iter(_namespaces(self.items[0].item)))] if self.items else None


def _mark(item: Item) -> ChangeMark:
    return item.mark if isinstance(item, OmittedRange) else item.change.mark


def _namespaces(item: Item) -> Iterable[str]:
    return item.namespaces if isinstance(item, OmittedRange) else (item.namespace,)


K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class ShownPage:
    """What a page that was read from the database shows: these shards, and no others that match, from `first` to
    `last`; null is without an end."""

    revision: int
    where: ShardFilter
    first: ShardKey | None
    last: ShardKey | None
    shards: Mapping[ShardKey, Shard]

    @classmethod
    def of(cls, revision: int, where: ShardFilter, request: PageRequest[ShardKey], page: Page[Shard]) -> Self:
        first, last = request.after, request.before
        if request.backward and page.has_previous:
            first = page.start if page.start is not None else page.items[0].key
        elif not request.backward and page.has_next:
            last = page.end if page.end is not None else page.items[-1].key
        return cls(revision, where, first, last, {shard.key: shard for shard in page.items})

    def replaces(self, other: ShownPage) -> bool:
        """Whether what the other one shows, or something newer, is shown by this one."""
        return (
            other.where == self.where
            and other.revision <= self.revision
            and (self.first is None or (other.first is not None and self.first <= other.first))
            and (self.last is None or (other.last is not None and self.last >= other.last))
        )

    def contradicts(self, key: ShardKey, held: Shard | None) -> bool:
        """Whether a shard that is held as it was before is not what the page shows. One that a cursor of the request
        names is on no page, and counts as within."""
        shown = self.shards.get(key)
        if shown is not None:
            return held != shown
        return (
            held is not None
            and (self.first is None or key >= self.first)
            and (self.last is None or key <= self.last)
            and self.where.matches(held)
        )


class Expectations:
    """Each is met by a revision, and remembered until the newest of all has come."""

    def __init__(self) -> None:
        self._seen = 0
        self.newest = 0
        """The revision that meets all of them."""
        self._shards: dict[ShardKey, int] = {}
        self._partly: dict[str, int] = {}
        self._wholly: dict[str, int] = {}
        self._all = 0
        self._lists: dict[str | None, int] = {}
        """By namespace; those of any, without a name."""
        self._pages: list[ShownPage] = []

    def expect_shards(self, revision: int, shards: Iterable[ShardKey | Shard]) -> None:
        """These were changed by a commit that ended at `revision`, or answered as of it."""
        for shard in shards:
            key = ShardKey(shard.namespace, shard.shard_id)
            # Commits are answered in any order, and what was answered last need not be the newest.
            _raise(self._shards, key, revision)
            _raise(self._partly, key.namespace, revision)
        self.newest = max(self.newest, revision)

    def expect_namespaces(self, revision: int, names: Iterable[str]) -> None:
        """Some shards of these were changed, or answered; each counts as changed."""
        for name in names:
            _raise(self._wholly, name, revision)
            _raise(self._partly, name, revision)
        self.newest = max(self.newest, revision)

    def expect_all(self, revision: int) -> None:
        """Of all namespaces."""
        self._all = max(self._all, revision)
        self.newest = max(self.newest, revision)

    def expect_lists(self, revision: int, name: str | None) -> None:
        """Of a namespace, or of any. No single shard is expected by that."""
        _raise(self._lists, name, revision)
        self.newest = max(self.newest, revision)

    def expect_page(self, page: ShownPage) -> None:
        """Lists of its namespace are expected, and the shards that are not as it shows them."""
        self._pages = [each for each in self._pages if not page.replaces(each)]
        if len(self._pages) < PAGES_AT_MOST:
            self._pages.append(page)
            self.expect_lists(page.revision, page.where.namespace)
        elif page.where.namespace is None:
            self.expect_all(page.revision)
        else:
            self.expect_namespaces(page.revision, [page.where.namespace])

    def seen(self, revision: int, everywhere: int | None = None) -> None:
        """The replica has come so far; so far as `everywhere` with namespaces that are behind."""
        self._seen = revision
        met = revision if everywhere is None else everywhere
        if met >= self.newest and (self._partly or self._lists):
            for expected in (self._shards, self._partly, self._wholly, self._lists):
                expected.clear()
        if self._pages:
            self._pages = [page for page in self._pages if page.revision > met]

    def of_shard(self, key: ShardKey, held: Shard | None, seen: int | None = None) -> bool:
        """Whether it must not be shown as it is `held`, null for one that is not. `seen`: how far its namespace is, if
        that is behind."""
        if seen is None:
            seen = self._seen
        if self.newest <= seen:
            return False
        if max(self._shards.get(key, 0), self._wholly.get(key.namespace, 0), self._all) > seen:
            return True
        return any(page.revision > seen and page.contradicts(key, held) for page in self._pages)

    def of_namespace(self, name: str | None, seen: int | None = None) -> bool:
        """Of any namespace, without a name."""
        if seen is None:
            seen = self._seen
        if name is None:
            return self.newest > seen
        lists = max(self._lists.get(name, 0), self._lists.get(None, 0)) if self._lists else 0
        return max(self._partly.get(name, 0), self._all, lists) > seen


def _raise(expected: dict[K, int], key: K, revision: int) -> None:
    expected[key] = max(expected.get(key, 0), revision)
