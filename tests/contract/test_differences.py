"""The net difference between two revisions."""

from __future__ import annotations

from operator import attrgetter

import pytest

from persistence.errors import Compacted, FutureCursor
from persistence.model.paging import Page, PageRequest
from persistence.model.records import AsOf, DiffKind, ShardDiff, ShardKey
from tests.contract.conftest import Backend
from tests.support.mesh import BILLING, COUNTED, SEARCH, Mesh, everything, everything_backwards, new, patch

ONE, TWO, THREE = (ShardKey(BILLING, name) for name in ("s1", "s2", "s3"))


@pytest.fixture
async def storied(mesh: Mesh) -> Mesh:
    """r1-2 create s1 s2; r3-4 move s1 twice; r5 delete s2; r6 create s3; r7 delete s3; r8 create s2; r9 search/s1."""
    await mesh.configure(SEARCH)
    one, two = (await mesh.create(new("s1"), new("s2"))).shards
    one = await mesh.updated(one, owner_node_id="node-b")
    await mesh.updated(one, owner_node_id="node-c", leader_id="node-d")
    await mesh.delete(two)
    await mesh.delete(await mesh.created("s3"))
    await mesh.create(new("s2"))
    await mesh.create(new("s1", namespace=SEARCH))
    return mesh


async def count_difference(mesh: Mesh, start: int, end: int, namespace: str | None = None) -> int | None:
    found = await mesh.store.history.difference(namespace, start, end, COUNTED)
    assert found.position.revision == end
    return found.value.total


async def test_a_difference_tells_both_ends_and_nothing_between(storied: Mesh) -> None:
    history = await storied.history()
    diff = (await storied.difference(2, 9))[ONE]
    assert diff.kind is DiffKind.UPDATED
    assert (diff.previous, diff.current) == (history[0].current, history[3].current)
    assert diff.changed_fields == ("ownerNodeId", "leaderId")
    assert (diff.revision, diff.version, diff.change) == (4, 3, history[3].change)


async def test_a_difference_is_ordered_by_key(storied: Mesh) -> None:
    assert list(await storied.difference(0, 9)) == [ONE, TWO, ShardKey(SEARCH, "s1")]


async def test_what_came_to_be_is_created(storied: Mesh) -> None:
    diff = (await storied.difference(0, 4))[ONE]
    assert (diff.kind, diff.previous, diff.changed_fields) == (DiffKind.CREATED, None, ())
    assert diff.current == await storied.shard("s1", as_of=AsOf(revision=4))


async def test_what_went_is_deleted(storied: Mesh) -> None:
    diff = (await storied.difference(4, 7))[TWO]
    assert (diff.kind, diff.current, diff.changed_fields) == (DiffKind.DELETED, None, ())
    assert diff.previous == await storied.shard("s2", as_of=AsOf(revision=4))
    assert diff.revision == 5


async def test_what_went_and_came_again_is_updated(storied: Mesh) -> None:
    diff = (await storied.difference(4, 8))[TWO]
    assert diff.kind is DiffKind.UPDATED
    assert diff.previous is not None
    assert diff.current is not None
    assert (diff.previous.version, diff.current.version) == (1, 3)
    assert diff.changed_fields == ()


async def test_what_came_and_went_is_left_out(storied: Mesh) -> None:
    assert THREE not in await storied.difference(0, 9)
    assert THREE not in await storied.difference(9, 0)
    assert THREE in await storied.difference(5, 6)
    assert THREE in await storied.difference(6, 7)


async def test_a_difference_read_backwards_swaps_its_ends(storied: Mesh) -> None:
    swapped = {DiffKind.CREATED: DiffKind.DELETED, DiffKind.DELETED: DiffKind.CREATED}
    for start in range(10):
        for end in range(10):
            there, back = await storied.difference(start, end), await storied.difference(end, start)
            assert list(there) == list(back)
            for key, diff in there.items():
                assert (back[key].previous, back[key].current) == (diff.current, diff.previous)
                assert back[key].kind is swapped.get(diff.kind, DiffKind.UPDATED)
                assert back[key].changed_fields == diff.changed_fields


async def test_a_difference_leads_from_one_table_to_the_other(storied: Mesh) -> None:
    tables = [await storied.table(AsOf(revision=revision)) for revision in range(10)]
    for start, before in enumerate(tables):
        for end, after in enumerate(tables):
            difference = await storied.difference(start, end)
            touched = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
            assert difference.keys() == touched
            for key, diff in difference.items():
                assert (diff.previous, diff.current) == (before.get(key), after.get(key))
            assert await count_difference(storied, start, end) == len(touched)


async def test_a_revision_does_not_differ_from_itself(storied: Mesh) -> None:
    assert await storied.difference(4, 4) == {}
    assert await count_difference(storied, 4, 4) == 0


async def test_a_difference_can_be_of_one_namespace(storied: Mesh) -> None:
    assert list(await storied.difference(0, 9, SEARCH)) == [ShardKey(SEARCH, "s1")]
    assert list(await storied.difference(0, 9, BILLING)) == [ONE, TWO]
    assert await storied.difference(0, 9, "nowhere") == {}
    assert await count_difference(storied, 0, 9, BILLING) == 2


async def test_pages_cover_a_difference_in_both_directions(mesh: Mesh) -> None:
    shards = (await mesh.create(*(new(f"s{number}") for number in range(5)))).shards
    await mesh.update(*(patch(shard, leader_id="x") for shard in shards[::2]))
    await mesh.delete(shards[1])

    async def fetch(request: PageRequest[ShardKey]) -> Page[ShardDiff]:
        return (await mesh.store.history.difference(None, 5, 9, request)).value

    for size in (1, 2, 3, 500):
        forward = await everything(fetch, attrgetter("key"), size=size)
        assert [diff.shard_id for diff in forward] == ["s0", "s1", "s2", "s4"]
        assert await everything_backwards(fetch, attrgetter("key"), size=size) == forward


async def test_a_difference_with_a_revision_to_come_is_refused(storied: Mesh) -> None:
    for start, end in ((0, 10), (10, 0), (10, 10), (0, 2**40), (2**40, 0)):
        with pytest.raises(FutureCursor) as caught:
            await storied.difference(start, end)
        assert (caught.value.requested, caught.value.head) == (max(start, end), 9)
        with pytest.raises(FutureCursor):
            await count_difference(storied, start, end)


async def test_a_difference_with_a_compacted_revision_is_refused(storied: Mesh, backend: Backend) -> None:
    await backend.compact(4)
    for start, end in ((3, 9), (9, 3), (3, 3)):
        with pytest.raises(Compacted) as caught:
            await storied.difference(start, end)
        assert (caught.value.requested, caught.value.oldest) == (3, 4)
        with pytest.raises(Compacted):
            await count_difference(storied, start, end)
    assert list(await storied.difference(4, 9)) == [TWO, ShardKey(SEARCH, "s1")]
