"""After a list was read from the store, which is ahead of the feed, lookups do not contradict it; and those of shards
that it showed as they are in memory are answered from there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import Shard, ShardDiff, ShardKey
from persistence.ports.readers import Stamped
from persistence.replica.pending import PAGES_AT_MOST
from persistence.replica.reader import ReplicaShards
from persistence.replica.replica import Replica
from tests.reference.readers import page_by
from tests.support.scripted_replica import (
    LIMITS,
    LONG,
    ONE,
    ONE_MOVED,
    THREE,
    TWO,
    TWO_MOVED,
    Scripted,
    at,
    deletion,
    put,
    replicated,
    turns,
)
from tests.support.streams import a_shard

OWNERS: Final = ("node-1", "node-2")

keys = st.builds(ShardKey, st.sampled_from("ab"), st.sampled_from("0123"))
filters = st.builds(
    ShardFilter,
    namespace=st.none() | st.sampled_from("ab"),
    shard_ids=st.none() | st.lists(st.sampled_from("0123"), min_size=1, max_size=2),
    owner_node_ids=st.none() | st.sampled_from(OWNERS).map(lambda owner: [owner]),
)
cursors = st.none() | keys
requests = st.builds(PageRequest, st.integers(1, 4), cursors, cursors, st.booleans())
changes = st.lists(st.tuples(keys, st.none() | st.sampled_from(OWNERS)), max_size=12)
"""Each puts a shard with that owner, or deletes it."""


@dataclass
class Timeline:
    """The table as of each revision, and the diffs by which it came there."""

    tables: list[dict[ShardKey, Shard]]
    diffs: list[ShardDiff]

    @classmethod
    def of(cls, each: Iterable[tuple[ShardKey, str | None]]) -> Timeline:
        found = cls([{}], [])
        for key, owner in each:
            revision, table = len(found.tables), dict(found.tables[-1])
            gone = table.pop(key, None)
            if owner is not None:
                table[key] = a_shard(*key, owner, revision=revision)
                found.diffs.append(put(table[key]))
            elif gone is not None:
                found.diffs.append(deletion(gone, revision))
            else:
                continue
            found.tables.append(table)
        return found

    @property
    def last(self) -> int:
        return len(self.diffs)

    def page(self, revision: int, where: ShardFilter, request: PageRequest[ShardKey]) -> Page[Shard]:
        return page_by(attrgetter("key"), filter(where.matches, self.tables[revision].values()), request)


def contradicts(
    looked_up: Shard | None, key: ShardKey, where: ShardFilter, request: PageRequest[ShardKey], page: Page[Shard]
) -> bool:
    """Whether an earlier state of the shard, that a lookup shows, is not what the page says of it."""
    listed = {shard.key: shard for shard in page.items}.get(key)
    if listed is not None:
        return looked_up != listed
    after, before = request.after, request.before
    if request.backward and page.has_previous:
        after = page.items[0].key
    elif not request.backward and page.has_next:
        before = page.items[-1].key
    is_within = (after is None or key > after) and (before is None or key < before)
    return is_within and looked_up is not None and where.matches(looked_up)


@given(before=changes, after=changes, later=st.integers(0, 3), where=filters, request=requests, step=st.integers(1, 3))
async def test_no_lookup_contradicts_what_a_list_showed(
    before: Sequence[tuple[ShardKey, str | None]],
    after: Sequence[tuple[ShardKey, str | None]],
    later: int,
    where: ShardFilter,
    request: PageRequest[ShardKey],
    step: int,
) -> None:
    """The list shows what was before the last few changes. Each shard is looked up each time that the feed has come a
    few further."""
    begin, timeline = Timeline.of(before).last, Timeline.of([*before, *after])
    listed_at = max(begin, timeline.last - later)
    page = timeline.page(listed_at, where, request)
    scripted = Scripted(position=at(begin))
    async with replicated(scripted, replace(LIMITS, shards=50)) as replica:
        await scripted.hand_over(begin, *timeline.tables[begin].values())
        replica.expect_page(at(listed_at), where, request, page)
        for reached in range(begin, timeline.last + step, step):
            if reached > begin:
                await scripted.deliver(*timeline.diffs[reached - step : reached])
            for key in {key for table in timeline.tables for key in table}:
                table = replica.table_with(key)
                if table is not None and table.position.revision < listed_at:
                    assert not contradicts(table.value.get(*key), key, where, request, page)
        assert replica.settled() == at(timeline.last)


async def test_a_shard_that_a_list_showed_as_it_is_in_memory_is_answered_from_there(
    scripted: Scripted, replica: Replica
) -> None:
    """As are those that it did not come to; a list would be read from the store again."""
    await scripted.hand_over(0, ONE, TWO, THREE)
    moved = replace(TWO, owner_node_id="node-2", revision=4)
    page = Page([ONE, moved], has_next=True, has_previous=False)
    replica.expect_page(at(4), ShardFilter(), PageRequest(2), page)
    reader = ReplicaShards(replica, scripted)
    assert await reader.get(ONE.key) == Stamped(ONE, at(0))
    assert await reader.get(THREE.key) == Stamped(THREE, at(0))
    assert scripted.looked_up == []
    await reader.get(TWO.key)
    await reader.page(ShardFilter(namespace="b"), PageRequest(5))
    assert scripted.looked_up == [TWO.key, ShardFilter(namespace="b")]
    await scripted.deliver(put(moved))
    assert await reader.get(TWO.key) == Stamped(moved, at(4))
    assert replica.settled() == at(4)


async def test_a_shard_that_a_list_did_not_show_any_more_is_not_shown(scripted: Scripted, replica: Replica) -> None:
    await scripted.hand_over(0, ONE, TWO, THREE)
    replica.expect_page(
        at(4), ShardFilter(namespace="a"), PageRequest(5), Page([ONE], has_next=False, has_previous=False)
    )
    assert replica.table_with(ONE.key) is not None
    assert replica.table_with(TWO.key) is None
    assert replica.table_with(THREE.key) is not None


async def test_a_shard_that_is_read_from_history_only_later_is_held_against_the_list_too(
    scripted: Scripted, replica: Replica
) -> None:
    """A long change comes before what the list showed."""
    await scripted.hand_over(0, ONE, TWO, THREE)
    where, shown = ShardFilter(namespace="a"), [replace(ONE_MOVED, revision=4), TWO_MOVED]
    replica.expect_page(at(4), where, PageRequest(5), Page(shown, has_next=False, has_previous=False))
    await scripted.deliver(put(replace(ONE, revision=1)), omitted=LONG)
    assert replica.table_with(ONE.key) is None
    assert replica.table_with(TWO.key) is None
    assert replica.table_with(THREE.key) is not None
    for row in (ONE_MOVED, TWO_MOVED):
        scripted.history.put_nowait(put(row))
    await turns()
    assert replica.table_with(ONE.key) is None
    assert replica.table_with(TWO.key) == Stamped(replica.table, at(3))


async def test_of_more_pages_than_lookups_are_held_against_each_shard_is_expected(
    scripted: Scripted, replica: Replica
) -> None:
    await scripted.hand_over(0, ONE, TWO, THREE)
    page = Page([ONE, TWO], has_next=False, has_previous=False)
    searches = [ShardFilter(namespace="a", search=str(number)) for number in range(PAGES_AT_MOST)]
    for each in searches:
        replica.expect_page(at(4), each, PageRequest(5), page)
    assert replica.table_with(ONE.key) is not None
    replica.expect_page(at(4), ShardFilter(namespace="a", pinned=False), PageRequest(5), page)
    assert replica.table_with(ONE.key) is None
    assert replica.table_with(THREE.key) is not None


async def test_a_list_that_is_read_again_takes_the_place_of_the_one_before(
    scripted: Scripted, replica: Replica
) -> None:
    await scripted.hand_over(0, ONE, TWO, THREE)
    moved, moved_again = replace(ONE, revision=4), replace(ONE, revision=5)
    for _ in range(PAGES_AT_MOST):
        for revision, shard in ((4, moved), (5, moved_again)):
            page = Page([shard, TWO], has_next=False, has_previous=False)
            replica.expect_page(at(revision), ShardFilter(namespace="a"), PageRequest(5), page)
    assert replica.table_with(TWO.key) is not None
    await scripted.deliver(put(moved))
    assert replica.table_with(ONE.key) is None
    await scripted.deliver(put(moved_again))
    assert replica.table_with(ONE.key) is not None


async def test_of_a_list_that_is_read_again_and_comes_less_far_both_are_held(
    scripted: Scripted, replica: Replica
) -> None:
    await scripted.hand_over(0, ONE, TWO, THREE)
    replica.expect_page(at(4), ShardFilter(), PageRequest(5), Page([ONE], has_next=False, has_previous=False))
    replica.expect_page(at(5), ShardFilter(), PageRequest(1), Page([ONE], has_next=True, has_previous=False))
    assert replica.table_with(ONE.key) is not None
    assert replica.table_with(TWO.key) is None
    await scripted.deliver(deletion(TWO, 4))
    assert replica.table_with(TWO.key) is not None


async def test_a_list_that_was_read_earlier_and_comes_later_does_not_take_the_place_of_a_newer_one(
    scripted: Scripted, replica: Replica
) -> None:
    await scripted.hand_over(0, ONE, TWO, THREE)
    moved = replace(ONE, revision=5)
    for revision, shard in ((5, moved), (4, ONE)):
        page = Page([shard, TWO], has_next=False, has_previous=False)
        replica.expect_page(at(revision), ShardFilter(namespace="a"), PageRequest(5), page)
    assert replica.table_with(ONE.key) is None
    await scripted.deliver(put(replace(TWO, revision=4)))
    assert replica.table_with(ONE.key) is None


async def test_a_namespace_that_has_come_as_far_as_a_list_is_not_held_against_it_while_another_is_behind(
    scripted: Scripted, replica: Replica
) -> None:
    await scripted.hand_over(0, ONE, TWO, THREE)
    page = Page([ONE_MOVED, TWO, THREE], has_next=False, has_previous=False)
    replica.expect_page(at(2), ShardFilter(), PageRequest(5), page)
    of_a = Page([ONE_MOVED, TWO], has_next=False, has_previous=False)
    replica.expect_page(at(9), ShardFilter(namespace="a"), PageRequest(5), of_a)
    await scripted.deliver(put(replace(ONE, revision=1)), omitted=LONG)
    await scripted.deliver(put(replace(THREE, revision=4)))
    assert replica.table_with(ONE.key) is None
    assert replica.table_with(THREE.key) is not None


async def test_a_search_that_ended_early_says_nothing_of_what_is_beyond(scripted: Scripted, replica: Replica) -> None:
    await scripted.hand_over(0, ONE, TWO, THREE)
    searched = ShardFilter(search="")
    replica.expect_page(at(4), searched, PageRequest(5), Page([], has_next=True, has_previous=False, end=ONE.key))
    assert replica.table_with(ONE.key) is None
    assert replica.table_with(TWO.key) is not None
    replica.expect_page(
        at(4), searched, PageRequest(5, backward=True), Page([], has_next=False, has_previous=True, start=THREE.key)
    )
    assert replica.table_with(TWO.key) is not None
    assert replica.table_with(THREE.key) is None


async def test_counts_that_are_others_in_memory_are_expected_of_their_namespaces(
    scripted: Scripted, replica: Replica
) -> None:
    await scripted.hand_over(0, ONE, TWO, THREE)
    table = replica.table
    assert table is not None
    counts = [count._replace(shards=count.shards + (count.namespace == "b")) for count in table.counts(None)]
    replica.expect_counts(at(4), None, counts)
    assert replica.table_with(ONE.key) is not None
    assert replica.table_with(THREE.key) is None
    assert replica.table_of("a") is None
