"""Lists whose pages and counts look at few items each: together they show what one that looks at all of them does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from sqlalchemy import literal_column

from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ChangeFilter, HistoryOrder, ShardFilter, ShardHistoryFilter
from persistence.model.records import AsOf, ChangeKind, DiffKind, Shard
from persistence.postgres.readers import changes, history, nodes, refusals, search, shards
from tests.contract.test_history import CHANGES, NO_CHANGES, NO_ROWS, ROWS, Told, changes_of, rows_of, told
from tests.contract.test_lists import FILTERS, past
from tests.support.mesh import COUNTED, Mesh, everything, everything_backwards

__all__ = ["past", "told"]  # fixtures

_LISTS: Final = (changes._CHANGES, changes._SHOWN, nodes._NODES, nodes._UNCOUNTED, refusals._REFUSALS)  # noqa: SLF001 - their statements

_STATEMENTS: Final = (
    history._page,  # noqa: SLF001 - as they were made
    shards._page,  # noqa: SLF001 - same
    shards._page_as_of,  # noqa: SLF001 - same
    *(listed._statement for listed in _LISTS),  # noqa: SLF001 - same
)

LOOKED_AT: Final = (2, 5)


@pytest.fixture(params=LOOKED_AT, autouse=True)
def looked_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """So many items, by each page and each count."""
    limit: Any = literal_column(str(request.param))
    for module, name in (
        (search, "SEARCHED"),
        (search, "COUNTED"),
        (changes, "SEARCHED"),
        (changes, "COUNTED"),
        (shards, "COUNTED"),
        (history, "SEARCHED"),
        (history, "COUNTED"),
        (shards, "PROBED"),
    ):
        monkeypatch.setattr(module, name, limit)
    _forget()
    yield request.param
    _forget()


def _forget() -> None:
    for statement in _STATEMENTS:
        statement.cache_clear()


async def test_pages_of_history_show_together_what_matches(told: Told) -> None:
    more: list[tuple[ShardHistoryFilter, Callable[[Any], bool]]] = [
        (
            ShardHistoryFilter(kinds=[DiffKind.DELETED], actor="ops"),
            lambda row: row.kind is DiffKind.DELETED and row.change.actor == "ops",
        ),
        (
            ShardHistoryFilter(change_ticket="CHG-1", actor="ops"),
            lambda row: row.change.change_ticket == "CHG-1" and row.change.actor == "ops",
        ),
        (
            ShardHistoryFilter(namespace="billing", shard_id="s1", actor="ops"),
            lambda row: row.namespace == "billing" and row.shard_id == "s1" and row.change.actor == "ops",
        ),
        *((where, lambda _: False) for where in NO_ROWS),
    ]
    for where, matches in [*ROWS.values(), *more]:
        selected = [row for row in told.rows if matches(row)]
        for size in (1, 3, 500):
            assert await rows_of(told.mesh, where, HistoryOrder.REVISION_ASC, size) == selected, where
            assert await rows_of(told.mesh, where, HistoryOrder.REVISION_DESC, size) == selected[::-1], where


async def test_pages_of_changes_show_together_what_matches(told: Told) -> None:
    more: list[tuple[ChangeFilter, Callable[[Any], bool]]] = [
        (
            ChangeFilter(namespace="search", kinds=[ChangeKind.CREATE_SHARDS, ChangeKind.UPDATE_SHARDS]),
            lambda change: "search" in change.namespaces and change.kind in {"CREATE_SHARDS", "UPDATE_SHARDS"},
        ),
        (
            ChangeFilter(namespace="billing", change_ticket="CHG-1"),
            lambda change: "billing" in change.namespaces and change.change_ticket == "CHG-1",
        ),
        *((where, lambda _: False) for where in NO_CHANGES),
    ]
    for where, matches in [*CHANGES.values(), *more]:
        selected = [change for change in told.changes if matches(change)]
        for size in (1, 3, 500):
            assert await changes_of(told.mesh, where, newest_first=False, size=size) == selected, where
            assert await changes_of(told.mesh, where, newest_first=True, size=size) == selected[::-1], where


@pytest.mark.parametrize("then", [False, True], ids=["now", "then"])
async def test_pages_of_shards_show_together_what_matches(mesh: Mesh, past: AsOf, *, then: bool) -> None:
    as_of = past if then else None

    def fetch(where: ShardFilter) -> Callable[[PageRequest[Any]], Any]:
        async def page(request: PageRequest[Any]) -> Page[Shard]:
            return (await mesh.store.shards.page(where, request, as_of)).value

        return page

    key: Callable[[Shard], Any] = lambda shard: shard.key  # noqa: E731
    shards = await everything(fetch(ShardFilter()), key)
    assert len(shards) >= 16
    for where, matches in FILTERS.values():
        selected = [shard for shard in shards if matches(shard)]
        for size in (1, 3, 500):
            assert await everything(fetch(where), key, size=size) == selected, where
            assert await everything_backwards(fetch(where), key, size=size) == selected, where


async def test_a_count_is_exact_or_a_lower_bound(told: Told, looked_at: int, backend_name: str) -> None:
    page = await told.mesh.store.history.page(ShardHistoryFilter(), HistoryOrder.REVISION_ASC, COUNTED)
    if backend_name == "memory":
        assert (page.total, page.total_is_exact) == (len(told.rows), True)
    else:
        assert (page.total, page.total_is_exact) == (looked_at, False)


async def test_a_count_that_looks_at_more_than_a_page_is_exact_only_if_it_has_all(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (search, changes, shards, history):
        monkeypatch.setattr(module, "COUNTED", literal_column("1000"))
    _forget()
    store = told.mesh.store
    for of_rows in ({"actor": "ops"}, {"change_ticket": "CHG-1"}, {"kinds": [DiffKind.UPDATED], "actor": "ops"}):
        where = ShardHistoryFilter(**of_rows)
        for order in HistoryOrder:

            async def fetch(
                request: PageRequest[int], where: ShardHistoryFilter = where, order: HistoryOrder = order
            ) -> Page[Any]:
                return await store.history.page(where, order, request)

            rows = await everything(fetch, lambda row: row.revision)
            page = await store.history.page(where, order, COUNTED)
            assert (page.total, page.total_is_exact) == (len(rows), True), of_rows
    of_actor = await everything(
        lambda request: store.changes.page(
            ChangeFilter(actor="ops", kinds=list(ChangeKind)), request, newest_first=True
        ),
        lambda change: change.id,
    )
    found = await store.changes.page(
        ChangeFilter(actor="ops", kinds=list(ChangeKind)), PageRequest(1, counted=True), newest_first=True
    )
    assert (found.total, found.total_is_exact) == (len(of_actor), True)


async def test_no_first_page_of_a_search_has_more_than_its_count(told: Told) -> None:
    """A list that begins with the newest is counted from there."""
    store = told.mesh.store
    request: PageRequest[int] = PageRequest(50, counted=True)
    rows, listed = 0, 0
    for newest_first, order in ((True, HistoryOrder.REVISION_DESC), (False, HistoryOrder.REVISION_ASC)):
        for of_rows in (*({"kinds": [kind]} for kind in DiffKind), {"actor": "ops", "kinds": [DiffKind.DELETED]}):
            page = await store.history.page(ShardHistoryFilter(**of_rows), order, request)  # type: ignore[arg-type]
            assert (page.total or 0) >= len(page.items), of_rows
            rows += len(page.items)
        for of_changes in ({"actor": "ops", "kinds": [kind]} for kind in ChangeKind):
            found = await store.changes.page(ChangeFilter(**of_changes), request, newest_first=newest_first)  # type: ignore[arg-type]
            assert (found.total or 0) >= len(found.items), of_changes
            listed += len(found.items)
    assert rows
    assert listed


async def test_a_search_that_ends_early_names_where_it_got_to(told: Told, looked_at: int, backend_name: str) -> None:
    nothing = ShardHistoryFilter(owner_node_id="absent")
    page = await told.mesh.store.history.page(nothing, HistoryOrder.REVISION_ASC, PageRequest(50))
    assert list(page.items) == []
    if backend_name == "memory":
        assert (page.has_next, page.end) == (False, None)
    else:
        assert (page.has_next, page.end) == (True, looked_at)
        last: PageRequest[int] = PageRequest(50, backward=True)
        page = await told.mesh.store.history.page(nothing, HistoryOrder.REVISION_ASC, last)
        assert (page.has_previous, page.start) == (True, len(told.rows) + 1 - looked_at)
