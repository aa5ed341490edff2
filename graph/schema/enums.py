"""The enums of the schema, with a description of every value: the classes of `persistence`, and `StayReason`."""

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any

import strawberry

from persistence.model.outcomes import WarningCode
from persistence.model.plans import ConflictReason, PlanKind, PlanStatus
from persistence.model.policy import PolicyRule
from persistence.model.queries import HistoryOrder
from persistence.model.records import ChangeKind, DiffKind, MoveReason, NodeStatus, ShardStatus
from strategies.model import Movement


class StayReason(StrEnum):
    """What keeps a shard where it is; the schema shows the planner's strings as one of these."""

    PINNED = "PINNED"
    CORDONED = "CORDONED"
    ANTI_AFFINITY = "ANTI_AFFINITY"
    LATER_PLAN = "LATER_PLAN"


def _describe(enum_class: type[Enum], description: str, values: Mapping[Any, str]) -> None:
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
        ShardStatus.DISABLED: "Taken out of service until an operator puts it back.",
    },
)

_describe(
    DiffKind,
    "What happened to one shard.",
    {
        DiffKind.CREATED: "It was not there before: `previous` is null.",
        DiffKind.UPDATED: "It changed: `changedFields` has the fields.",
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
        ChangeKind.REGISTER_NODE: "A node was registered.",
        ChangeKind.UPDATE_NODE: "A node was changed or removed.",
        ChangeKind.DRAIN_NODE: "A node was taken out of placement.",
        ChangeKind.PLAN_REBALANCE: "A plan was made, and kept to be reviewed.",
        ChangeKind.APPLY_PLAN: "Shards were moved as planned.",
        ChangeKind.APPROVE_PLAN: "A plan was approved.",
        ChangeKind.REJECT_PLAN: "A plan was rejected: none of its moves are made, or no more of them.",
        ChangeKind.STOP_PLAN: "A plan that was being applied was stopped.",
        ChangeKind.ROLLBACK_CHANGE: "A plan to take changes back was made, and kept to be reviewed.",
        ChangeKind.COMPACT_HISTORY: "History was compacted: positions before its floor can no longer be served.",
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

_describe(
    NodeStatus,
    "Whether a node may own shards. Plans act on it; nothing moves before a plan is applied.",
    {
        NodeStatus.ACTIVE: "It owns shards, and plans may give it more.",
        NodeStatus.CORDONED: "It keeps what it has: plans give it nothing and take nothing away.",
        NodeStatus.DRAINING: "It is to be vacated: plans move every shard off it.",
        NodeStatus.DOWN: "It does not serve: plans move every shard off it, before those of draining nodes.",
        NodeStatus.REMOVED: "It is gone. A node can be removed once it owns no shard, and be registered again.",
    },
)

_describe(
    MoveReason,
    "Why a rebalance moves a shard, the most urgent first.",
    {
        MoveReason.OWNER_REMOVED: "Its owner is not registered.",
        MoveReason.OWNER_DOWN: "Its owner is down.",
        MoveReason.LEADER_REMOVED: "Its leader is not registered; the owner stays.",
        MoveReason.LEADER_DOWN: "Its leader is down; the owner stays.",
        MoveReason.LEADER_DRAINING: "Its leader is being drained; the owner stays.",
        MoveReason.LEADER_INELIGIBLE: "The namespace's selector does not match its leader; the owner stays.",
        MoveReason.OWNER_DRAINING: "Its owner is being drained.",
        MoveReason.OWNER_INELIGIBLE: "The namespace's selector does not match its owner.",
        MoveReason.OWNER_OVERLOADED: (
            "Its owner is the best for it, but has reached its bound; or, with a threshold, has shards to spare."
        ),
        MoveReason.STRATEGY_CHANGED: "The namespace has another strategy than when its owner was set.",
        MoveReason.PLACEMENT_CHANGED: "Nodes, parameters or hints have changed since, or it was moved by hand.",
        MoveReason.ROLLBACK: "It is given back what it had before a change.",
    },
)

_describe(
    PlanStatus,
    "How far a plan has come.",
    {
        PlanStatus.PROPOSED: "It can be reviewed, and applied where no approval is required.",
        PlanStatus.APPROVED: "It was approved: it can be applied, if nothing it relies on has changed.",
        PlanStatus.REJECTED: "It was rejected: it is not applied, or no further.",
        PlanStatus.EXPIRED: "It was not begun in time.",
        PlanStatus.SUPERSEDED: "A newer plan for one of its namespaces was approved or begun.",
        PlanStatus.APPLYING: "Some of its moves were made.",
        PlanStatus.STOPPED: "Some of its moves were made; the others wait until it is resumed.",
        PlanStatus.APPLIED: "Its moves were made.",
        PlanStatus.NOTHING_TO_DO: "It has no moves: there is nothing to decide on. It was closed when it was made.",
    },
)

_describe(
    PlanKind,
    "What a plan is for.",
    {
        PlanKind.REBALANCE: "To bring shards to where their strategies want them.",
        PlanKind.ROLLBACK: "To give shards back what they had before changes.",
    },
)

_describe(
    ConflictReason,
    "Why a rollback leaves a shard as it is.",
    {
        ConflictReason.CHANGED_SINCE: "It was changed after what is to be rolled back, or in between.",
        ConflictReason.CREATED: "It was created: a rollback deletes nothing.",
        ConflictReason.DELETED: "It was deleted: a rollback creates nothing.",
        ConflictReason.PINNED: "It is pinned to where it is.",
        ConflictReason.NODE_UNAVAILABLE: "The node that owned it is not ACTIVE, or not registered.",
    },
)

_describe(
    PolicyRule,
    "A rule that can refuse a change of shards. A forced change need not keep to those that follow "
    "REGISTRATION_REQUIRED.",
    {
        PolicyRule.TICKET_REQUIRED: "Changes need a ticket.",
        PolicyRule.TICKET_PATTERN: "Tickets have a form.",
        PolicyRule.APPROVAL_REQUIRED: "Plans are applied once they are approved.",
        PolicyRule.SELF_APPROVAL: "Who made a plan does not approve it.",
        PolicyRule.REGISTRATION_REQUIRED: "Owners and leaders are registered nodes.",
        PolicyRule.MOVE_BUDGET: "One change moves a bounded share of the namespace's shards.",
        PolicyRule.WINDOW_BUDGET: "A namespace sees a bounded number of moves in a window of time.",
        PolicyRule.SHARD_THRASH: "A shard sees a bounded number of moves in a window of time.",
        PolicyRule.FREEZE: "Nothing changes while the namespace is frozen.",
        PolicyRule.PIN: "A pinned shard stays where it is.",
        PolicyRule.ANTI_AFFINITY: "Shards of a group do not share an owner.",
    },
)

_describe(
    WarningCode,
    "What a warning is about.",
    {
        WarningCode.NODE_NOT_REGISTERED: "An owner or a leader that is not registered.",
        WarningCode.NODE_UNAVAILABLE: "An owner or a leader that may not own shards: DRAINING, DOWN or REMOVED.",
        WarningCode.NAMESPACE_UNPLACEABLE: (
            "A namespace has no placement: plans only move shards off nodes that are to be vacated, as far as there is "
            "room."
        ),
        WarningCode.NAMESPACE_WITHOUT_RESERVE: "A namespace would have no placement if it lost one of its nodes.",
    },
)

_describe(
    StayReason,
    "Why a shard stays where it is although its strategy places it elsewhere.",
    {
        StayReason.PINNED: "It is pinned.",
        StayReason.CORDONED: "Its owner is cordoned.",
        StayReason.ANTI_AFFINITY: "Its anti-affinity group has more shards than there are nodes for them.",
        StayReason.LATER_PLAN: "The next plan has as many moves as fit into one, and they come first.",
    },
)

_describe(
    Movement,
    "What a strategy leaves where it is when nodes are added, removed or given another weight.",
    {movement: f"{movement.value[0].upper()}{movement.value[1:]}." for movement in Movement},
)
