"""The enums of the store as the schema shows them: the same classes, with a sentence for every value."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import strawberry

from persistence.queries import HistoryOrder
from persistence.records import ChangeKind, DiffKind, ShardStatus


def _describe(enum_class: type[StrEnum], description: str, values: Mapping[StrEnum, str]) -> None:
    definition: Any = strawberry.enum(enum_class, description=description)
    for value in definition.__strawberry_definition__.values:
        value.description = values[enum_class(value.value)]


_describe(
    ShardStatus,
    "What the owner may do with a shard. The store records it; mesh nodes act on it.",
    {
        ShardStatus.ACTIVE: "Served by its owner.",
        ShardStatus.DRAINING: "Its owner finishes what it has and takes on nothing new.",
        ShardStatus.PAUSED: "Its owner holds it and serves nothing for now.",
        ShardStatus.DISABLED: "Taken out of service until an operator says otherwise.",
    },
)
_describe(
    DiffKind,
    "What happened to one shard.",
    {
        DiffKind.CREATED: "It was not there before: `previous` is null.",
        DiffKind.UPDATED: "It changed: `changedFields` says where.",
        DiffKind.DELETED: "It is gone: `current` is null.",
    },
)
_describe(
    ChangeKind,
    "What a committed change was for.",
    {
        ChangeKind.CREATE_SHARDS: "Shards were created.",
        ChangeKind.UPDATE_SHARDS: "Shards were moved or otherwise updated.",
        ChangeKind.DELETE_SHARDS: "Shards were deleted.",
        ChangeKind.CONFIGURE_NAMESPACE: "A namespace was created or reconfigured.",
    },
)
_describe(
    HistoryOrder,
    "In which order history is listed.",
    {
        HistoryOrder.REVISION_ASC: "Oldest first.",
        HistoryOrder.REVISION_DESC: "Newest first.",
    },
)
