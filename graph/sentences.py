"""Parts of the sentences an operator is told: who changed something last, and lists that stay short."""

from collections.abc import Sequence
from typing import Final

from graph.scalars import write_date_time
from persistence.outcomes import StaleShard
from persistence.records import Change, ChangeKind, ShardKey

_LISTED: Final = 3


def by(change: Change | None) -> str:
    """For example `: alice changed it at 2026-01-31T09:30:00Z (CHG-42: drain node-1)`."""
    return "" if change is None else f": {change.actor} {_DID[change.kind]} {when_and_why(change)}"


def when_and_why(change: Change) -> str:
    """For example `at 2026-01-31T09:30:00Z (CHG-42: drain node-1)`."""
    ticket = f"{change.change_ticket}: " if change.change_ticket else ""
    return f"at {write_date_time(change.committed_at)} ({ticket}{change.reason})"


_DID: Final = {
    ChangeKind.CREATE_SHARDS: "created it",
    ChangeKind.UPDATE_SHARDS: "changed it",
    ChangeKind.DELETE_SHARDS: "deleted it",
    ChangeKind.CONFIGURE_NAMESPACE: "configured it",
    ChangeKind.REGISTER_NODE: "registered it",
    ChangeKind.UPDATE_NODE: "changed it",
    ChangeKind.DRAIN_NODE: "drained it",
    ChangeKind.PLAN_REBALANCE: "planned it",
    ChangeKind.APPLY_PLAN: "moved it by a plan",
    ChangeKind.APPROVE_PLAN: "approved it",
    ChangeKind.REJECT_PLAN: "rejected it",
    ChangeKind.STOP_PLAN: "stopped it",
    ChangeKind.ROLLBACK_CHANGE: "planned to roll it back",
    ChangeKind.COMPACT_HISTORY: "compacted it",
}


def stale_shards(stale: Sequence[StaleShard]) -> str:
    """The first of them, and how many more there are."""
    return _stale_shard(stale[0]) + more(len(stale) - 1)


def _stale_shard(stale: StaleShard) -> str:
    name = f"shard {shard_name(stale.key)}"
    if stale.current is None:
        return f"{name} is gone, so it is not at version {stale.expected}{by(stale.last_change)}"
    at = f"exists already, at version {stale.actual}"
    if stale.expected > 0:
        at = f"is at version {stale.actual}, not {stale.expected}"
    return f"{name} {at}{by(stale.last_change)}; {stale.current.owner_node_id} owns it now"


def shard_name(key: ShardKey) -> str:
    return f"{key.namespace}/{key.shard_id}"


def listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + more(len(names) - _LISTED)


def more(count: int) -> str:
    return f" (and {count:,} more)" if count > 0 else ""
