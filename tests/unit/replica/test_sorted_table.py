"""Pages from the replica are the pages that the store itself would give."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from persistence.model.paging import PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import Shard, ShardKey, ShardStatus
from persistence.ports.readers import capacity_units
from persistence.replica.sorted_table import COMPARED_AT_MOST, EXAMINED_AT_MOST, SortedTable, StagedDiffs
from tests.reference.readers import page_by
from tests.support.rows import history_row
from tests.support.streams import a_shard

NAMESPACES = ("a", "a.b", "a:b", "b")
IDS = ("0", "1", "10", "2", "A", "a", "a-b", "a.b", "b")
OWNERS = ("node-1", "node-2")

keys = st.builds(ShardKey, st.sampled_from(NAMESPACES), st.sampled_from(IDS))
shards = st.builds(
    lambda key, owner, status, capacity: replace(
        a_shard(key.namespace, key.shard_id, owner), status=status, capacity_hint=capacity
    ),
    keys,
    st.sampled_from(OWNERS),
    st.sampled_from(ShardStatus),
    st.sampled_from([1.0, 0.1, 2.5, 1e300]),
)
filters = st.builds(
    ShardFilter,
    namespace=st.none() | st.sampled_from([*NAMESPACES, "nowhere"]),
    shard_ids=st.none() | st.lists(st.sampled_from(IDS), max_size=4),
    owner_node_ids=st.none() | st.lists(st.sampled_from(OWNERS), max_size=2),
    leader_ids=st.none() | st.just(["leader"]),
    statuses=st.none() | st.lists(st.sampled_from(ShardStatus), max_size=2),
    strategies=st.none() | st.just(["rendezvous"]),
    search=st.none() | st.sampled_from(["a", "1", "."]),
)
cursors = st.none() | keys | st.builds(ShardKey, st.sampled_from(["", "a.", "zz"]), st.sampled_from(["", "5", "~"]))
requests = st.builds(PageRequest, st.integers(1, 7), cursors, cursors, st.booleans())


def table_of(*found: Shard) -> SortedTable:
    table = SortedTable()
    table.put(found)
    return table


def numbered(count: int, namespace: str = "a") -> SortedTable:
    return table_of(*(a_shard(namespace, f"s{number:05}") for number in range(count)))


@given(found=st.lists(shards, max_size=25), removed=st.lists(keys, max_size=6), where=filters, request=requests)
def test_a_page_is_the_one_that_sorting_and_cutting_everything_gives(
    found: list[Shard], removed: list[ShardKey], where: ShardFilter, request: PageRequest[ShardKey]
) -> None:
    table = SortedTable()
    expected: dict[ShardKey, Shard] = {}
    for shard in found:
        table.put([shard])
        expected.setdefault(shard.key, shard)
    for key in removed:
        table.remove(*key, revision=2)
        expected.pop(key, None)
    assert len(table) == len(expected)
    matching = [shard for shard in expected.values() if where.matches(shard)]
    assert table.page(where, request) == page_by(lambda shard: shard.key, matching, request)
    counted = replace(request, counted=True)
    assert table.page(where, counted) in (None, page_by(lambda shard: shard.key, matching, counted))


@given(
    found=st.lists(keys, max_size=40, unique=True),
    namespace=st.none() | st.sampled_from([*NAMESPACES, "nowhere"]),
    request=requests,
    counted=st.booleans(),
)
def test_a_page_of_a_namespace_is_a_part_of_it(
    found: list[ShardKey], namespace: str | None, request: PageRequest[ShardKey], *, counted: bool
) -> None:
    table, where = table_of(*(a_shard(*key) for key in found)), ShardFilter(namespace)
    request = replace(request, counted=counted)
    assert where.is_of_namespace_only
    matching = [a_shard(*key) for key in found if namespace in (None, key.namespace)]
    assert table.page(where, request) == page_by(lambda shard: shard.key, matching, request)


@given(
    found=st.lists(keys, max_size=20, unique=True),
    changed=st.lists(st.tuples(keys, st.booleans()), max_size=40),
    ahead=st.lists(keys, max_size=5, unique=True),
)
def test_diffs_that_are_taken_all_at_once_leave_what_one_after_the_other_does(
    found: list[ShardKey], changed: list[tuple[ShardKey, bool]], ahead: list[ShardKey]
) -> None:
    """Also where a table is ahead of some of them."""
    diffs = [
        replace(
            history_row(revision, namespace=key.namespace),
            shard_id=key.shard_id,
            current=None if deleted else a_shard(*key, "node-2", revision, revision=revision),
        )
        for revision, (key, deleted) in enumerate(changed, 5)
    ]
    one, other, old = (
        table_of(*(a_shard(*key, revision=1) for key in found), *(a_shard(*key, revision=25) for key in ahead))
        for _ in range(3)
    )
    for diff in diffs:
        one.apply(diff)
    before = {name: other.writes(name) for name in NAMESPACES}
    staged = StagedDiffs(other)
    staged.add(diffs)
    for _ in staged.prepare():
        assert {name: other.writes(name) for name in NAMESPACES} == before
    staged.commit()
    assert len(other) == len(one)
    assert other.owned == one.owned
    for name in NAMESPACES:
        assert other.shards(name) == one.shards(name)
        if other.shards(name) != old.shards(name):
            assert other.writes(name) > before[name]
    for backward in (False, True):
        request: PageRequest[ShardKey] = PageRequest(100, backward=backward, counted=True)
        assert other.page(ShardFilter(), request) == one.page(ShardFilter(), request)


def test_what_takes_long_is_done_in_steps_and_not_when_the_table_takes_it() -> None:
    table = numbered(3_000)
    staged = StagedDiffs(table)
    staged.add(
        replace(history_row(revision, namespace="a"), shard_id=f"t{revision:05}", current=None)
        if revision % 2
        else replace(
            history_row(revision, namespace="a"),
            shard_id=(shard_id := f"t{revision:05}"),
            current=a_shard("a", shard_id, revision=revision),
        )
        for revision in range(5, 5_005)
    )
    assert len(list(staged.prepare())) >= 7
    assert len(table) == 3_000
    staged.commit()
    assert len(table) == 5_500


def test_a_whole_table_is_read_in_either_direction() -> None:
    table = numbered(12)
    for backward in (False, True):
        page = table.page(ShardFilter(), PageRequest(12, backward=backward))
        assert page is not None
        assert [shard.shard_id for shard in page.items] == [f"s{number:05}" for number in range(12)]
        assert not page.has_next
        assert not page.has_previous


def test_a_shard_that_comes_again_has_one_position() -> None:
    table = numbered(3)
    diff = history_row(9, namespace="a")
    for _ in range(2):
        table.apply(diff)
        table.remove("a", diff.shard_id, 10)
    table.apply(diff)
    page = table.page(ShardFilter(namespace="a"), PageRequest(10))
    assert page is not None
    assert [shard.shard_id for shard in page.items] == ["s00000", "s00001", "s00002", "s9"]


def test_a_record_of_an_earlier_revision_does_not_come_back() -> None:
    newer, older = a_shard("a", "1", "node-2", 2, revision=5), a_shard("a", "1", "node-1", 1, revision=3)
    table = table_of(newer, older)
    assert table.get("a", "1") == newer
    table.remove("a", "1", revision=4)
    assert table.get("a", "1") == newer


def test_looking_for_what_few_shards_match_is_left_to_the_database() -> None:
    table = numbered(EXAMINED_AT_MOST + 1)
    assert table.page(ShardFilter(owner_node_ids=["nobody"]), PageRequest(1)) is None
    last = f"s{EXAMINED_AT_MOST:05}"
    assert table.page(ShardFilter(search=last), PageRequest(1)) is None
    found = table.page(ShardFilter(search=last), PageRequest(1, backward=True))
    assert found is None or [shard.shard_id for shard in found.items] == [last]
    assert numbered(EXAMINED_AT_MOST).page(ShardFilter(owner_node_ids=["nobody"]), PageRequest(1)) is not None


def test_a_page_of_a_large_table_needs_no_more_than_its_own_shards() -> None:
    table = numbered(EXAMINED_AT_MOST * 2)
    page = table.page(ShardFilter(), PageRequest(500, after=ShardKey("a", "s02999")))
    assert page is not None
    assert page.items[0].shard_id == "s03000"


def test_a_long_list_of_values_is_left_to_the_database() -> None:
    table = numbered(3)
    ids = [f"s{number:05}" for number in range(COMPARED_AT_MOST)]
    assert table.page(ShardFilter(shard_ids=ids), PageRequest(5)) is not None
    assert table.page(ShardFilter(shard_ids=[*ids, "more"]), PageRequest(5)) is None


def test_what_needs_no_looking_at_is_counted_here() -> None:
    table = table_of(a_shard("a", "1"), a_shard("a", "2"), a_shard("b", "1"))
    table.remove("a", "2", revision=2)
    for where, total in ((ShardFilter(), 2), (ShardFilter(namespace="a"), 1), (ShardFilter(namespace="nowhere"), 0)):
        page = table.page(where, PageRequest(1, counted=True))
        assert page is not None
        assert page.total == total


def test_a_page_whose_count_needs_looking_at_each_shard_is_left_to_the_database() -> None:
    table = table_of(a_shard("a", "1"), a_shard("a", "2"))
    where = ShardFilter(owner_node_ids=["node-1"])
    assert table.page(where, PageRequest(1)) is not None
    assert table.page(where, PageRequest(1, counted=True)) is None


@given(st.lists(st.tuples(shards, st.booleans()), max_size=40))
def test_shards_are_counted_by_owner_and_status_whatever_happens_to_them(steps: list[tuple[Shard, bool]]) -> None:
    table = SortedTable()
    for revision, (shard, deleted) in enumerate(steps, 1):
        if deleted:
            table.remove(*shard.key, revision=revision)
        else:
            table.put([replace(shard, revision=revision)])
    held = [shard for ids in table.namespaces.values() for shard in ids.values()]
    assert table.owned == Counter((shard.owner_node_id, shard.status) for shard in held)
    counted = Counter((shard.namespace, shard.owner_node_id, shard.status) for shard in held)
    found = table.counts(None)
    assert {each[:3]: each.shards for each in found} == counted
    for each in found:
        of_kind = [shard for shard in held if (shard.namespace, shard.owner_node_id, shard.status) == each[:3]]
        assert each.capacity == sum(capacity_units(shard.capacity_hint) for shard in of_kind)
    assert sorted(each for name in table.namespaces for each in table.counts(name)) == sorted(found)
