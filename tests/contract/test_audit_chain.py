"""The audit chain can be recomputed from what the readers return, and shows what was tampered with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from persistence.model.records import Change, DiffKind, MoveReason, Rebalance, Shard, ShardDiff, ShardStatus
from tests.support.mesh import SEARCH, because, new, patch
from tests.support.model import first_broken_link
from tests.support.planned_mesh import PlannedMesh

Rows = list[ShardDiff]
Tampering = Callable[[list[Change], Rows], None]


async def written_chain(mesh: PlannedMesh) -> tuple[list[Change], Rows]:
    """Twelve changes with everything in them that a hash must cover."""
    await mesh.configure(SEARCH, strategy="locality", parameters={"zoneBoost": 7, "mode": "strict"})
    why = because("Grüße 🚚", change_ticket="CHG-1", metadata={"b": [1, 2.5, None], "a": "ä"})
    one, two, three = (await mesh.create(new("s1"), new("s2", leader_id="x"), new("s3"), change=why)).shards
    one = await mesh.updated(one, owner_node_id="node-b", capacity_hint=0.1, locality_hint="eu/zone-a")
    await mesh.delete(two, change=because("gone", metadata=0))
    await mesh.configure(strategy="ring", expected=1)
    await mesh.update(patch(one, status=ShardStatus.PAUSED), patch(three, owner_node_id="node-c"))
    await mesh.create(new("s2"))
    node = (await mesh.register("node-z", labels={"disk": "ssd", "a": "b"})).node
    await mesh.change_node(node, zone="eu-1", weight=7)
    await mesh.apply((await mesh.plan()).plan, change=because("rebalance", change_ticket="CHG-9"))
    return list(await mesh.changes()), list(await mesh.history())


async def test_the_chain_follows_from_the_rows_alone(mesh: PlannedMesh) -> None:
    changes, rows = await written_chain(mesh)
    assert (len(changes), len(rows)) == (12, 11)
    assert first_broken_link(changes, rows) is None


async def test_the_chain_follows_under_concurrent_writers(mesh: PlannedMesh) -> None:
    async def work(number: int) -> None:
        shards = (await mesh.create(*(new(f"w{number}-{part}") for part in range(3)))).shards
        moved = await mesh.update(*(patch(shard, owner_node_id="node-b") for shard in shards))
        await mesh.configure(f"namespace-{number}")
        await mesh.delete(moved.shards[0])

    await asyncio.gather(*map(work, range(6)))
    assert first_broken_link(await mesh.changes(), await mesh.history()) is None


async def test_the_chain_of_a_large_change_follows(mesh: PlannedMesh) -> None:
    await mesh.create(*(new(f"s{number:04}", capacity_hint=number / 7) for number in range(1_000)))
    assert first_broken_link(await mesh.changes(), await mesh.history()) is None


def edited_change(position: int, **fields: object) -> Tampering:
    def tamper(changes: list[Change], rows: Rows) -> None:
        changes[position] = edited = replace(changes[position], **fields)  # type: ignore[arg-type]  # any field
        rows[:] = [replace(row, change=edited) if row.change.id == edited.id else row for row in rows]

    return tamper


def later(changes: list[Change], _: Rows) -> None:
    changes[3] = replace(changes[3], committed_at=changes[3].committed_at + timedelta(microseconds=1))


def other_configuration(changes: list[Change], _: Rows) -> None:
    configuration = changes[5].configuration
    assert configuration is not None
    current = {**configuration.current, "strategy": "rendezvous"}
    changes[5] = replace(changes[5], configuration=replace(configuration, current=current))


def other_node(changes: list[Change], _: Rows) -> None:
    configuration = changes[9].configuration
    assert configuration is not None
    changes[9] = replace(changes[9], configuration=replace(configuration, node_id="node-y"))


def other_plan(position: int) -> Tampering:
    return edited_change(position, rebalance=Rebalance("f" * 32, 3, 3))


def edited_row(revision: int, edit: Callable[[ShardDiff], ShardDiff]) -> Tampering:
    def tamper(_: Sequence[Change], rows: Rows) -> None:
        rows[revision - 1] = edit(rows[revision - 1])

    return tamper


def other_owner(shard: Shard | None) -> Shard:
    assert shard is not None
    return replace(shard, owner_node_id="node-evil")


def swapped_changes(changes: list[Change], _: Rows) -> None:
    changes[3], changes[4] = changes[4], changes[3]


def swapped_rows(_: Sequence[Change], rows: Rows) -> None:
    rows[0], rows[1] = rows[1], rows[0]


def forgotten_change(changes: list[Change], _: Rows) -> None:
    del changes[4]


def forgotten_row(_: Sequence[Change], rows: Rows) -> None:
    del rows[1]


def moved_row(changes: list[Change], rows: Rows) -> None:
    rows[3] = replace(rows[3], change=changes[2])


TAMPERINGS: Final[dict[str, tuple[int, Tampering]]] = {
    "another actor": (3, edited_change(2, actor="nobody")),
    "another reason": (3, edited_change(2, reason="no reason")),
    "another ticket": (3, edited_change(2, change_ticket="CHG-2")),
    "no ticket": (3, edited_change(2, change_ticket=None)),
    "other metadata": (3, edited_change(2, metadata={"b": [1, 2.5, None], "a": "a"})),
    "a reason to force it": (3, edited_change(2, forced="why not")),
    "no metadata": (5, edited_change(4, metadata=None)),
    "another time": (4, later),
    "another configuration": (6, other_configuration),
    "another node": (10, other_node),
    "another plan kept": (11, other_plan(10)),
    "another plan applied": (12, other_plan(11)),
    "no plan": (12, edited_change(11, rebalance=None)),
    "another reason of a move": (
        12,
        edited_row(10, lambda row: replace(row, move_reason=MoveReason.PLACEMENT_CHANGED)),
    ),
    "no reason of a move": (12, edited_row(10, lambda row: replace(row, move_reason=None))),
    "a reason where nothing was rebalanced": (
        4,
        edited_row(4, lambda row: replace(row, move_reason=MoveReason.OWNER_DOWN)),
    ),
    "another owner after": (4, edited_row(4, lambda row: replace(row, current=other_owner(row.current)))),
    "another owner before": (4, edited_row(4, lambda row: replace(row, previous=other_owner(row.previous)))),
    "another owner of what was deleted": (
        5,
        edited_row(5, lambda row: replace(row, previous=other_owner(row.previous))),
    ),
    "another kind": (4, edited_row(4, lambda row: replace(row, kind=DiffKind.CREATED))),
    "changes swapped": (4, swapped_changes),
    "rows swapped": (3, swapped_rows),
    "a change left out": (5, forgotten_change),
    "a row left out": (3, forgotten_row),
    "a row told of another change": (3, moved_row),
}


async def test_an_edit_is_found_where_it_was_made(mesh: PlannedMesh) -> None:
    changes, rows = await written_chain(mesh)
    for name, (broken, tamper) in TAMPERINGS.items():
        edited = (changes.copy(), rows.copy())
        tamper(*edited)
        assert first_broken_link(*edited) == broken, name
