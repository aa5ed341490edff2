"""Policies and the details of changes as JSON documents: as rows store them, and policies as the API writes them.

How two configurations differ is written in the same names and values.

The document of a policy names every rule, also those at their defaults: what was configured stays, should a default
ever change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final

from persistence.model.fields import canonical_json
from persistence.model.policy import (
    DEFAULT_POLICY,
    FreezeWindow,
    NamespaceConfiguration,
    NamespacePolicy,
    RecurringFreeze,
)
from persistence.model.records import (
    Compaction,
    ConfigurationChange,
    Namespace,
    Node,
    NodeStatus,
    Rebalance,
    public_name,
)

_RULES: Final = {member.name: public_name(member.name) for member in fields(NamespacePolicy)}


def write_policy(policy: NamespacePolicy) -> dict[str, Any]:
    """The document of one policy. Times are written in UTC."""
    document = {name: getattr(policy, attribute) for attribute, name in _RULES.items()}
    document["moveBudgetPercent"] = float(policy.move_budget_percent)
    document["freezes"] = [
        {"begins": _written(freeze.begins), "ends": _written(freeze.ends), "reason": freeze.reason}
        for freeze in policy.freezes
    ]
    document["recurringFreezes"] = [
        {
            "schedule": freeze.schedule,
            "duration": freeze.duration,
            "timeZone": freeze.time_zone,
            "reason": freeze.reason,
            "until": None if freeze.until is None else _written(freeze.until),
        }
        for freeze in policy.recurring_freezes
    ]
    return document


def read_policy(document: Mapping[str, Any]) -> NamespacePolicy:
    """The policy a document stands for. A rule that came later is at its default in documents of before."""
    rules = {attribute: document[name] for attribute, name in _RULES.items() if name in document}
    rules["move_budget_percent"] = float(rules["move_budget_percent"])
    rules["freezes"] = tuple(map(_freeze, rules["freezes"]))
    rules["recurring_freezes"] = tuple(map(_recurring_freeze, rules.get("recurring_freezes", ())))
    return NamespacePolicy(**rules)


def configuration_differences(
    before: NamespaceConfiguration | None, after: NamespaceConfiguration
) -> Iterator[tuple[str, Any, Any]]:
    """Field by field, its name in a declaration (`policy.windowMoves`) and two values of JSON; null for a parameter
    that is not set. Of a new namespace (`before` null) what is not at its default."""
    if before is None:
        before = NamespaceConfiguration("", {}, after.algorithm_version, DEFAULT_POLICY)
    if before.strategy != after.strategy:
        yield "strategy", before.strategy or None, after.strategy
    elif before.algorithm_version != after.algorithm_version:
        yield "algorithmVersion", before.algorithm_version, after.algorithm_version
    for kind, was, now in (
        ("parameters", before.strategy_parameters, after.strategy_parameters),
        ("policy", write_policy(before.policy), write_policy(after.policy)),
    ):
        for name in {**was, **now}:
            if (name in was, was.get(name)) != (name in now, now.get(name)):
                yield f"{kind}.{name}", was.get(name), now.get(name)


def configured_namespace(name: str, created_at: datetime, configuration: Mapping[str, Any]) -> Namespace:
    """As a change left it, of the configuration that the change stored. What follows from shards is not in there:
    `digest`, `shard_count`, `revision` and `updated_at` mean nothing."""
    policy = configuration.get("policy")  # changes of before there were policies have none
    return Namespace(
        name,
        configuration["strategy"],
        configuration["strategyParameters"],
        configuration["algorithmVersion"],
        configuration["parametersDigest"],
        configuration["version"],
        "",
        0,
        0,
        created_at,
        created_at,
        DEFAULT_POLICY if policy is None else read_policy(policy),
    )


def configured_node(
    node_id: str, created_at: datetime, ticket: str | None, changed_at: datetime, configuration: Mapping[str, Any]
) -> Node:
    """The same of a node; its shards are not counted."""
    return Node(
        node_id,
        configuration["region"],
        configuration["zone"],
        configuration["labels"],
        configuration["weight"],
        NodeStatus(configuration["status"]),
        ticket,
        configuration["version"],
        0,
        created_at,
        changed_at,
    )


def _freeze(document: Mapping[str, Any]) -> FreezeWindow:
    begins, ends = (datetime.fromisoformat(document[name]) for name in ("begins", "ends"))
    return FreezeWindow(begins, ends, document["reason"])


def _recurring_freeze(document: Mapping[str, Any]) -> RecurringFreeze:
    until = document["until"]
    return RecurringFreeze(
        document["schedule"],
        document["duration"],
        document["timeZone"],
        document["reason"],
        None if until is None else datetime.fromisoformat(until),
    )


def _written(timestamp: datetime) -> str:
    return timestamp.astimezone(UTC).isoformat().replace("+00:00", "Z")


def details_json(
    configuration: ConfigurationChange | None, rebalance: Rebalance | None, compaction: Compaction | None = None
) -> str | None:
    """A configuration change, a plan or a compaction, as a row of `changes` stores it; a change has at most one."""
    if compaction is not None:
        return canonical_json(
            {
                "floor": compaction.floor,
                "previousFloor": compaction.previous_floor,
                "removedRows": compaction.removed_rows,
                "keptRows": compaction.kept_rows,
                "keptDigest": compaction.kept_digest,
            }
        )
    if rebalance is not None:
        plan: dict[str, Any] = {
            "plan": rebalance.plan_id,
            "moved": rebalance.moved,
            "shardCount": rebalance.shard_count,
        }
        # Left out where there are none: so are the changes of before there was such a thing.
        return canonical_json(plan | ({"supersedes": list(rebalance.supersedes)} if rebalance.supersedes else {}))
    if configuration is None:
        return None
    subject = (
        {"namespace": configuration.namespace} if configuration.node_id is None else {"node": configuration.node_id}
    )
    return canonical_json({**subject, "previous": configuration.previous, "current": configuration.current})


def read_details(
    details: Mapping[str, Any] | None,
) -> tuple[ConfigurationChange | None, Rebalance | None, Compaction | None]:
    """What `details_json` wrote, parsed."""
    if details is None:
        return None, None, None
    if "plan" in details:
        supersedes = tuple(details.get("supersedes", ()))
        return None, Rebalance(details["plan"], details["moved"], details["shardCount"], supersedes), None
    if "floor" in details:
        rows = details["removedRows"], details["keptRows"], details["keptDigest"]
        return None, None, Compaction(details["floor"], details["previousFloor"], *rows)
    change = ConfigurationChange(details.get("namespace"), details.get("node"), details["previous"], details["current"])
    return change, None, None
