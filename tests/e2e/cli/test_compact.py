"""db compact, and the answer to a client that held an older position."""

from __future__ import annotations

import asyncio

import pytest

from graph.cli.errors import Exit
from persistence.model.records import ChangeKind
from persistence.postgres.store import open_store
from tests.reference.retention import MemoryRetention
from tests.support.command_line import Answer, omnirelay
from tests.support.mesh import Mesh, because, new, patch
from tests.support.mesh_server import MeshServer

WHY = ("--reason", "storage", "--ticket", "CHG-9", "--actor", "olga")


@pytest.fixture
def database(database_url: str) -> str:
    """A database with eight revisions of three shards."""

    async def fill() -> None:
        async with open_store(database_url) as store:
            mesh = Mesh(store)
            await mesh.configure()
            shards = (await mesh.create(*(new(f"s{number}") for number in range(3)))).shards
            for shard in shards[:2]:
                await mesh.updated(await mesh.updated(shard, owner_node_id="node-b"), leader_id="x")
            await mesh.delete(shards[2])

    asyncio.run(fill())
    return database_url


def compact(database: str, *arguments: object) -> Answer:
    return omnirelay("db", "compact", *arguments, *WHY, "--database-url", database)


def test_what_is_removed_is_said_before_and_after(database: str) -> None:
    answer = compact(database, "--before", 6)
    assert answer.exit == Exit.OK
    first, *steps = answer.err.splitlines()
    assert first == "Compacting to revision 6: 3 rows are removed, 3 stay as the newest of their shards."
    assert [step.split("] ")[1] for step in steps] == [
        "Copying the newest row of each shard",
        "Copying what came after, up to revision 8",
        "Checking what was copied",
        "Putting it in the place of what goes",
    ]
    assert answer.out.startswith("Revision 6 is the oldest now: 3 rows removed, ")


def test_it_is_a_change_with_who_and_why(database: str) -> None:
    document = compact(database, "--before", 6, "--json").document

    async def newest() -> tuple[object, ...]:
        async with open_store(database) as store:
            change = (await Mesh(store).changes())[-1]
            return str(change.id), change.kind, change.actor, change.reason, change.change_ticket

    assert asyncio.run(newest()) == (document["changeId"], ChangeKind.COMPACT_HISTORY, "olga", "storage", "CHG-9")
    assert (document["floor"], document["previousFloor"]) == ("6", "0")
    assert (document["removedRows"], document["keptRows"]) == ("3", "3")


def test_a_dry_run_says_what_would_be_removed_and_removes_nothing(database: str) -> None:
    for _ in range(2):
        answer = compact(database, "--before", 6, "--dry-run")
        assert (answer.exit, answer.out) == (Exit.OK, "")
        would = "Compacting to revision 6: 3 rows would be removed, 3 stay as the newest of their shards.\n"
        assert answer.err == would
    document = compact(database, "--before", 6, "--dry-run", "--json").document
    assert (document["removedRows"], document["changeId"], document["freedBytes"]) == ("3", None, None)


def test_nothing_older_is_nothing_to_do(database: str) -> None:
    for moment in ("30d", "2020-01-01T00:00:00Z", "0"):
        answer = compact(database, "--before", moment)
        assert answer.exit == Exit.NO
        assert answer.err == "Nothing to do: revision 0 is the oldest there is, and none of it is older.\n"
    assert compact(database, "--before", 6).exit == Exit.OK
    answer = compact(database, "--before", 6, "--json")
    assert (answer.exit, answer.document["removedRows"]) == (Exit.NO, "0")


@pytest.mark.parametrize(
    ("moment", "problem"),
    [
        ("9", "There is no such moment yet: revision 9 does not exist yet; the newest is 8."),
        ("2999-01-01T00:00:00Z", "is yet to come"),
        ("-3", "-3 counts revisions from the newest: give the revision itself"),
        ("lately", "is not a time"),
    ],
)
def test_a_point_in_time_that_was_not_is_refused(database: str, moment: str, problem: str) -> None:
    answer = compact(database, "--before", moment)
    assert (answer.exit, answer.out) == (Exit.INVALID, "")
    assert problem in answer.err


def test_why_must_be_said(database: str) -> None:
    answer = omnirelay("db", "compact", "--before", 6, "--database-url", database)
    assert answer.exit == Exit.INVALID
    assert "--reason" in answer.err
    empty = omnirelay("db", "compact", "--before", 6, "--reason", "", "--database-url", database)
    assert (empty.exit, "change.reason" in empty.err) == (Exit.INVALID, True)


def test_an_old_position_is_refused_with_the_oldest_and_the_way_back(orders: MeshServer) -> None:
    cursor = omnirelay("mesh", "shards", "list", "--json").document["cursor"]

    async def move_and_compact() -> None:
        for owner in ("node-2", "node-3"):
            shard = await orders.mesh.shard("s1", "orders")
            assert shard is not None
            await orders.mesh.update(patch(shard, owner_node_id=owner), change=because("hot"))
        assert await MemoryRetention(orders.memory).compact(4, because("storage")) is not None

    orders.run(move_and_compact())
    for refused in (
        omnirelay("mesh", "shards", "watch", "--after", cursor, "--limit", 1),
        omnirelay("mesh", "shards", "diff", 3, 5),
        omnirelay("mesh", "shards", "list", "--as-of", 3),
    ):
        assert refused.exit == Exit.POSITION
        assert "COMPACTED: revision 3 was compacted; the oldest position that can be served is 4." in refused.err
        assert "go on from the cursor that comes with it" in refused.err
    again = omnirelay("mesh", "shards", "list", "--json").document["cursor"]
    orders.run(orders.mesh.created("s9", namespace="orders"))
    (line,) = omnirelay("mesh", "shards", "watch", "--json", "--after", again, "--limit", 1).documents
    assert line["revision"] == "6"
    assert omnirelay("mesh", "shards", "diff", 4, 5).exit == Exit.OK
