"""Policies as JSON documents: as the database keeps them, as changes record them, and as the API writes them.

A document names every rule, also those at their defaults: what was configured stays, should a default ever change.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from persistence.policy import FreezeWindow, NamespacePolicy


def write_policy(policy: NamespacePolicy) -> dict[str, Any]:
    """The document of one policy. Times are written in UTC."""
    return {
        "ticketRequired": policy.ticket_required,
        "ticketPattern": policy.ticket_pattern,
        "approvalRequired": policy.approval_required,
        "moveBudgetPercent": float(policy.move_budget_percent),
        "windowSeconds": policy.window_seconds,
        "windowMoves": policy.window_moves,
        "shardWindowMoves": policy.shard_window_moves,
        "freezes": [
            {"begins": _written(freeze.begins), "ends": _written(freeze.ends), "reason": freeze.reason}
            for freeze in policy.freezes
        ],
    }


def read_policy(document: Mapping[str, Any]) -> NamespacePolicy:
    """The policy a document stands for."""
    return NamespacePolicy(
        document["ticketRequired"],
        document["ticketPattern"],
        document["approvalRequired"],
        float(document["moveBudgetPercent"]),
        document["windowSeconds"],
        document["windowMoves"],
        document["shardWindowMoves"],
        tuple(map(_freeze, document["freezes"])),
    )


def _freeze(document: Mapping[str, Any]) -> FreezeWindow:
    begins, ends = (datetime.fromisoformat(document[name]) for name in ("begins", "ends"))
    return FreezeWindow(begins, ends, document["reason"])


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
