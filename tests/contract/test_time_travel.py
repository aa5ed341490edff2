"""The table as it stood at a revision or a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from persistence.errors import Compacted, FutureCursor
from persistence.model.paging import PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, ShardKey
from tests.contract.conftest import Backend
from tests.support.mesh import BILLING, COUNTED, SEARCH, Mesh, new, patch
from tests.support.model import replay
from tests.support.replicas import ON_A_REPLICA_TOO

pytestmark = ON_A_REPLICA_TOO


@pytest.fixture
async def storied(mesh: Mesh) -> Mesh:
    """Creation, move, deletion and re-creation, with a configuration in between."""
    await mesh.configure(SEARCH)
    one, two, three = (await mesh.create(new("s1"), new("s2"), new("s1", namespace=SEARCH))).shards
    one = await mesh.updated(one, owner_node_id="node-b")
    await mesh.delete(two, three)
    await mesh.configure(strategy="ring", expected=1)
    await mesh.update(patch(one, owner_node_id="node-c"))
    await mesh.create(new("s2"), new("s3"))
    await mesh.delete((await mesh.table())[ShardKey(BILLING, "s1")])
    return mesh


async def test_the_table_at_every_revision_is_history_played_back_to_it(storied: Mesh) -> None:
    history = await storied.history()
    for revision in range(len(history) + 1):
        assert await storied.table(AsOf(revision=revision)) == replay(history[:revision])


async def test_one_shard_at_every_revision_is_as_in_the_table(storied: Mesh) -> None:
    history = await storied.history()
    for revision in range(len(history) + 1):
        for key in {row.key for row in history}:
            found = await storied.store.shards.get(key, AsOf(revision=revision))
            assert found.value == replay(history[:revision]).get(key)
            assert found.position.revision == revision


async def test_the_table_at_the_time_of_a_commit_has_that_commit_in_it(storied: Mesh) -> None:
    history, changes = await storied.history(), await storied.changes()
    for change in changes:
        newest = [row for row in history if row.change.committed_at <= change.committed_at]
        assert await storied.table(AsOf(time=change.committed_at)) == replay(newest)


async def test_the_table_a_microsecond_before_a_commit_does_not_have_it(storied: Mesh) -> None:
    history, changes = await storied.history(), await storied.changes()
    for change in changes:
        before = change.committed_at - timedelta(microseconds=1)
        older = [row for row in history if row.change.committed_at < change.committed_at]
        assert await storied.table(AsOf(time=before)) == replay(older)


async def test_a_time_names_the_revision_the_table_had_then(storied: Mesh) -> None:
    history, changes = await storied.history(), await storied.changes()
    for change in changes:
        stamped = await storied.store.shards.page(ShardFilter(), PageRequest(1), AsOf(time=change.committed_at))
        assert stamped.position.revision == sum(row.change.committed_at <= change.committed_at for row in history)


async def test_before_the_first_change_there_was_nothing(storied: Mesh) -> None:
    assert await storied.table(AsOf(revision=0)) == {}
    assert await storied.table(AsOf(time=datetime(2001, 1, 1, tzinfo=UTC))) == {}
    assert (await storied.store.shards.page(ShardFilter(), COUNTED, AsOf(revision=0))).value.total == 0


async def test_a_time_to_come_is_now(storied: Mesh) -> None:
    tomorrow = AsOf(time=datetime.now(UTC) + timedelta(days=1))
    assert await storied.table(tomorrow) == await storied.table()


async def test_the_past_stays_as_it_was(storied: Mesh) -> None:
    revision = AsOf(revision=(await storied.store.stream.head()).revision)
    before = await storied.table(revision)
    await storied.update(*(patch(shard, leader_id="x") for shard in before.values()))
    assert await storied.table(revision) == before


async def test_a_revision_to_come_is_refused(storied: Mesh) -> None:
    head = (await storied.store.stream.head()).revision
    for beyond in (head + 1, 2**31, 2**40, 2**63 - 1):
        with pytest.raises(FutureCursor) as caught:
            await storied.store.shards.get(ShardKey(BILLING, "s1"), AsOf(revision=beyond))
        assert (caught.value.requested, caught.value.head) == (beyond, head)
        with pytest.raises(FutureCursor):
            await storied.store.shards.page(ShardFilter(), PageRequest(1), AsOf(revision=beyond))
        with pytest.raises(FutureCursor):
            await storied.store.shards.page(ShardFilter(), COUNTED, AsOf(revision=beyond))


async def test_a_revision_that_was_compacted_is_refused_and_the_oldest_named(storied: Mesh, backend: Backend) -> None:
    history = await storied.history()
    await backend.compact(4)
    for past in (AsOf(revision=3), AsOf(time=history[0].change.committed_at)):
        with pytest.raises(Compacted) as caught:
            await storied.store.shards.get(ShardKey(BILLING, "s1"), past)
        assert (caught.value.requested, caught.value.oldest) == (3, 4)
        with pytest.raises(Compacted):
            await storied.store.shards.page(ShardFilter(), PageRequest(1), past)
        with pytest.raises(Compacted):
            await storied.store.shards.page(ShardFilter(), COUNTED, past)
    assert await storied.table(AsOf(revision=4)) == replay(history[:4])
    assert (await storied.store.stream.head()).floor == 4
