"""History as PostgreSQL has it in the end, read by SQL and not through the store."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import asyncpg
import orjson

from tests.linearizability.journal import Told
from tests.linearizability.register import Seen

FOREVER: Final = 2**63
_ROWS: Final = """
    SELECT h.revision, h.change_id, c.idempotency_key, h.shard_id, h.version, h.current::text, h.previous::text
    FROM shard_history AS h JOIN changes AS c ON c.id = h.change_id
    WHERE h.namespace = $1 ORDER BY h.revision
"""


class Row(NamedTuple):
    """One change of one shard: the only one of its change. `key` is the request's; `told` is null if it was deleted."""

    revision: int
    change_id: int
    key: str | None
    shard: str
    version: int
    owner_epoch: int
    before: Seen | None
    told: Told | None


class Span(NamedTuple):
    """A shard as it was from one revision until right before another."""

    begin: int
    end: int
    told: Told | None


@dataclass(frozen=True, slots=True)
class History:
    """`spans` are those of each shard, from revision 0 on."""

    rows: Sequence[Row]
    by_key: Mapping[str, Sequence[Row]] = field(init=False)
    spans: Mapping[str, Sequence[Span]] = field(init=False)

    def __post_init__(self) -> None:
        by_key: dict[str, list[Row]] = {}
        of_shard: dict[str, list[Row]] = {}
        for row in self.rows:
            of_shard.setdefault(row.shard, []).append(row)
            if row.key is not None:
                by_key.setdefault(row.key, []).append(row)
        object.__setattr__(self, "by_key", by_key)
        object.__setattr__(self, "spans", {shard: list(_spans(rows)) for shard, rows in of_shard.items()})

    def at(self, shard: str, revision: int) -> Span:
        """What the shard was at a revision."""
        spans = self.spans.get(shard, (Span(0, FOREVER, None),))
        return spans[bisect_right(spans, revision, key=lambda span: span.begin) - 1]

    def place(self, shard: str, told: Told | None, least: int, most: int) -> int | None:
        """The lowest revision, from `least` to `most`, at which the shard was as told; null if there is none."""
        for span in self.spans.get(shard, (Span(0, FOREVER, None),)):
            if span.told == told and span.end > least and max(span.begin, least) <= most:
                return max(span.begin, least)
        return None


def contradictions(rows: Iterable[Row]) -> Iterator[str]:
    """What is wrong with history itself: versions and epochs that jump or come twice."""
    last: dict[str, Row] = {}
    for row in rows:
        before = last.get(row.shard)
        version, epoch, seen = (
            (0, 0, None) if before is None else (before.version, before.owner_epoch, before.told and before.told.seen)
        )
        if row.version != version + 1:
            yield f"revision {row.revision}: version {row.version} of {row.shard} follows {version}"
        if row.before != seen:
            yield f"revision {row.revision}: {row.shard} was {row.before or 'absent'}, not {seen or 'absent'}"
        owner = None if row.told is None else row.told.seen.owner
        changed = owner is not None and owner != (seen and seen.owner)
        if row.owner_epoch != epoch + changed:
            yield f"revision {row.revision}: epoch {row.owner_epoch} of {row.shard} follows {epoch}, owner {owner}"
        last[row.shard] = row


async def read_history(url: str, namespace: str) -> History:
    connection = await asyncpg.connect(url)
    try:
        return History([_row(*row) for row in await connection.fetch(_ROWS, namespace)])
    finally:
        await connection.close()


def _row(
    revision: int, change_id: int, key: str | None, shard: str, version: int, current: str | None, previous: str | None
) -> Row:
    before, after = _seen(previous), _seen(current)
    epoch = after.owner_epoch if after else before.owner_epoch if before else 0
    told = None if after is None else Told(after, revision)
    return Row(revision, change_id, key, shard, version, epoch, before, told)


def _seen(image: str | None) -> Seen | None:
    if image is None:
        return None
    document: dict[str, Any] = orjson.loads(image)
    return Seen(document["version"], document["ownerNodeId"], document["ownerEpoch"])


def _spans(rows: Sequence[Row]) -> Iterator[Span]:
    yield Span(0, rows[0].revision, None)
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        yield Span(row.revision, FOREVER if following is None else following.revision, row.told)
