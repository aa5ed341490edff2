"""Rows of history that are shown and nothing else: a row has the attributes of a ShardDiff, each made when it is read.

A record would be made of all that the row holds, by the hundred for a page, to be taken apart for the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import asyncpg
from sqlalchemy import ColumnElement, LargeBinary, Text, cast, func, literal_column

from persistence.codec.images import ShownShard
from persistence.codec.json_documents import read_details
from persistence.model.queries import DiffDetail
from persistence.model.records import ChangeKind, Compaction, ConfigurationChange, DiffKind, MoveReason, Rebalance
from persistence.postgres.tables.history import CHANGES, HISTORY

# Each value is one that can be hashed, and that the driver passes on as it comes: a time takes it longer to read than
# all else of a row.
_ROW: Final = (
    *(HISTORY.c[name] for name in ("revision", "kind", "namespace", "shard_id", "version", "move_reason")),
    func.array_to_string(HISTORY.c.changed_fields, literal_column("','"), type_=Text).label("changed_fields"),
)

_OWNERS: Final = (HISTORY.c.previous_owner_node_id, HISTORY.c.owner_node_id)

_IMAGES: Final = tuple(cast(HISTORY.c[name], Text).label(name) for name in ("previous", "current"))


def _sent(column: ColumnElement[Any]) -> ColumnElement[bytes]:
    """A time as it is on the wire, for `_time`."""
    return func.timestamptz_send(column, type_=LargeBinary).label(column.key)


_TIMES: Final = (
    HISTORY.c.previous_revision,
    _sent(HISTORY.c.created_at),
    _sent(HISTORY.c.previous_updated_at),
)

_CHANGE: Final = (
    *(CHANGES.c[name] for name in ("id", "kind", "actor", "reason", "change_ticket", "forced")),
    _sent(CHANGES.c.committed_at),
    cast(CHANGES.c.configuration, Text).label("configuration"),
)

_REST_OF_CHANGE: Final = (
    cast(CHANGES.c.metadata, Text).label("metadata"),
    func.array_to_string(CHANGES.c.namespaces, literal_column("','"), type_=Text).label("namespaces"),
    *(CHANGES.c[name] for name in ("head_revision", "shard_count", "hash")),
)

HELD_ROWS: Final = 8_000
"""Of each of two generations: twelve megabytes, with images as long as most are."""

# A dictionary costs a quarter of the enumeration's own look-up.
_KINDS: Final = dict(DiffKind.__members__)

_REASONS: Final[Mapping[Any, MoveReason | None]] = {None: None} | dict(MoveReason.__members__)

_CHANGE_KINDS: Final = dict(ChangeKind.__members__)


def columns_of_row(detail: DiffDetail) -> tuple[ColumnElement[Any], ...]:
    """Of history; those of `columns_of_change` follow them in what `row_class` reads."""
    images = _IMAGES if detail.images or detail.image_times else _OWNERS if detail.owners else ()
    return (*_ROW, *images, *(_TIMES if detail.image_times else ()))


def columns_of_change(detail: DiffDetail) -> tuple[ColumnElement[Any], ...]:
    return (*_CHANGE, *(_REST_OF_CHANGE if detail.whole_change else ()))


class DiffRow(asyncpg.Record):  # type: ignore[misc]  # asyncpg has no types
    """ShardDiff. The attributes are properties of the classes that `row_class` makes."""

    __slots__ = ()


@lru_cache
def row_class(detail: DiffDetail, leading: int) -> type[DiffRow]:
    """Of rows of the columns of a row and of a change, with so many others in front."""
    of_row, of_change = ([column.key for column in made(detail)] for made in (columns_of_row, columns_of_change))
    at = {name: index for index, name in enumerate(of_row, leading)}
    first = leading + len(of_row)
    read: dict[str, Callable[[Any], Any]] = {
        **{name: itemgetter(at[name]) for name in ("revision", "namespace", "shard_id", "version")},
        "kind": _looked_up(at["kind"], _KINDS),
        "move_reason": _looked_up(at["move_reason"], _REASONS),
        "changed_fields": _names(at["changed_fields"]),
        "change": _change(slice(first, first + len(of_change))),
    }
    if detail.image_times:
        updated_at = first + of_change.index("committed_at")
        read["previous"] = _stamped(
            at["previous"], at["previous_revision"], at["created_at"], at["previous_updated_at"]
        )
        read["current"] = _stamped(at["current"], at["revision"], at["created_at"], updated_at)
    elif detail.images:
        read |= {name: _image(at[name]) for name in ("previous", "current")}
    elif detail.owners:
        key = at["namespace"], at["shard_id"]
        read |= {
            "previous": _owned(*key, at["previous_owner_node_id"]),
            "current": _owned(*key, at["owner_node_id"]),
        }
    return type("DiffRow", (DiffRow,), {"__slots__": ()} | {name: property(get) for name, get in read.items()})


def _looked_up(column: int, members: Mapping[Any, Any]) -> Callable[[Any], Any]:
    return lambda row: members[row[column]]


def _names(column: int) -> Callable[[Any], Sequence[str]]:
    return lambda row: row[column].split(",") if row[column] else ()


def _image(column: int) -> Callable[[Any], ShownShard | None]:
    return lambda row: None if row[column] is None else ShownShard(row[column])


class ShownOwner:
    """The key and the owner of a shard, with the attributes of a Shard."""

    __slots__ = ("namespace", "owner_node_id", "shard_id")

    def __init__(self, namespace: str, shard_id: str, owner_node_id: str) -> None:
        self.namespace = namespace
        self.shard_id = shard_id
        self.owner_node_id = owner_node_id


def _owned(namespace: int, shard_id: int, owner: int) -> Callable[[Any], ShownOwner | None]:
    """A row has an owner before and after exactly where it has an image."""
    return lambda row: None if row[owner] is None else ShownOwner(row[namespace], row[shard_id], row[owner])


def _stamped(image: int, revision: int, created_at: int, updated_at: int) -> Callable[[Any], ShownShard | None]:
    """Of an image and what stands beside it."""

    def stamped(row: Any) -> ShownShard | None:
        if row[image] is None:
            return None
        return ShownShard(row[image], row[revision], _time(row[created_at]), _time(row[updated_at]))

    return stamped


def _change(columns: slice) -> Callable[[Any], ChangeRow]:
    """One object for rows of one change that follow each other."""
    latest: tuple[Any, Any] = None, None

    def change(row: Any) -> ChangeRow:
        nonlocal latest
        found = row[columns]
        if found != latest[0]:
            latest = found, ChangeRow(*found)
        one: ChangeRow = latest[1]
        return one

    return change


_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


def _time(sent: bytes) -> datetime:
    """Microseconds since the year 2000."""
    return _EPOCH + timedelta(microseconds=int.from_bytes(sent, "big", signed=True))


SHOWN_CHANGE: Final = (*_CHANGE, *_REST_OF_CHANGE)
"""Columns of a change that is shown, for `ChangeRow`."""


class ChangeRow:
    """Change, of columns of `columns_of_change`."""

    __slots__ = (
        "_details",
        "_rest",
        "actor",
        "change_ticket",
        "committed_at",
        "forced",
        "id",
        "kind",
        "reason",
    )

    def __init__(
        self,
        id_: int,
        kind: str,
        actor: str,
        reason: str,
        change_ticket: str | None,
        forced: str | None,
        committed_at: bytes,
        details: str | None,
        *rest: Any,
    ) -> None:
        self.id = id_
        self.kind = _CHANGE_KINDS[kind]
        self.actor = actor
        self.reason = reason
        self.change_ticket = change_ticket
        self.forced = forced
        self.committed_at = _time(committed_at)
        self._details = details
        self._rest = rest

    @property
    def configuration(self) -> ConfigurationChange | None:
        return None if self._details is None else read_details(json.loads(self._details))[0]

    @property
    def rebalance(self) -> Rebalance | None:
        return None if self._details is None else read_details(json.loads(self._details))[1]

    @property
    def compaction(self) -> Compaction | None:
        return None if self._details is None else read_details(json.loads(self._details))[2]

    @property
    def metadata(self) -> Any:
        return None if self._rest[0] is None else json.loads(self._rest[0])

    @property
    def namespaces(self) -> Sequence[str]:
        return self._rest[1].split(",") if self._rest[1] else ()

    @property
    def first_revision(self) -> int | None:
        head, count = self._rest[2:4]
        return head - count + 1 if count else None

    @property
    def last_revision(self) -> int | None:
        head, count = self._rest[2:4]
        return head if count else None

    @property
    def shard_count(self) -> int:
        count: int = self._rest[3]
        return count

    @property
    def hash(self) -> str:
        value: bytes = self._rest[4]
        return value.hex()


class HeldRows:
    """Rows that were shown lately: one object for each, so that what was made of it once can be kept by its identity.

    Rows of one revision are compared as a whole, so none is ever outdated. Two generations, of `limit` rows each: a row
    that is shown again is of the young one. What is held is the row, or what `make` makes of its columns.
    """

    def __init__(self, limit: int = HELD_ROWS, make: Callable[..., Any] | None = None) -> None:
        self._limit = limit
        self._make = make
        self._young = _Generation()
        self._old = _Generation()

    def __len__(self) -> int:
        return self._young.size + self._old.size

    def same(self, rows: Sequence[Any], leading: int = 0, behind: int = 0) -> Sequence[Any]:
        """For each row the one that is held, which may be this one from now on. The first `leading` columns are not of
        the row, and the revision follows them; nor are the last ones."""
        if not rows:
            return rows
        young, make = self._young, self._make
        kind = type(rows[0]) if make is None else type(self)
        of_young, of_old = young.rows.setdefault(kind, {}), self._old.rows.get(kind, {})
        held: list[Any] = []
        for row in rows:
            # Comparing tuples takes a sixth of what comparing the driver's records does.
            values = tuple(row)[leading : len(row) - behind]
            revision = values[0]
            known = of_young.get(revision)
            if known is None:
                young.size += 1
                known = of_young[revision] = of_old.get(revision, _NONE)
            if known[0] == values:
                young.again.add(id(known[1]))
            else:
                known = of_young[revision] = values, row if make is None else make(*values)
            held.append(known[1])
        if young.size > self._limit:
            self._old, self._young = young, _Generation()
        return held

    def holds(self, row: Any) -> bool:
        """Whether it was shown more than once."""
        return id(row) in self._young.again or id(row) in self._old.again


_NONE: Final[tuple[Any, Any]] = (None, None)


class _Generation:
    """By the class of rows, which goes with their columns, and their revision. `again`: those shown more than once."""

    __slots__ = ("again", "rows", "size")

    def __init__(self) -> None:
        self.rows: dict[type, dict[int, tuple[Any, Any]]] = {}
        self.again: set[int] = set()
        self.size = 0
