"""Records of shards that are made by the million: built in fewer steps, and with equal values shared."""

from __future__ import annotations

from dataclasses import fields, make_dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from persistence.model.records import Shard, ShardContent

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

_Draft: Final = make_dataclass("_Draft", [(member.name, Any) for member in fields(Shard)], slots=True, eq=False)


def new_shard(*values: Any) -> Shard:
    """From the values of all fields, in their order.

    The constructor of a frozen class takes five times as long: the record is of another class, with the same slots,
    until it is complete.
    """
    draft: Any = _Draft(*values)
    draft.__class__ = Shard
    return cast("Shard", draft)


def new_shards(columns: Iterable[Iterable[Any]]) -> list[Shard]:
    """As `new_shard`, from a column of each field's values."""
    drafts: list[Any] = list(map(_Draft, *columns))
    for draft in drafts:
        draft.__class__ = Shard
    return drafts


_ContentDraft: Final = make_dataclass(
    "_ContentDraft", [(member.name, Any) for member in fields(ShardContent)], slots=True, eq=False
)


def new_contents(columns: Iterable[Iterable[Any]]) -> list[ShardContent]:
    """As `new_shards`."""
    drafts: list[Any] = list(map(_ContentDraft, *columns))
    for draft in drafts:
        draft.__class__ = ShardContent
    return drafts


POOLED: Final = 65_536
"""Values that are held to be shared: those that were met last."""


@lru_cache(POOLED)
def pooled(value: T) -> T:
    """The same object for equal values. A million shards have few owners, strategies and tickets, and a string for each
    of a shard's own would take more room than the record."""
    return value
