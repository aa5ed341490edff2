"""Rows of history that are shown and nothing else: a row has the attributes of a ShardDiff, each made when it is read.

A record would be made of all that the row holds, by the hundred for a page, to be taken apart for the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import asyncpg
from sqlalchemy import ColumnElement, Text, cast

from persistence.codec.images import ShownShard
from persistence.codec.json_documents import read_details
from persistence.model.queries import DiffDetail
from persistence.model.records import ChangeKind, Compaction, ConfigurationChange, DiffKind, MoveReason, Rebalance
from persistence.postgres.tables.history import CHANGES, HISTORY

_ROW: Final = tuple(
    HISTORY.c[name] for name in ("revision", "kind", "namespace", "shard_id", "version", "changed_fields", "move_reason")
)

# As text: the image is parsed once, by us.
_IMAGES: Final = tuple(cast(HISTORY.c[name], Text).label(name) for name in ("previous", "current"))

_TIMES: Final = tuple(HISTORY.c[name] for name in ("previous_revision", "previous_updated_at", "created_at"))

_CHANGE: Final = tuple(
    CHANGES.c[name]
    for name in ("id", "kind", "actor", "reason", "change_ticket", "forced", "committed_at", "configuration")
)

_REST_OF_CHANGE: Final = tuple(
    CHANGES.c[name] for name in ("metadata", "namespaces", "head_revision", "shard_count", "hash")
)

# A dictionary costs a quarter of the enumeration's own look-up.
_KINDS: Final = dict(DiffKind.__members__)

_REASONS: Final = {None: None, **MoveReason.__members__}

_CHANGE_KINDS: Final = dict(ChangeKind.__members__)


def columns_of_row(detail: DiffDetail) -> tuple[ColumnElement[Any], ...]:
    """Of history; those of `columns_of_change` follow them in what `row_class` reads."""
    return (*_ROW, *(_IMAGES if detail.images else ()), *(_TIMES if detail.image_times else ()))


def columns_of_change(detail: DiffDetail) -> tuple[ColumnElement[Any], ...]:
    return (*_CHANGE, *(_REST_OF_CHANGE if detail.whole_change else ()))


class DiffRow(asyncpg.Record):  # type: ignore[misc]  # asyncpg has no types
    """ShardDiff. The attributes are properties of the classes that `row_class` makes."""

    __slots__ = ()


@lru_cache
def row_class(detail: DiffDetail, leading: int) -> type[DiffRow]:
    """Of rows of the columns of a row and of a change, with so many others in front."""
    of_row, of_change = ([column.name for column in made(detail)] for made in (columns_of_row, columns_of_change))
    at = {name: index for index, name in enumerate(of_row, leading)}
    first = leading + len(of_row)
    read: dict[str, Callable[[Any], Any]] = {
        **{name: itemgetter(at[name]) for name in ("revision", "namespace", "shard_id", "version", "changed_fields")},
        "kind": _looked_up(at["kind"], _KINDS),
        "move_reason": _looked_up(at["move_reason"], _REASONS),
        "change": _change(slice(first, first + len(of_change))),
    }
    if detail.image_times:
        committed_at = first + of_change.index("committed_at")
        read["previous"] = _stamped(itemgetter(*map(at.get, ("previous", "previous_revision", "created_at", "previous_updated_at"))))
        read["current"] = _stamped(itemgetter(at["current"], at["revision"], at["created_at"], committed_at))
    elif detail.images:
        read |= {name: _image(at[name]) for name in ("previous", "current")}
    return type("DiffRow", (DiffRow,), {"__slots__": ()} | {name: property(get) for name, get in read.items()})


def _looked_up(column: int, members: Mapping[str | None, Any]) -> Callable[[Any], Any]:
    return lambda row: members[row[column]]


def _image(column: int) -> Callable[[Any], ShownShard | None]:
    return lambda row: None if row[column] is None else ShownShard(row[column])


def _stamped(read: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], ShownShard | None]:
    """Of an image and what stands beside it."""

    def stamped(row: Any) -> ShownShard | None:
        image, *stamps = read(row)
        return None if image is None else ShownShard(image, *stamps)

    return stamped


def _change(columns: slice) -> Callable[[Any], ChangeRow]:
    return lambda row: ChangeRow(*row[columns])


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
        committed_at: datetime,
        details: Any,
        *rest: Any,
    ) -> None:
        self.id = id_
        self.kind = _CHANGE_KINDS[kind]
        self.actor = actor
        self.reason = reason
        self.change_ticket = change_ticket
        self.forced = forced
        self.committed_at = committed_at
        self._details = details
        self._rest = rest

    @property
    def configuration(self) -> ConfigurationChange | None:
        return None if self._details is None else read_details(self._details)[0]

    @property
    def rebalance(self) -> Rebalance | None:
        return None if self._details is None else read_details(self._details)[1]

    @property
    def compaction(self) -> Compaction | None:
        return None if self._details is None else read_details(self._details)[2]

    @property
    def metadata(self) -> Any:
        return self._rest[0]

    @property
    def namespaces(self) -> list[str]:
        namespaces: list[str] = self._rest[1]
        return namespaces

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
