"""Random lives of the feed's state machines: every subscriber gets exactly what it asked for, or a refusal.

The machine plays the store and the driver. Pages are as large as it pleases, are told long after they were read, twice,
or empty; revisions are compacted away; the store is replaced, or goes back. Subscribers go at their own pace, from the
ring or, behind it, from history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from persistence.feed import tailer
from persistence.feed.limits import FeedLimits
from persistence.feed.matching import Matching
from persistence.feed.place import Place
from persistence.feed.ring import Ring, Stretch
from persistence.feed.tailer import Replaced, Tailer, WentBack
from persistence.ports import DiffBatch, DiffFilter, StreamHead
from persistence.queries import ShardFilter
from persistence.records import ShardDiff, StreamPosition
from tests.support.rows import rows_of_one_change

_LIMITS: Final = FeedLimits(ring=6, page=4, bookmark_seconds=10.0)
_NAMESPACES: Final = ("billing", "search")
_OWNERS: Final = ("node-a", "node-b")
_FILTERS: Final = (
    DiffFilter(),
    DiffFilter(namespace="billing"),
    DiffFilter(shards=ShardFilter(owner_node_ids=("node-b",))),
    DiffFilter("search", ShardFilter(owner_node_ids=("node-a",))),
    DiffFilter(namespace="nothing-is-there"),
)
_SIZES: Final = st.integers(0, 5)
_ROWS: Final = st.lists(st.tuples(st.sampled_from(_NAMESPACES), st.sampled_from(_OWNERS)), max_size=9)
_BULK: Final = st.sampled_from((_NAMESPACES, _NAMESPACES[:1], _NAMESPACES[1:])).flatmap(
    lambda names: st.lists(st.tuples(st.sampled_from(names), st.sampled_from(_OWNERS)), min_size=5, max_size=14)
)

_Page = tuple[StreamHead, Sequence[ShardDiff]]


class _TheStore:
    """History as the database has it, and as it was in epochs that are over."""

    def __init__(self) -> None:
        self.epoch = "e1"
        self.floor = 0
        self.streams: dict[str, list[ShardDiff]] = {"e1": []}

    @property
    def rows(self) -> list[ShardDiff]:
        return self.streams[self.epoch]

    @property
    def head(self) -> StreamHead:
        return StreamHead(self.epoch, len(self.rows), self.floor)

    def after(self, revision: int, limit: int, namespace: str | None = None) -> _Page:
        rows = [row for row in self.rows[max(revision, self.floor) :] if namespace in {None, row.namespace}]
        return self.head, rows[:limit]

    def commit(self, rows: Sequence[tuple[str, str]]) -> None:
        """A change for each."""
        for row in rows:
            self.commit_at_once([row])

    def commit_at_once(self, rows: Sequence[tuple[str, str]]) -> None:
        self.rows.extend(rows_of_one_change(len(self.rows) + 1, rows))

    def begin_epoch(self, rows: Sequence[ShardDiff]) -> None:
        self.epoch = f"e{len(self.streams) + 1}"
        self.streams[self.epoch] = list(rows)
        self.floor = min(self.floor, len(rows))


@dataclass
class _Subscriber:
    """What one has been told since `begin`, and the refusal that ended it."""

    place: Place
    begin: StreamPosition
    heard: list[ShardDiff] = field(default_factory=list)
    told: StreamPosition | None = None
    refused: bool = False

    def hear(self, batch: DiffBatch) -> None:
        self.heard += batch.diffs
        self.told = batch.position


class FeedMachine(RuleBasedStateMachine):
    place_kind: ClassVar[type[Place]] = Place
    matching_kind: ClassVar[type[Matching]] = Matching

    def __init__(self) -> None:
        super().__init__()
        self.store = _TheStore()
        self.read: list[_Page] = []
        self.subscribers: list[_Subscriber] = []
        self.matching = self.matching_kind()
        self.now = 0.0

    @initialize(rows=_ROWS)
    def begin(self, rows: list[tuple[str, str]]) -> None:
        self.store.commit(rows)
        self.tailer = Tailer(self.store.head, _LIMITS)

    @rule(rows=_ROWS)
    def commit(self, rows: list[tuple[str, str]]) -> None:
        self.store.commit(rows)

    @rule(rows=_BULK, followed=st.booleans())
    def commit_at_once(self, rows: list[tuple[str, str]], followed: bool) -> None:  # noqa: FBT001
        self.store.commit_at_once(rows)
        if followed:
            self.keep_up()
            self.everyone_goes_on()

    @rule(size=_SIZES, told=st.integers(0, 2))
    def read_a_page(self, size: int, told: int) -> None:
        """It is told at once so many times, and perhaps once more later."""
        page = self.store.after(self.tailer.position.revision, size)
        self.read.append(page)
        for _ in range(told):
            self._tell(*page)

    @precondition(lambda self: self.read)
    @rule(data=st.data(), keep=st.booleans())
    def be_told(self, data: st.DataObject, keep: bool) -> None:  # noqa: FBT001
        """Of a page that was read at some time, perhaps not for the last time."""
        page = data.draw(st.sampled_from(self.read))
        if not keep:
            self.read.remove(page)
        self._tell(*page)

    @rule()
    def keep_up(self) -> None:
        self.read.clear()
        for _ in range(len(self.store.rows) + 2):  # a broken tailer might never come to the head
            if self.tailer.position == self.store.head.position:
                return
            self._tell(*self.store.after(self.tailer.position.revision, 3))
        raise AssertionError(f"the tailer stays at {self.tailer.position}")

    @rule(share=st.floats(0.0, 1.0))
    def compact(self, share: float) -> None:
        self.store.floor = max(self.store.floor, int(share * len(self.store.rows)))

    @rule(rows=_ROWS)
    def replace(self, rows: list[tuple[str, str]]) -> None:
        self.read.clear()
        self.store.begin_epoch([])
        self.store.commit(rows)

    @precondition(lambda self: self.tailer.position == self.store.head.position and len(self.store.rows) > 1)
    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        """An older copy is put in place; it is looked at before as much has been committed once more."""
        kept = self.store.rows[: data.draw(st.integers(0, len(self.store.rows) - 1))]
        told = self.tailer.receive(StreamHead(self.store.epoch, len(kept), 0), [])
        assert isinstance(told, WentBack)
        self.read.clear()
        self.store.begin_epoch(kept)

    @rule(data=st.data(), where=st.sampled_from(_FILTERS))
    def subscribe(self, data: st.DataObject, where: DiffFilter) -> None:
        """From somewhere that can be served."""
        if self.store.epoch == self.tailer.position.epoch:
            revision = data.draw(st.integers(self.store.floor, len(self.store.rows)))
            begin = StreamPosition(self.store.epoch, revision)
            self.subscribers.append(_Subscriber(self.place_kind(begin, where, _LIMITS), begin))

    @precondition(lambda self: self.subscribers)
    @rule(data=st.data(), steps=st.integers(1, 4), seconds=st.floats(0.0, 12.0))
    def go_on(self, data: st.DataObject, steps: int, seconds: float) -> None:
        """One subscriber takes what there is; others wait."""
        self.now += seconds
        for _ in range(steps):
            self._step(data.draw(st.sampled_from(self.subscribers)))

    @rule()
    def everyone_goes_on(self) -> None:
        for subscriber in self.subscribers:
            for _ in range(3):
                self._step(subscriber)

    @invariant()
    def everyone_has_heard_exactly_what_it_asked_for(self) -> None:
        for subscriber in self.subscribers:
            told = subscriber.told
            if told is None:
                continue
            assert told.epoch == subscriber.begin.epoch
            stream = self.store.streams[told.epoch][subscriber.begin.revision : told.revision]
            assert subscriber.heard == [row for row in stream if subscriber.place.where.matches(row)]

    @invariant()
    def nobody_is_told_of_a_place_far_behind_its_own(self) -> None:
        for subscriber in self.subscribers:
            if subscriber.told is not None:
                assert subscriber.place.position.revision - subscriber.told.revision < _LIMITS.page

    def teardown(self) -> None:
        """In the end everyone who was not refused comes to the head."""
        if not self.subscribers:
            return
        self.keep_up()
        for subscriber in self.subscribers:
            for _ in range(len(self.store.rows) + 2):
                self.now += _LIMITS.bookmark_seconds
                self._step(subscriber)
            assert subscriber.refused or subscriber.told == self.store.head.position
        self.everyone_has_heard_exactly_what_it_asked_for()

    def _tell(self, head: StreamHead, diffs: Sequence[ShardDiff]) -> None:
        """As the driver does, which logs what does not follow and reads again."""
        before = self.tailer.position
        try:
            received = self.tailer.receive(head, diffs)
        except ValueError:
            assert self.tailer.position == before
            return
        if isinstance(received, Replaced):
            self.matching = self.matching_kind()

    def _step(self, subscriber: _Subscriber) -> None:
        place = subscriber.place
        position = place.position
        if subscriber.refused:
            return
        if position.epoch != self.tailer.position.epoch:
            subscriber.refused = True
            return
        left_out = self.tailer.ring.left_out_after(position.revision)
        if left_out is not None and not place.where.wants_any_of(left_out.namespaces):
            place.go_past(left_out.last)
        position = place.position
        limit = _LIMITS.to_page_end(position.revision)
        passed: Sequence[ShardDiff] | None = self.tailer.ring.after(position.revision, limit)
        if passed is not None:
            reached = passed[-1].revision if passed else position.revision
        else:
            head, passed = self.store.after(position.revision, limit, place.where.only_namespace)
            if head.epoch != position.epoch or position.revision < head.floor:
                subscriber.refused = True
                return
            reached = passed[-1].revision if len(passed) == limit else head.revision
        wanted = self.matching.wanted(place.where, passed)
        batch = place.advance(reached, wanted, self.tailer.position.revision, self.now)
        if batch is not None:
            subscriber.hear(batch)


_SETTINGS = settings(max_examples=60, stateful_step_count=40)


def test_each_subscriber_hears_what_it_asked_for_once_and_in_order_or_is_refused() -> None:
    run_state_machine_as_test(FeedMachine, settings=_SETTINGS)


class _TakesAnything(Ring):
    """Does not look whether diffs follow."""

    def extend(self, diffs: Sequence[ShardDiff]) -> None:
        self._runs[-1].diffs.extend(diffs)
        self._held += len(diffs)
        self._forget()


class _LosesTheOldest(Ring):
    """Answers from where it begins whoever is behind it."""

    def after(self, revision: int, limit: int) -> list[ShardDiff] | None:
        return super().after(max(revision, self.start), limit)


class _SaysTooMuchIsLeftOut(Ring):
    def left_out_after(self, revision: int) -> Stretch | None:
        stretch = super().left_out_after(revision)
        return stretch and replace(stretch, last=stretch.last + 3)


class _ForgetsANamespace(Ring):
    def leave_out(self, stretch: Stretch) -> None:
        super().leave_out(replace(stretch, namespaces=frozenset(sorted(stretch.namespaces)[:1])))


class _SkipsOne(Place):
    def advance(self, revision: int, wanted: Sequence[ShardDiff], head: int, now: float) -> DiffBatch | None:
        return super().advance(revision, wanted[1:] if len(wanted) > 2 else wanted, head, now)


class _TellsTwice(Place):
    """Does not move on past the last diff it has told."""

    def advance(self, revision: int, wanted: Sequence[ShardDiff], head: int, now: float) -> DiffBatch | None:
        return super().advance(revision - 1 if len(wanted) > 2 else revision, wanted, head, now)


class _Reorders(Place):
    def advance(self, revision: int, wanted: Sequence[ShardDiff], head: int, now: float) -> DiffBatch | None:
        return super().advance(revision, wanted[::-1], head, now)


class _NeverBookmarks(Place):
    def advance(self, revision: int, wanted: Sequence[ShardDiff], head: int, now: float) -> DiffBatch | None:
        batch = super().advance(revision, wanted, head, now)
        return batch if wanted else None


class _MatchesBriefly(Matching):
    """Forgets where the stretch ended."""

    def wanted(self, where: DiffFilter, diffs: Sequence[ShardDiff]) -> Sequence[ShardDiff]:
        return super().wanted(where, diffs[:3])


@pytest.mark.parametrize("ring", [_TakesAnything, _LosesTheOldest, _SaysTooMuchIsLeftOut, _ForgetsANamespace])
def test_a_ring_that_is_broken_is_found_out(ring: type[Ring], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tailer, "Ring", ring)
    _assert_found_out(FeedMachine)


@pytest.mark.parametrize("broken", [_SkipsOne, _TellsTwice, _Reorders, _NeverBookmarks])
def test_a_place_that_is_broken_is_found_out(broken: type[Place]) -> None:
    class Machine(FeedMachine):
        place_kind = broken

    _assert_found_out(Machine)


def test_matching_that_is_broken_is_found_out() -> None:
    class Machine(FeedMachine):
        matching_kind = _MatchesBriefly

    _assert_found_out(Machine)


def _assert_found_out(machine: type[FeedMachine]) -> None:
    at_once = settings(
        _SETTINGS, max_examples=1_000, phases=[Phase.generate], report_multiple_bugs=False, print_blob=False
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=at_once)
