"""History and changes: filters, pages in both directions, counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import product
from operator import attrgetter
from typing import Final

import pytest

from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ChangeFilter, DiffDetail, HistoryOrder, ShardFilter, ShardHistoryFilter
from persistence.model.records import AsOf, Change, ChangeKind, DiffKind, Shard, ShardDiff
from tests.support.mesh import BILLING, COUNTED, SEARCH, Mesh, because, everything, everything_backwards, new, patch

ASCENDING, DESCENDING = HistoryOrder.REVISION_ASC, HistoryOrder.REVISION_DESC


@dataclass(frozen=True)
class Told:
    """A store with a past, and all of it."""

    mesh: Mesh
    rows: Sequence[ShardDiff]
    changes: Sequence[Change]


@pytest.fixture
async def told(mesh: Mesh) -> Told:
    """Three actors, two namespaces, every kind of change."""
    await mesh.configure(SEARCH, change=because("search", actor="architect"))
    one, two = (await mesh.create(new("s1"), new("s2", "node-b"), change=because("a", change_ticket="CHG-1"))).shards
    rebalance = because("b", actor="rebalancer", change_ticket="CHG-2")
    (one,) = (await mesh.update(patch(one, owner_node_id="node-b"), change=rebalance)).shards
    await mesh.create(new("s1", "node-c", namespace=SEARCH), new("s3", "node-c"), change=rebalance)
    await mesh.delete(two, change=because("c", change_ticket="CHG-1"))
    await mesh.configure(strategy="ring", expected=1, change=because("d", actor="architect", change_ticket="CHG-3"))
    await mesh.update(patch(one, owner_node_id="node-a", leader_id="node-b"))
    return Told(mesh, await mesh.history(), await mesh.changes())


ROWS: Final[dict[str, tuple[ShardHistoryFilter, Callable[[ShardDiff], bool]]]] = {
    "everything": (ShardHistoryFilter(), lambda _: True),
    "namespace": (ShardHistoryFilter(namespace=SEARCH), lambda row: row.namespace == SEARCH),
    "shard": (
        ShardHistoryFilter(namespace=BILLING, shard_id="s1"),
        lambda row: (row.namespace, row.shard_id) == (BILLING, "s1"),
    ),
    "owner before or after": (
        ShardHistoryFilter(owner_node_id="node-b"),
        lambda row: any(side and side.owner_node_id == "node-b" for side in (row.previous, row.current)),
    ),
    "kinds": (
        ShardHistoryFilter(kinds=[DiffKind.CREATED, DiffKind.DELETED]),
        lambda row: row.kind is not DiffKind.UPDATED,
    ),
    "actor": (ShardHistoryFilter(actor="rebalancer"), lambda row: row.change.actor == "rebalancer"),
    "ticket": (ShardHistoryFilter(change_ticket="CHG-1"), lambda row: row.change.change_ticket == "CHG-1"),
    "change": (ShardHistoryFilter(change_id=3), lambda row: row.change.id == 3),
    "several at once": (
        ShardHistoryFilter(namespace=BILLING, owner_node_id="node-b", actor="ops", kinds=[DiffKind.DELETED]),
        lambda row: row.kind is DiffKind.DELETED,
    ),
}
NO_ROWS: Final = (
    ShardHistoryFilter(namespace="nowhere"),
    ShardHistoryFilter(kinds=[]),
    ShardHistoryFilter(change_id=1),
    ShardHistoryFilter(change_id=2**40),
)
CHANGES: Final[dict[str, tuple[ChangeFilter, Callable[[Change], bool]]]] = {
    "everything": (ChangeFilter(), lambda _: True),
    "namespace": (ChangeFilter(namespace=SEARCH), lambda change: SEARCH in change.namespaces),
    "actor": (ChangeFilter(actor="architect"), lambda change: change.actor == "architect"),
    "ticket": (ChangeFilter(change_ticket="CHG-2"), lambda change: change.change_ticket == "CHG-2"),
    "kinds": (
        ChangeFilter(kinds=[ChangeKind.CREATE_SHARDS, ChangeKind.CONFIGURE_NAMESPACE]),
        lambda change: change.kind in {ChangeKind.CREATE_SHARDS, ChangeKind.CONFIGURE_NAMESPACE},
    ),
    "several at once": (
        ChangeFilter(namespace=SEARCH, actor="architect", kinds=[ChangeKind.CONFIGURE_NAMESPACE]),
        lambda change: change.namespaces == (SEARCH,) and change.actor == "architect",
    ),
}
NO_CHANGES: Final = (
    ChangeFilter(namespace="nowhere"),
    ChangeFilter(kinds=[]),
    ChangeFilter(actor="OPS"),
    ChangeFilter(change_ticket="CHG"),
)


async def rows_of(mesh: Mesh, where: ShardHistoryFilter, order: HistoryOrder, size: int = 500) -> list[ShardDiff]:
    """All pages forward, which must be the same as all pages backward."""

    async def fetch(request: PageRequest[int]) -> Page[ShardDiff]:
        return await mesh.store.history.page(where, order, request)

    forward = await everything(fetch, attrgetter("revision"), size=size)
    assert await everything_backwards(fetch, attrgetter("revision"), size=size) == forward
    return forward


async def count_of_rows(mesh: Mesh, where: ShardHistoryFilter) -> int | None:
    return (await mesh.store.history.page(where, ASCENDING, COUNTED)).total


async def count_of_changes(mesh: Mesh, where: ChangeFilter) -> int | None:
    return (await mesh.store.changes.page(where, COUNTED, newest_first=True)).total


async def changes_of(mesh: Mesh, where: ChangeFilter, *, newest_first: bool, size: int = 500) -> list[Change]:
    """All pages forward, which must be the same as all pages backward."""

    async def fetch(request: PageRequest[int]) -> Page[Change]:
        return await mesh.store.changes.page(where, request, newest_first=newest_first)

    forward = await everything(fetch, attrgetter("id"), size=size)
    assert await everything_backwards(fetch, attrgetter("id"), size=size) == forward
    return forward


async def test_a_filter_selects_the_rows_it_describes(told: Told) -> None:
    for name, (where, matches) in ROWS.items():
        selected = [row for row in told.rows if matches(row)]
        assert selected, name
        assert await rows_of(told.mesh, where, ASCENDING) == selected, name
        assert await rows_of(told.mesh, where, DESCENDING) == selected[::-1], name
        assert await count_of_rows(told.mesh, where) == len(selected), name


async def test_a_filter_that_describes_no_row_selects_none(told: Told) -> None:
    for where in NO_ROWS:
        assert await rows_of(told.mesh, where, ASCENDING) == []
        assert await count_of_rows(told.mesh, where) == 0


async def test_a_filter_selects_the_changes_it_describes(told: Told) -> None:
    for name, (where, matches) in CHANGES.items():
        selected = [change for change in told.changes if matches(change)]
        assert selected, name
        assert await changes_of(told.mesh, where, newest_first=False) == selected, name
        assert await changes_of(told.mesh, where, newest_first=True) == selected[::-1], name
        assert await count_of_changes(told.mesh, where) == len(selected), name


async def test_a_filter_that_describes_no_change_selects_none(told: Told) -> None:
    for where in NO_CHANGES:
        assert await changes_of(told.mesh, where, newest_first=False) == []
        assert await count_of_changes(told.mesh, where) == 0


async def test_texts_that_are_alike_for_a_long_way_are_told_apart(mesh: Mesh) -> None:
    """As a filter on the beginning of a text alone would not do."""
    beginning = "🚚" * 1_023
    for number in range(3):
        text = f"{beginning}{number % 2}"
        await mesh.create(new(f"s{number}"), change=because("x", actor=text, change_ticket=text))
    odd = f"{beginning}1"
    for changes in (ChangeFilter(actor=odd), ChangeFilter(change_ticket=odd)):
        assert [change.id for change in await changes_of(mesh, changes, newest_first=False)] == [3]
    for rows in (ShardHistoryFilter(actor=odd), ShardHistoryFilter(change_ticket=odd)):
        assert [row.shard_id for row in await rows_of(mesh, rows, ASCENDING)] == ["s1"]
    assert [key.shard_id for key in await mesh.table(where=ShardFilter(change_ticket=odd))] == ["s1"]
    head = AsOf(revision=3)
    assert [key.shard_id for key in await mesh.table(head, ShardFilter(change_ticket=odd))] == ["s1"]


async def test_a_span_of_time_has_its_beginning_and_not_its_end(told: Told) -> None:
    since, until = told.changes[3].committed_at, told.changes[5].committed_at
    rows = [row for row in told.rows if since <= row.change.committed_at < until]
    changes = [change for change in told.changes if since <= change.committed_at < until]
    assert told.changes[3] in changes
    assert told.changes[5] not in changes
    assert await rows_of(told.mesh, ShardHistoryFilter(since=since, until=until), ASCENDING) == rows
    assert await changes_of(told.mesh, ChangeFilter(since=since, until=until), newest_first=False) == changes
    assert await count_of_changes(told.mesh, ChangeFilter(since=since)) == len(told.changes) - 3
    assert await count_of_changes(told.mesh, ChangeFilter(until=until)) == 5


async def test_pages_cover_history_in_both_directions(told: Told) -> None:
    for size in (1, 2, 3, 7):
        assert await rows_of(told.mesh, ShardHistoryFilter(), ASCENDING, size) == told.rows
        assert await rows_of(told.mesh, ShardHistoryFilter(), DESCENDING, size) == told.rows[::-1]


async def test_pages_cover_the_changes_in_both_directions(told: Told) -> None:
    for size in (1, 2, 3, 8):
        assert await changes_of(told.mesh, ChangeFilter(), newest_first=False, size=size) == told.changes
        assert await changes_of(told.mesh, ChangeFilter(), newest_first=True, size=size) == told.changes[::-1]


async def test_a_page_of_history_lies_between_its_cursors(told: Told) -> None:
    async def page(order: HistoryOrder, request: PageRequest[int]) -> tuple[list[int], bool, bool]:
        found = await told.mesh.store.history.page(ShardHistoryFilter(), order, request)
        return [row.revision for row in found.items], found.has_previous, found.has_next

    assert await page(ASCENDING, PageRequest(2)) == ([1, 2], False, True)
    assert await page(ASCENDING, PageRequest(2, after=2)) == ([3, 4], True, True)
    assert await page(ASCENDING, PageRequest(9, after=2, before=5)) == ([3, 4], True, False)
    assert await page(ASCENDING, PageRequest(2, backward=True)) == ([6, 7], True, False)
    assert await page(ASCENDING, PageRequest(2, before=6, backward=True)) == ([4, 5], True, True)
    assert await page(DESCENDING, PageRequest(2)) == ([7, 6], False, True)
    assert await page(DESCENDING, PageRequest(2, after=6)) == ([5, 4], True, True)
    assert await page(DESCENDING, PageRequest(9, after=5, before=2)) == ([4, 3], True, False)
    assert await page(DESCENDING, PageRequest(2, backward=True)) == ([2, 1], True, False)
    assert await page(DESCENDING, PageRequest(2, before=3, backward=True)) == ([5, 4], True, True)


@pytest.mark.parametrize("shown", [DiffDetail(*flags) for flags in product([False, True], repeat=4)], ids=str)
async def test_rows_that_are_shown_have_what_is_named_of_records(told: Told, shown: DiffDetail) -> None:
    images, image_times, whole_change, owners = shown
    request: PageRequest[int] = PageRequest(100, counted=whole_change)
    page = await told.mesh.store.history.page(ShardHistoryFilter(), ASCENDING, request, shown)
    assert page.total == (len(told.rows) if whole_change else None)
    for row, record in zip(page.items, told.rows, strict=True):
        assert _read(row, "revision", "kind", "namespace", "shard_id", "version", "move_reason") == _read(
            record, "revision", "kind", "namespace", "shard_id", "version", "move_reason"
        )
        assert tuple(row.changed_fields) == record.changed_fields
        _require_same(row.change, record.change, _CHANGE if whole_change else _LEAST_OF_CHANGE)
        for side, expected in (
            ((row.previous, record.previous), (row.current, record.current)) if images or image_times or owners else ()
        ):
            assert (side is None) is (expected is None)
            if side is not None and expected is not None:
                _require_same(side, expected, _SHARD if image_times else _SHARD - _TIMES if images else _OWNER)


async def test_changes_that_are_shown_have_what_records_have(told: Told) -> None:
    changes = told.mesh.store.changes
    requests: list[PageRequest[int]] = [PageRequest(100), PageRequest(100, counted=True)]
    for request in requests:
        pages = [await changes.page(ChangeFilter(), request, newest_first=False, shown=True) for _ in range(2)]
        for page in pages:
            assert page.total == (len(told.changes) if request.counted else None)
            for change, record in zip(page.items, told.changes, strict=True):
                _require_same(change, record, _CHANGE | {"first_revision", "last_revision"})
        # What is read again is the same object, which is said where that can be relied on.
        held = [changes.holds(change) for change in pages[1].items]
        assert [one is again for one, again in zip(*(page.items for page in pages), strict=True)] == held or not any(
            held
        )


_TIMES: Final = {"revision", "created_at", "updated_at"}
_SHARD: Final = {member.name for member in fields(Shard)}
_OWNER: Final = {"namespace", "shard_id", "owner_node_id"}
_CHANGE: Final = {member.name for member in fields(Change)}
_LEAST_OF_CHANGE: Final = _CHANGE - {
    *("metadata", "namespaces", "first_revision", "last_revision", "shard_count", "hash")
}


def _read(record: object, *names: str) -> Sequence[object]:
    return [getattr(record, name) for name in names]


def _require_same(shown: object, record: object, names: set[str]) -> None:
    for name in names:
        value, expected = getattr(shown, name), getattr(record, name)
        assert (tuple(value) if isinstance(expected, tuple) else value) == expected, name


SHOWN: Final = DiffDetail(images=True, image_times=True, whole_change=True, owners=False)


@pytest.mark.parametrize("where", [ShardHistoryFilter(), ShardHistoryFilter(namespace=BILLING)])
@pytest.mark.parametrize("asked", [PageRequest(50), PageRequest(50, counted=True)])
async def test_a_page_that_is_read_over_and_over_has_what_was_added_meanwhile(
    mesh: Mesh, where: ShardHistoryFilter, asked: PageRequest[int]
) -> None:
    shard = await mesh.created("s1")
    for number in range(20):
        if number % 4 == 0:
            shard = await mesh.updated(shard, owner_node_id=f"node-{number}")
        page = await mesh.store.history.page(where, DESCENDING, asked, SHOWN)
        assert page.items[0].revision == shard.revision
        assert page.items[0].current is not None
        assert page.items[0].current.owner_node_id == shard.owner_node_id
        assert page.total == (shard.version if asked.counted else None)
