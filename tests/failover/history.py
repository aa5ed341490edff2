"""What the database has in the end, and what primaries had that died and that no standby has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from tests.chaos.history import CHANGES, ROWS, History, Reading, WrittenChange
from tests.chaos.records import Listing

_HASHES: Final = "SELECT id, hash FROM changes ORDER BY id"


@dataclass(frozen=True, slots=True)
class Lost:
    """What the old primary committed after `fork`, the last revision that the new one has too."""

    fork: int
    rows: Sequence[Mapping[str, Any]]
    changes: Sequence[WrittenChange]


@dataclass(frozen=True, slots=True)
class Branch:
    """A history as one primary had it to its end. Other primaries have it too up to `fork`.

    `told` says whether it was acknowledged and told to subscribers: not, where a synchronous standby was to have it.
    """

    history: History
    fork: int
    told: bool


async def read_lost(dead: str, live: str) -> Lost:
    """By their URLs."""
    hashes = dict(await _fetch(live, _HASHES))
    changes = [WrittenChange(*row) for row in await _fetch(dead, CHANGES)]
    common = 0
    for change_id, digest in await _fetch(dead, _HASHES):
        if hashes.get(change_id) != digest:
            break
        common = change_id
    fork = max((change.head_revision for change in changes if change.id <= common), default=0)
    rows = [row for row in await _fetch(dead, ROWS) if row["revision"] > fork]
    return Lost(fork, rows, [change for change in changes if change.id > common])


async def read_branches(url: str, lost: Sequence[tuple[Lost, bool]], listings: Sequence[Listing]) -> list[Branch]:
    """The last one is the final history; each of the lost ones comes with whether it was told. A list may be of any of
    them: each says which ones it refutes.
    """
    rows, changes = await _fetch(url, ROWS), [WrittenChange(*row) for row in await _fetch(url, CHANGES)]
    branches = []
    for each, told in lost:
        # The fork lies behind every promotion that came later, so the final history has all before it.
        first = min((change.id for change in each.changes), default=len(changes) + 1)
        before = [row for row in rows if row["revision"] <= each.fork]
        history = _history([*before, *each.rows], [*changes[: first - 1], *each.changes], listings)
        branches.append(Branch(history, each.fork, told))
    final = _history(rows, changes, listings)
    return [*branches, Branch(final, len(final.revisions), told=True)]


def _history(rows: Sequence[Any], changes: Sequence[WrittenChange], listings: Sequence[Listing]) -> History:
    reading = Reading(listings)
    for row in rows:
        reading.take(row)
    return reading.history("", changes)


async def _fetch(url: str, statement: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        rows: list[Any] = await connection.fetch(statement)
        return rows
    finally:
        await connection.close()
