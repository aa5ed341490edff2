"""Lists of shards: order, pages in both directions, filters and counts; now and as the table stood."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Final

import pytest

from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, Shard, ShardKey, ShardStatus
from tests.support.mesh import BILLING, COUNTED, SEARCH, Mesh, because, everything, everything_backwards, new, patch
from tests.support.replicas import ON_A_REPLICA_TOO

pytestmark = ON_A_REPLICA_TOO

# Ids that a locale would sort in another order than their bytes, or that a pattern would mistake for another.
IDS: Final = ("a-1", "a.1", "a1", "a_1", "ab1", "A1", "B", "b")
OF_OTHER_SYSTEMS: Final = ("-9223372036854775808", ".kibana+=@x", "__offsets-7", "index[3]", "index[3]/1")
FILTERS: Final[dict[str, tuple[ShardFilter, Callable[[Shard], bool]]]] = {
    "everything": (ShardFilter(), lambda _: True),
    "namespace": (ShardFilter(namespace=SEARCH), lambda shard: shard.namespace == SEARCH),
    "no such namespace": (ShardFilter(namespace="nowhere"), lambda _: False),
    "ids": (ShardFilter(shard_ids=["a1", "B", "zz"]), lambda shard: shard.shard_id in {"a1", "B"}),
    "no ids": (ShardFilter(shard_ids=[]), lambda _: False),
    "owners": (
        ShardFilter(owner_node_ids=["node-1", "node-2"]),
        lambda shard: shard.owner_node_id in {"node-1", "node-2"},
    ),
    "no owners": (ShardFilter(owner_node_ids=()), lambda _: False),
    "leaders": (ShardFilter(leader_ids=["leader-1"]), lambda shard: shard.leader_id == "leader-1"),
    "statuses": (
        ShardFilter(statuses=[ShardStatus.PAUSED, ShardStatus.DISABLED]),
        lambda shard: shard.status in {ShardStatus.PAUSED, ShardStatus.DISABLED},
    ),
    "strategies": (ShardFilter(strategies=["ring"]), lambda shard: shard.strategy == "ring"),
    "ticket": (ShardFilter(change_ticket="CHG-2"), lambda shard: shard.change_ticket == "CHG-2"),
    "search": (ShardFilter(search="1"), lambda shard: "1" in shard.shard_id),
    "search as written": (ShardFilter(search="A"), lambda shard: "A" in shard.shard_id),
    "search with what a pattern calls any character": (ShardFilter(search="a_"), lambda shard: "a_" in shard.shard_id),
    "search with what a pattern calls anything": (ShardFilter(search="%"), lambda _: False),
    "search with what a pattern calls an escape": (ShardFilter(search="\\"), lambda _: False),
    "search with what a regular expression calls any character": (
        ShardFilter(search="."),
        lambda shard: "." in shard.shard_id,
    ),
    "several at once": (
        ShardFilter(namespace=BILLING, search="1", owner_node_ids=["node-1"], statuses=list(ShardStatus)),
        lambda shard: shard.namespace == BILLING and "1" in shard.shard_id and shard.owner_node_id == "node-1",
    ),
}


@pytest.fixture
async def past(mesh: Mesh) -> AsOf:
    """A revision when `IDS` were in both namespaces. Since then half of them moved, some are gone, some are new."""
    await mesh.configure(SEARCH, strategy="ring")
    statuses = list(ShardStatus)
    for namespace in (SEARCH, BILLING):
        for number, shard_id in enumerate(IDS):
            asked = new(
                shard_id,
                f"node-{number % 3}",
                namespace=namespace,
                leader_id=f"leader-{number % 2}" if number % 3 else None,
                status=statuses[number % 4],
            )
            await mesh.create(asked, change=because("fill", change_ticket=f"CHG-{number % 4}" if number else None))
    past = AsOf(revision=(await mesh.store.stream.head()).revision)
    shards = list((await mesh.table()).values())
    await mesh.update(
        *(
            patch(shard, owner_node_id="node-1", leader_id="leader-1", status=ShardStatus.PAUSED)
            for shard in shards[::2]
        ),
        change=because("move", change_ticket="CHG-2"),
    )
    await mesh.delete(shards[1], shards[9])
    await mesh.create(new("a_2"), new("a-2", namespace=SEARCH))
    return past


async def test_a_filter_selects_the_shards_it_describes(mesh: Mesh, past: AsOf) -> None:
    for as_of in (None, past):
        shards = list((await mesh.table(as_of)).values())
        for name, (where, matches) in FILTERS.items():
            selected = [shard for shard in shards if matches(shard)]
            assert list((await mesh.table(as_of, where)).values()) == selected, name
            assert (await mesh.store.shards.page(where, COUNTED, as_of)).value.total == len(selected), name
            assert [shard for shard in shards if where.matches(shard)] == selected, name


async def test_the_filters_tell_something(mesh: Mesh, past: AsOf) -> None:
    """Each filter that may find anything finds some shards and not all, or the test above would prove little."""
    for as_of in (None, past):
        shards = list((await mesh.table(as_of)).values())
        found = {name: sum(map(matches, shards)) for name, (_, matches) in FILTERS.items()}
        empty = {name for name, count in found.items() if count == 0}
        assert empty == {name for name in FILTERS if name.startswith("no ")} | {
            "search with what a pattern calls anything",
            "search with what a pattern calls an escape",
        }
        assert {name for name, count in found.items() if count == len(shards)} == {"everything"}


@pytest.mark.parametrize("then", [False, True], ids=["now", "then"])
async def test_pages_cover_the_list_in_both_directions(mesh: Mesh, past: AsOf, *, then: bool) -> None:
    as_of = past if then else None

    async def fetch(request: PageRequest[ShardKey]) -> Page[Shard]:
        return (await mesh.store.shards.page(ShardFilter(), request, as_of)).value

    for size in (1, 2, 5, 7, 500):
        forward = await everything(fetch, attrgetter("key"), size=size)
        assert await everything_backwards(fetch, attrgetter("key"), size=size) == forward
        assert forward == sorted(forward, key=attrgetter("key"))
        assert len(forward) == len({shard.key for shard in forward}) == 16


async def test_the_order_is_bytewise(mesh: Mesh, past: AsOf) -> None:
    keys = list(await mesh.table(past))
    ids = ["A1", "B", "a-1", "a.1", "a1", "a_1", "ab1", "b"]
    assert keys == [ShardKey(namespace, shard_id) for namespace in (BILLING, SEARCH) for shard_id in ids]


@pytest.mark.parametrize("then", [False, True], ids=["now", "then"])
async def test_a_page_tells_whether_there_is_more_on_either_side(mesh: Mesh, past: AsOf, *, then: bool) -> None:
    as_of = past if then else None
    keys = list(await mesh.table(as_of))

    async def page(request: PageRequest[ShardKey]) -> tuple[list[ShardKey], bool, bool]:
        found = (await mesh.store.shards.page(ShardFilter(), request, as_of)).value
        return [shard.key for shard in found.items], found.has_previous, found.has_next

    assert await page(PageRequest(3)) == (keys[:3], False, True)
    assert await page(PageRequest(3, after=keys[2])) == (keys[3:6], True, True)
    assert await page(PageRequest(3, after=keys[-3])) == (keys[-2:], True, False)
    assert await page(PageRequest(3, after=keys[-1])) == ([], True, False)
    assert await page(PageRequest(3, backward=True)) == (keys[-3:], True, False)
    assert await page(PageRequest(3, before=keys[5], backward=True)) == (keys[2:5], True, True)
    assert await page(PageRequest(3, before=keys[2], backward=True)) == (keys[:2], False, True)
    assert await page(PageRequest(3, before=keys[0], backward=True)) == ([], False, True)
    assert await page(PageRequest(9, after=keys[1], before=keys[5])) == (keys[2:5], True, False)
    assert await page(PageRequest(2, after=keys[1], before=keys[5], backward=True)) == (keys[3:5], True, True)
    assert await page(PageRequest(16)) == (keys, False, False)


@pytest.mark.usefixtures("past")
async def test_a_cursor_need_not_be_there_any_more(mesh: Mesh) -> None:
    keys = list(await mesh.table())
    between = ShardKey(BILLING, "a-1.5")
    found = (await mesh.store.shards.page(ShardFilter(), PageRequest(500, after=between))).value
    assert [shard.key for shard in found.items] == [key for key in keys if key > between]


async def test_an_empty_list_still_names_its_position(mesh: Mesh, past: AsOf) -> None:
    nowhere = ShardFilter(namespace="nowhere")
    now = await mesh.store.shards.page(nowhere, PageRequest(1))
    then = await mesh.store.shards.page(nowhere, PageRequest(1), past)
    assert (now.value.items, then.value.items) == ([], [])
    assert now.position == (await mesh.store.stream.head()).position
    assert then.position.revision == past.revision


@pytest.mark.parametrize("then", [False, True], ids=["now", "then"])
async def test_ids_of_other_systems_are_found_listed_page_by_page_and_led(mesh: Mesh, *, then: bool) -> None:
    await mesh.create(*(new(name, "a@b:1/[2]", leader_id="_l", anti_affinity_group=name) for name in OF_OTHER_SYSTEMS))
    as_of = AsOf(revision=(await mesh.store.stream.head()).revision) if then else None
    (first, *_) = (await mesh.table()).values()
    await mesh.update(patch(first, leader_id="-l+="))
    where = ShardFilter(namespace=BILLING, owner_node_ids=["a@b:1/[2]"])

    async def fetch(request: PageRequest[ShardKey]) -> Page[Shard]:
        return (await mesh.store.shards.page(where, request, as_of)).value

    found = await everything(fetch, attrgetter("key"), size=2)
    assert [shard.shard_id for shard in found] == list(OF_OTHER_SYSTEMS)
    assert found[0].leader_id == ("_l" if then else "-l+=")
    for shard_id in OF_OTHER_SYSTEMS:
        assert (await mesh.table(as_of, ShardFilter(shard_ids=[shard_id]))).keys() == {ShardKey(BILLING, shard_id)}
