"""What made a plan stale: what has changed of each namespace, node and shard since it was made, and by which change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from persistence.model.outcomes import FieldChange, StalePlan, StalePlanned
from persistence.model.records import Change
from persistence.ports.writes import UnitOfWork

_OF_NAMESPACE: Final = ("strategy", "strategyParameters", "algorithmVersion")
"""What placement depends on, as changes have it."""

_OF_NODE: Final = ("region", "zone", "labels", "weight", "status")


async def explained(unit: UnitOfWork, stale: StalePlan) -> StalePlan:
    """The refusal, with the fields that differ and the change that made them so."""
    namespaces = [
        _explained(one, await unit.configurations(one.name, one.expected), _OF_NAMESPACE)
        for one in stale.namespace_conflicts
    ]
    nodes = [_explained(one, await unit.node_changes(one.name, one.expected), _OF_NODE) for one in stale.node_conflicts]
    changed = await unit.changed_fields({one.key: one.expected for one in stale.shards}) if stale.shards else {}
    shards = tuple(replace(one, changed_fields=_but_tickets(changed.get(one.key, ()))) for one in stale.shards)
    return replace(stale, shards=shards, namespace_conflicts=tuple(namespaces), node_conflicts=tuple(nodes))


def _but_tickets(names: Sequence[str]) -> tuple[str, ...]:
    """The ticket is that of the change, which is named beside the fields."""
    return tuple(name for name in names if name != "changeTicket")


def _explained(stale: StalePlanned, changes: Sequence[Change], names: Collection[str]) -> StalePlanned:
    """`changes` are those since the plan, newest first; of very many the newest."""
    if not changes:
        return stale
    if stale.expected == 0:
        # It was not there, so there is nothing to compare with.
        return replace(stale, last_change=changes[0])
    before, after = _before(changes[-1]), _after(changes[0])
    differing = [change for change in changes if any(_differs(_before(change), _after(change), name) for name in names)]
    return replace(
        stale,
        changed_fields=tuple(
            FieldChange(name, before.get(name), after.get(name)) for name in names if _differs(before, after, name)
        ),
        last_change=(differing or changes)[0],
    )


def _differs(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> bool:
    return bool(before.get(name) != after.get(name))


def _before(change: Change) -> Mapping[str, Any]:
    return {} if change.configuration is None else change.configuration.previous or {}


def _after(change: Change) -> Mapping[str, Any]:
    return {} if change.configuration is None else change.configuration.current
