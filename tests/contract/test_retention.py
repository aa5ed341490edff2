"""Compacting history: what is served from the floor on stays exactly as it was, what came before is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from persistence.codec import hash_chain as audit
from persistence.commands.shards import CreateShards, DeleteShards, UpdateShards
from persistence.errors import Compacted, FutureCursor, InvalidArgument
from persistence.model.outcomes import ShardsChanged, VersionConflict
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import EVERY_SHARD, DiffDetail, HistoryOrder, ShardHistoryFilter
from persistence.model.records import AsOf, ChangeKind, DiffKind, ShardDiff, ShardKey
from persistence.ports.writes import Forecast
from tests.contract.conftest import Backend
from tests.support.mesh import BILLING, COUNTED, SEARCH, Mesh, as_it_is, because, everything, new, patch
from tests.support.model import row_digest, verified_links

FLOOR = 7


async def retained(mesh: Mesh) -> list[ShardDiff]:
    """Every row that history still has, oldest first."""

    async def fetch(request: PageRequest[int]) -> Page[ShardDiff]:
        return await mesh.store.history.page(ShardHistoryFilter(), HistoryOrder.REVISION_ASC, request)

    return await everything(fetch, lambda row: row.revision)


@pytest.fixture
async def storied(mesh: Mesh) -> Mesh:
    """Twelve revisions: creation, moves, deletion and re-creation, in two namespaces, on both sides of the floor."""
    await mesh.configure(SEARCH)
    one, two, three = (await mesh.create(new("s1"), new("s2"), new("s1", namespace=SEARCH))).shards
    one = await mesh.updated(one, owner_node_id="node-b")
    await mesh.delete(two, three)
    one = await mesh.updated(one, owner_node_id="node-c")
    await mesh.create(new("s2"), new("s3"))
    await mesh.delete(await mesh.updated(one, leader_id="x"))
    await mesh.created("s4")
    return mesh


def newest_of_each(history: Sequence[ShardDiff], floor: int) -> list[ShardDiff]:
    newest = {row.key: row for row in history if row.revision <= floor}
    return sorted(newest.values(), key=lambda row: row.revision)


def kept_digest(rows: Sequence[ShardDiff]) -> str:
    return audit.compacted_digest(
        audit.compacted_row(row.revision, row.change.id, row_digest(row)) for row in rows
    ).hex()


@pytest.mark.parametrize("floor", range(1, 13))
async def test_the_table_is_told_as_before_from_the_floor_on(storied: Mesh, backend: Backend, floor: int) -> None:
    before = [await storied.table(AsOf(revision=revision)) for revision in range(13)]
    counts = [len(table) for table in before]
    await backend.compact(floor)
    for revision in range(floor, 13):
        assert await storied.table(AsOf(revision=revision)) == before[revision]
        counted = (await storied.store.shards.page(EVERY_SHARD, COUNTED, AsOf(revision=revision))).value.total
        assert counted == counts[revision]
    for revision in range(floor):
        with pytest.raises(Compacted) as refused:
            await storied.table(AsOf(revision=revision))
        assert (refused.value.requested, refused.value.oldest) == (revision, floor)
    assert await storied.table() == before[12]


async def test_differences_are_told_as_before_from_the_floor_on(storied: Mesh, backend: Backend) -> None:
    pairs = [(start, end) for start in range(FLOOR, 13) for end in range(FLOOR, 13)]
    before = {pair: await storied.difference(*pair) for pair in pairs}
    await backend.compact(FLOOR)
    assert {pair: await storied.difference(*pair) for pair in pairs} == before
    with pytest.raises(Compacted):
        await storied.difference(FLOOR - 1, 12)


async def test_the_stream_goes_on_from_the_floor_as_before(storied: Mesh, backend: Backend) -> None:
    history = list(await storied.history())
    await backend.compact(FLOOR)
    head, rows, _ = await storied.store.stream.after(FLOOR, 100)
    assert list(rows) == history[FLOOR:]
    assert (head.revision, head.floor) == (12, FLOOR)
    await storied.created("s9")
    _, rows, _ = await storied.store.stream.after(12, 100)
    assert [row.revision for row in rows] == [13]


async def test_history_begins_with_the_newest_row_of_each_shard(storied: Mesh, backend: Backend) -> None:
    history = list(await storied.history())
    done = await backend.compact(FLOOR)
    kept = newest_of_each(history, FLOOR)
    assert await retained(storied) == [*kept, *history[FLOOR:]]
    assert (done.compaction.kept_rows, done.compaction.removed_rows) == (len(kept), FLOOR - len(kept))
    assert [row.kind for row in kept if row.shard_id == "s1" and row.namespace == SEARCH] == [DiffKind.DELETED]


@pytest.mark.parametrize("namespace", [None, BILLING])
async def test_a_page_that_is_read_over_and_over_has_what_is_left(
    storied: Mesh, backend: Backend, namespace: str | None
) -> None:
    async def revisions() -> list[int]:
        where = ShardHistoryFilter(namespace=namespace)
        shown = DiffDetail(images=False, image_times=False, whole_change=False, owners=True)
        page = await storied.store.history.page(where, HistoryOrder.REVISION_ASC, PageRequest(50), shown)
        return [row.revision for row in page.items]

    before = [await revisions() for _ in range(4)]
    assert before == [before[0]] * 4
    await backend.compact(FLOOR)
    left = [row.revision for row in await retained(storied) if namespace in (None, row.namespace)]
    assert left != before[0]
    assert [await revisions() for _ in range(4)] == [left] * 4


async def test_compacting_further_removes_what_was_kept_and_is_old_now(storied: Mesh, backend: Backend) -> None:
    history = list(await storied.history())
    await backend.compact(4)
    await backend.compact(FLOOR)
    done = await backend.compact(12)
    kept = newest_of_each(history, 12)
    assert await retained(storied) == kept
    removed = len(newest_of_each(history, FLOOR)) + 12 - FLOOR - len(kept)
    assert (done.compaction.previous_floor, done.compaction.removed_rows) == (FLOOR, removed)
    assert [row.revision for row in (await storied.created("s9"), await storied.created("s8"))] == [13, 14]


async def test_a_forecast_says_what_compacting_then_does_and_does_nothing(storied: Mesh, backend: Backend) -> None:
    history = list(await storied.history())
    kept = len(newest_of_each(history, FLOOR))
    forecast = Forecast(FLOOR, 0, FLOOR - kept, kept)
    assert await backend.retention.foresee(AsOf(revision=FLOOR)) == forecast
    assert list(await storied.history()) == history
    at = history[FLOOR - 1].change.committed_at
    assert await backend.retention.foresee(AsOf(time=at)) == forecast
    before = history[0].change.committed_at - timedelta(seconds=1)
    assert await backend.retention.foresee(AsOf(time=before)) == Forecast(0, 0, 0, 0)
    done = await backend.compact(FLOOR)
    assert (done.compaction.removed_rows, done.compaction.kept_rows) == (forecast.removed_rows, kept)
    assert await backend.retention.foresee(AsOf(revision=FLOOR)) == Forecast(FLOOR, FLOOR, 0, 0)


async def test_the_floor_rises_only_and_not_beyond_the_head(storied: Mesh, backend: Backend) -> None:
    await backend.compact(FLOOR)
    changes = await storied.changes()
    for floor in (0, FLOOR - 1, FLOOR):
        assert await backend.retention.compact(floor, because("again")) is None
    with pytest.raises(FutureCursor):
        await backend.retention.compact(13, because("too far"))
    with pytest.raises(FutureCursor):
        await backend.retention.foresee(AsOf(revision=13))
    with pytest.raises(InvalidArgument, match=r"change\.reason"):
        await backend.retention.compact(FLOOR + 1, because(""))
    assert await storied.changes() == changes
    assert (await storied.store.stream.head()).floor == FLOOR


async def test_two_at_once_do_the_work_of_one_or_one_is_told_so(storied: Mesh, backend: Backend) -> None:
    async def compact() -> object:
        return await backend.retention.compact(FLOOR, because("old"))

    done = await asyncio.gather(compact(), compact(), return_exceptions=True)
    changes = [change for change in await storied.changes() if change.kind is ChangeKind.COMPACT_HISTORY]
    assert len(changes) == 1
    assert len([one for one in done if one is not None and not isinstance(one, Exception)]) == 1


async def test_it_is_on_record_with_who_and_why_and_takes_no_revision(storied: Mesh, backend: Backend) -> None:
    why = because("storage", actor="olga", change_ticket="CHG-9", metadata={"by": "hand"})
    done = await backend.retention.compact(FLOOR, why)
    assert done is not None
    newest = (await storied.changes())[-1]
    assert newest == done.change
    assert (newest.kind, newest.actor, newest.reason, newest.change_ticket) == (
        ChangeKind.COMPACT_HISTORY,
        "olga",
        "storage",
        "CHG-9",
    )
    assert (newest.namespaces, newest.first_revision, newest.shard_count) == ((), None, 0)
    assert newest.compaction == done.compaction
    assert (done.compaction.floor, done.compaction.previous_floor) == (FLOOR, 0)
    assert (await storied.store.stream.head()).revision == 12


async def test_the_audit_chain_holds_across_it(storied: Mesh, backend: Backend) -> None:
    """By rows where all of a change's are there, by its content digest else; what was kept, by the compaction."""
    for floor in (3, FLOOR):
        await backend.compact(floor)
    await storied.created("s9")
    changes, rows = await storied.changes(), await retained(storied)
    digests = await storied.store.changes.content_digests(0, len(changes) + 1)
    assert verified_links(changes, rows, digests) == len(changes)
    compaction = changes[-2].compaction
    assert compaction is not None
    kept = [row for row in rows if row.revision <= FLOOR]
    assert kept_digest(kept) == compaction.kept_digest
    for forged in (
        replace(kept[0], kind=DiffKind.CREATED),
        replace(kept[0], revision=6),
        replace(kept[0], previous=None),
    ):
        assert kept_digest([forged, *kept[1:]]) != compaction.kept_digest
    assert await storied.store.changes.content_digests(2, 2) == digests[2:4]


async def test_a_stale_version_still_names_who_changed_the_shard_last(storied: Mesh, backend: Backend) -> None:
    (_, two) = await storied.shard("s1"), await storied.shard("s2")
    assert two is not None
    last = (await storied.history())[7].change
    await backend.compact(12)
    outcome = await storied.execute(
        UpdateShards([patch(two, leader_id="x")._replace(expected_version=1)], because("x"))
    )
    assert isinstance(outcome, VersionConflict)
    assert outcome.stale[0].last_change == last
    gone = await storied.execute(DeleteShards([as_it_is(two)._replace(shard_id="s1")], because("x")))
    assert isinstance(gone, VersionConflict)
    assert gone.stale[0].last_change is not None


async def test_a_retry_is_answered_with_the_records_that_are_still_there(mesh: Mesh, backend: Backend) -> None:
    command = CreateShards([new("a"), new("b"), new("c")], because("once", idempotency_key="key"))
    first = await mesh.execute(command)
    assert isinstance(first, ShardsChanged)
    await mesh.update(patch(first.shards[1], owner_node_id="node-b"))
    await backend.compact(4)
    again = await mesh.execute(command)
    assert again == replace(first, shards=(first.shards[0], first.shards[2]), replayed=True)
    await mesh.update(*(patch(shard, leader_id="x") for shard in again.shards))
    await backend.compact(6)
    assert await mesh.execute(command) == replace(first, shards=(), replayed=True)


async def test_a_shard_goes_on_counting_when_its_history_is_gone(storied: Mesh, backend: Backend) -> None:
    await backend.compact(12)
    again = await storied.created("s1")
    assert (again.version, again.owner_epoch) == (6, 4)
    assert await storied.shard("s1", as_of=AsOf(revision=12)) is None
    assert await storied.store.shards.get(ShardKey(BILLING, "s1"), AsOf(revision=13)) is not None
