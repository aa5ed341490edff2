"""The stream: revisions without gaps, in commit order, and read from any position."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from persistence.commands.read_state import ReadSet
from persistence.model.records import ChangeMark, ShardDiff
from persistence.model.stream import ChangedShard, OmittedRange
from tests.support.mesh import BILLING, Mesh, new, patch
from tests.support.model import replay


async def test_an_empty_store_is_at_revision_zero(mesh: Mesh) -> None:
    head = await mesh.store.stream.head()
    assert (head.revision, head.floor) == (0, 0)
    assert head.epoch
    assert await mesh.store.stream.after(0, 10) == (head, (), True)


async def test_rows_come_after_the_position_up_to_the_limit_and_in_order(mesh: Mesh) -> None:
    await mesh.create(*(new(f"s{number}") for number in range(5)))
    head = await mesh.store.stream.head()
    for position, limit, expected in (
        (0, 3, [1, 2, 3]),
        (3, 3, [4, 5]),
        (4, 1, [5]),
        (5, 10, []),
        (0, 5, [1, 2, 3, 4, 5]),
    ):
        found, rows, _ = await mesh.store.stream.after(position, limit)
        assert [row.revision for row in rows] == expected
        assert found == head


async def test_rows_of_one_namespace_come_with_their_changes_and_without_those_between(mesh: Mesh) -> None:
    await mesh.configure("orders")
    await mesh.create(new("o1", namespace="orders"), new("s1"), new("s2"), new("o2", namespace="orders"))
    await mesh.create(new("s3"))
    await mesh.create(new("o3", namespace="orders"))
    everything = await mesh.history()
    for name in ("billing", "orders", "nowhere"):
        wanted = [row for row in everything if row.namespace == name]
        for position in range(len(everything) + 1):
            for limit in (1, 2, 10):
                head, rows, _ = await mesh.store.stream.after(position, limit, name)
                assert head == await mesh.store.stream.head()
                assert list(rows) == [row for row in wanted if row.revision > position][:limit]


async def test_a_row_carries_both_records_and_the_whole_change(mesh: Mesh) -> None:
    created = await mesh.create(new("s1"), new("s2"))
    moved = await mesh.update(patch(created.shards[0], owner_node_id="node-b"))
    deleted = await mesh.delete(moved.shards[0])
    rows = await mesh.history()
    assert [(row.previous, row.current) for row in rows] == [
        (None, created.shards[0]),
        (None, created.shards[1]),
        (created.shards[0], moved.shards[0]),
        (moved.shards[0], None),
    ]
    assert [row.change for row in rows] == [created.change, created.change, moved.change, deleted.change]
    assert [row.version for row in rows] == [1, 1, 2, 3]


async def test_the_rest_of_a_change_is_what_its_rows_have_come_to(mesh: Mesh) -> None:
    created = await mesh.create(*(new(each) for each in "abcdef"))
    await mesh.create(new("later"))
    deleted = await mesh.delete(*created.shards[1:4])
    rows = await mesh.history()
    for change, all_of_it in ((created.change, rows[:6]), (deleted.change, rows[7:])):
        first, last = all_of_it[0].revision, all_of_it[-1].revision
        omitted = OmittedRange(first, last, frozenset({BILLING}), change.mark)
        found = [
            row
            for revision in range(first - 1, last + 1, 2)
            for row in await mesh.store.stream.rest_of_change(omitted, revision, 2)
        ]
        assert found == [ChangedShard(row.revision, row.namespace, row.shard_id, row.current) for row in all_of_it]
    for mark in (deleted.change.mark, created.change.mark._replace(hash=b"of other"), ChangeMark(99, b"of other")):
        other = OmittedRange(1, 6, frozenset({BILLING}), mark)
        assert await mesh.store.stream.rest_of_change(other, 0, 10) == []


async def test_the_epoch_stays(mesh: Mesh) -> None:
    before = (await mesh.store.stream.head()).epoch
    outcome = await mesh.create(new("s1"))
    assert (await mesh.store.stream.head()).epoch == before == outcome.position.epoch


async def test_revisions_are_gapless_and_in_commit_order_under_concurrent_writers(mesh: Mesh) -> None:
    """Every other writer fails half of the time, so that an abandoned number would show."""

    async def work(number: int) -> None:
        shards = (await mesh.create(*(new(f"w{number}-{part}") for part in range(3)))).shards
        for step in range(3):
            outcome = await mesh.update(*(patch(shard, owner_node_id=f"node-{step}") for shard in shards))
            async with mesh.store.unit_of_work() as abandoned:
                await abandoned.read(ReadSet(namespaces=["billing"], shards=[shards[0].key]))
            shards = outcome.shards
        await mesh.delete(shards[1])

    await asyncio.gather(*map(work, range(8)))
    rows = await mesh.history()
    assert [row.revision for row in rows] == list(range(1, 8 * 13 + 1))
    changes = await mesh.changes()
    assert [change.id for change in changes] == list(range(1, 8 * 5 + 2))
    for before, after in pairwise(changes):
        assert before.committed_at <= after.committed_at
        assert (after.first_revision or 0) == (before.last_revision or 0) + 1
    assert replay(rows) == await mesh.table()


async def test_a_reader_that_sees_a_revision_sees_every_revision_below(mesh: Mesh) -> None:
    done = asyncio.Event()
    seen: list[ShardDiff] = []

    async def watch() -> None:
        finished = False
        while not finished:
            finished = done.is_set()
            head, rows, _ = await mesh.store.stream.after(len(seen), 500)
            seen.extend(rows)
            assert len(seen) == head.revision
            await asyncio.sleep(0)  # the memory store never waits; let the writers go on

    async def write(number: int) -> None:
        shard = await mesh.created(f"s{number}")
        for step in range(5):
            shard = await mesh.updated(shard, capacity_hint=float(step))

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*map(write, range(8)))
    done.set()
    await watcher
    assert [row.revision for row in seen] == list(range(1, 49))


async def test_a_commit_raises_the_signal(mesh: Mesh) -> None:
    """Three times over: a hint left from the beginning could stand for one commit, not for all."""
    for number in range(3):
        await mesh.create(new(f"s{number}"))
        await asyncio.wait_for(mesh.store.signal.wait(), timeout=20)


async def test_a_list_names_the_position_to_follow_from(mesh: Mesh) -> None:
    await mesh.create(new("s1"), new("s2"))
    stamped = await mesh.store.shards.get(new("s1").key)
    assert stamped.position == (await mesh.store.stream.head()).position
    await mesh.create(new("s3"))
    _, rows, known = await mesh.store.stream.after(stamped.position.revision, 10, mark=stamped.position.mark)
    assert known
    assert [row.shard_id for row in rows] == ["s3"]
