"""Pages of history whose answers are kept whole: sent again after a look at what is newest, never once it changed."""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final

import pytest

from persistence.errors import StoreUnavailable, Unavailable
from persistence.model.paging import PageRequest
from persistence.model.queries import HistoryOrder, ShardHistoryFilter
from persistence.postgres.readers.held_pages import NewestRows
from persistence.postgres.readers.history import PostgresHistory
from tests.support.graphql_api import Api
from tests.support.mesh import BILLING, SEARCH, Mesh, new
from tests.support.statements import statements

FIELDS: Final = "revision kind shardId version current { ownerNodeId } change { actor committedAt }"
PAGE: Final = f"""
query($n: String) {{
  shardHistory(filter: {{namespace: $n}}, first: 3) {{ nodes {{ {FIELDS} }} pageInfo {{ endCursor }} }}
}}
"""
LOOK: Final = "SELECT stream_head"

pytestmark = pytest.mark.parametrize("backend", ["postgres"], indirect=True)


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[ShardHistoryFilter]:
    """Those that resolvers have asked for."""
    asked: list[ShardHistoryFilter] = []
    page = PostgresHistory.page

    async def noted(history: PostgresHistory, where: ShardHistoryFilter, *arguments: Any) -> Any:
        asked.append(where)
        return await page(history, where, *arguments)

    monkeypatch.setattr(PostgresHistory, "page", noted)
    return asked


async def kept(api: Api, query: str = PAGE, **variables: Any) -> Any:
    """Its answer, which is kept from now on, also where the store has had another past, in a test before."""
    for _ in range(12):
        answer = await api.field(query, **variables)
    return answer


async def test_a_page_that_is_kept_costs_one_look_and_no_resolver(
    api: Api, mesh: Mesh, pages: list[ShardHistoryFilter]
) -> None:
    await mesh.create(new("a"), new("b"))
    answer = await kept(api, n=BILLING)
    pages.clear()
    with statements() as sent:
        assert await api.field(PAGE, n=BILLING) == answer
    assert [statement[: len(LOOK)] for statement in sent if not statement.startswith("WITH head")] == [LOOK]
    assert not pages


async def test_a_change_is_on_the_next_page_and_one_of_another_namespace_changes_nothing(
    api: Api, mesh: Mesh, pages: list[ShardHistoryFilter]
) -> None:
    await mesh.configure(SEARCH)
    await mesh.create(new("a"))
    answer, every = await kept(api, n=BILLING), await kept(api)
    await mesh.create(new("z", namespace=SEARCH))
    pages.clear()
    assert await api.field(PAGE, n=BILLING) == answer
    assert not pages
    assert await api.field(PAGE) != every
    await mesh.create(new("b"))
    assert [row["shardId"] for row in (await api.field(PAGE, n=BILLING))["nodes"]] == ["b", "a"]
    assert [row["shardId"] for row in (await api.field(PAGE))["nodes"]] == ["b", "z", "a"]


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_written_an_answer_is_what_reading_it_gives(api: Api, mesh: Mesh, seed: int) -> None:
    chance = random.Random(seed)
    await mesh.configure(SEARCH)
    for number in range(120):
        namespace = chance.choice([BILLING, SEARCH])
        if chance.random() < 0.15:
            await mesh.create(new(f"shard-{number}", namespace=namespace))
        for name in (namespace, None):
            where = ShardHistoryFilter(namespace=name)
            request: PageRequest[int] = PageRequest(3)
            read = await mesh.store.history.page(where, HistoryOrder.REVISION_DESC, request)
            answer = await api.field(PAGE, n=name)
            assert [row["revision"] for row in answer["nodes"]] == [str(row.revision) for row in read.items]


async def test_what_depends_on_more_than_its_rows_is_not_kept(
    api: Api, mesh: Mesh, pages: list[ShardHistoryFilter]
) -> None:
    await mesh.create(new("a"))
    for query in (
        "{ shardHistory { nodes { current { shardId lastChange { id } } } } }",
        "{ one: shardHistory { nodes { revision } } two: shardHistory { nodes { shardId } } }",
        "{ shardHistory { nodes { revision } } head { revision } }",
        '{ shardHistory(filter: {actor: "ops"}) { nodes { revision } } }',
    ):
        for _ in range(6):
            pages.clear()
            await api.data(query)
            assert pages, query


async def test_a_kept_page_is_charged_and_counted_as_any_other(api: Api, mesh: Mesh) -> None:
    async def used() -> str | None:
        return (await api.post(PAGE, {"n": BILLING})).headers.get("x-ratelimit-used")

    async def counted() -> float:
        lines = (await api.http.get("/metrics")).text.splitlines()
        (line,) = (each for each in lines if each.startswith("omnirelay_operations_total{") and '"ok"' in each)
        return float(line.rpartition(" ")[2])

    await mesh.create(new("a"))
    first = await used()
    await kept(api, n=BILLING)
    before = await counted()
    assert await used() == first is not None
    assert await counted() == before + 1


async def test_a_look_that_fails_is_answered_as_a_read_that_does(
    api: Api, mesh: Mesh, pages: list[ShardHistoryFilter], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> Any:
        raise StoreUnavailable("it is not there", Unavailable.UNREACHABLE)

    await mesh.create(new("a"))
    answer = await kept(api, n=BILLING)
    with monkeypatch.context() as patched:
        patched.setattr(NewestRows, "_answer", fail)
        pages.clear()
        error = await api.error(PAGE, n=BILLING)
        assert not pages, "it would be waited for again"
    assert (error["code"], error["path"]) == ("UNAVAILABLE", ["shardHistory"])
    assert await api.field(PAGE, n=BILLING) == answer


async def test_a_client_that_leaves_while_it_is_looked_takes_nothing_with_it(
    api: Api, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mesh.create(new("a"))
    answer = await kept(api, n=BILLING)
    looking = asyncio.Event()

    async def look(*_: object) -> Any:
        looking.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(NewestRows, "_answer", look)
        waiting = asyncio.ensure_future(api.field(PAGE, n=BILLING))
        await asyncio.wait_for(looking.wait(), 10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await api.field(PAGE, n=BILLING) == answer
