"""Checking history against the rules: each change against the policies that were in force when it was made.

Fed with every change and its rows in order. It recounts what the write path counted, from history alone, so it also
finds what was written around the write path.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from persistence.audit.continuity import Continuity
from persistence.audit.entries import ChangeEntry, RowEntry
from persistence.audit.row_images import parsed_images
from persistence.codec.json_documents import read_policy
from persistence.model.policy import NamespacePolicy, PolicyRule
from persistence.model.policy_rules import MAX_WINDOW_SECONDS, matches
from persistence.model.records import INVOLUNTARY, DiffKind, MoveReason, NodeStatus
from persistence.model.recurring_freezes import freezes_at
from persistence.planning.waves import is_limited, move_budget

_LONGEST: Final = timedelta(seconds=MAX_WINDOW_SECONDS)

_BYPASSED: Final = "Find out who let it through: the store refuses this."

_TWO_HOLDERS: Final = "Move the shard, so that its owner has a fencing token of its own; find out what wrote the row."


class OwnerRule(StrEnum):
    """What is checked beside the policy's rules."""

    CONTINUITY = "CONTINUITY"
    PLACEMENT = "PLACEMENT"
    LEADER = "LEADER"


@dataclass(frozen=True, slots=True)
class RuleBreach:
    """A rule that a change broke, or that a shard's owner breaks now.

    `subject` is a namespace or `namespace/shard`. `forced` is the reason it was allowed for; null if it was not.
    """

    rule: PolicyRule | OwnerRule
    subject: str
    change_id: int
    at: datetime
    actor: str
    actual: str
    allowed: str
    remedy: str
    forced: str | None = None


@dataclass(frozen=True, slots=True)
class CheckFilter:
    """Breaches by changes in [`since`, `until`), and of one namespace. All of history is read all the same: rules count
    what came before."""

    namespace: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def selects(self, breach: RuleBreach) -> bool:
        return (
            (self.namespace is None or breach.subject.partition("/")[0] == self.namespace)
            and (self.since is None or breach.at >= self.since)
            and (self.until is None or breach.at < self.until)
        )


@dataclass
class Report:
    """`forced` are breaches that were forced with a reason on record, `breaches` all others. `pending` broke no rule:
    what placement depends on has changed since a plan put the shard there, and no plan was applied yet. `overridden` is
    how many shards are not where their strategy has them by a decision of no plan. `floor`: see ComplianceChecker.
    `namespace_exists` is false if the filter's namespace does not exist: then no breach means nothing."""

    floor: int
    changes: int = 0
    shards: int = 0
    breaches: list[RuleBreach] = field(default_factory=list)
    forced: list[RuleBreach] = field(default_factory=list)
    pending: list[RuleBreach] = field(default_factory=list)
    overridden: int = 0
    namespace_exists: bool = True

    def add(self, breach: RuleBreach) -> None:
        (self.breaches if breach.forced is None else self.forced).append(breach)


@dataclass(frozen=True, slots=True)
class OwnerDecision:
    """The change that gave a shard its owner, or its leader; `by_plan` if a plan of a rebalance did, not one that named
    the node, nor a rollback."""

    change_id: int
    at: datetime
    actor: str
    by_plan: bool


@dataclass
class _PlanReview:
    """The actors that proposed and that approved a plan since it was closed last; what came before that is void."""

    namespaces: Sequence[str] = ()
    submitters: set[str] = field(default_factory=set)
    approvers: set[str] = field(default_factory=set)


@dataclass
class ComplianceChecker:
    """`floor`: rows up to there were compacted. Which shards moved before is not known, only which tickets there were.

    `owners` are the decisions that gave the shards their present owners, `leaders` those that gave them their leaders.
    """

    floor: int = 0
    changes: int = 0
    owners: dict[tuple[str, str], OwnerDecision] = field(default_factory=dict)
    leaders: dict[tuple[str, str], OwnerDecision] = field(default_factory=dict)
    _nodes_changed: int = 0
    """The last change of any node, and below of a namespace's configuration or number of shards, and of a shard."""
    _namespaces_changed: dict[str, int] = field(default_factory=dict)
    _shards_changed: dict[tuple[str, str], int] = field(default_factory=dict)
    _continuity: Continuity = field(init=False)
    _policies: dict[str, NamespacePolicy] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)
    _plans: dict[str, _PlanReview] = field(default_factory=dict)
    _nodes: dict[str, str] = field(default_factory=dict)
    """Their statuses."""
    _moves: dict[str, deque[tuple[datetime, MoveReason | None, int]]] = field(default_factory=dict)
    _shard_moves: dict[tuple[str, str], deque[tuple[datetime, MoveReason | None]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._continuity = Continuity(self.floor, checks_first=True)

    def is_pending(self, key: tuple[str, str], decision: OwnerDecision) -> bool:
        """Whether it may belong elsewhere because nodes, the namespace or the shard have changed since."""
        changed = (self._nodes_changed, self._namespaces_changed.get(key[0], 0), self._shards_changed.get(key, 0))
        return max(changed) > decision.change_id

    def have_nodes_changed_since(self, decision: OwnerDecision) -> bool:
        return self._nodes_changed > decision.change_id

    def add(self, change: ChangeEntry, rows: Sequence[RowEntry]) -> Iterator[RuleBreach]:
        """The rules it broke. The iterator must be exhausted before the next change is added."""
        self.changes += 1
        details = None if change.configuration is None else json.loads(change.configuration)
        if change.shard_count:
            moved = Counter((row.namespace, self._reason(row)) for row in rows if _is_move(row))
            others = {(row.namespace, self._reason(row)) for row in rows if not _is_move(row)}
            yield from self._check_tickets(change)
            yield from self._check_moves(change, moved, others)
            yield from self._check_shards(change, rows)
            yield from self._check_continuity(change, rows)
            self._record(change, rows, moved)
        if details is not None:
            yield from self._check_approval(change, details)
            self._configure(change, details)

    def _check_tickets(self, change: ChangeEntry) -> Iterator[RuleBreach]:
        for name, policy in self._in_force(change.namespaces):
            pattern, ticket = policy.ticket_pattern, change.change_ticket
            if ticket is None and policy.ticket_required:
                remedy = "Have the ticket written, and name it in a change that follows up."
                yield _breach(change, PolicyRule.TICKET_REQUIRED, name, "no ticket", "a ticket", remedy)
            elif ticket is not None and pattern is not None and not matches(pattern, ticket):
                remedy = "Find the ticket that was meant."
                yield _breach(change, PolicyRule.TICKET_PATTERN, name, f"ticket {ticket}", pattern, remedy)

    def _check_moves(
        self,
        change: ChangeEntry,
        moves: Mapping[tuple[str, MoveReason | None], int],
        others: Collection[tuple[str, MoveReason | None]],
    ) -> Iterator[RuleBreach]:
        """`moves` are counted by namespace and reason; for those of `others` shards are changed otherwise, too."""
        for name, policy in self._in_force(change.namespaces):
            moved = sum(count for (of, reason), count in moves.items() if of == name and is_limited(reason, policy))
            if not moved and not any(of == name and is_limited(reason, policy) for of, reason in others):
                continue
            for freeze in freezes_at(policy, change.committed_at):
                allowed = f"nothing from {_written(freeze.begins)} to {_written(freeze.ends)}: {freeze.reason}"
                yield _forcible_breach(change, PolicyRule.FREEZE, name, "a change in a freeze", allowed)
            count, budget = self._counts[name], move_budget(self._counts[name], policy)
            if moved > budget:
                actual = f"{moved:,} of {count:,} shards moved"
                yield _forcible_breach(change, PolicyRule.MOVE_BUDGET, name, actual, f"{budget:,} in one change")
            most = policy.window_moves
            total = moved + self._recent_moves(name, change.committed_at, policy)
            if most is not None and moved and total > most:
                actual = f"{total:,} moves in {policy.window_seconds:,} seconds"
                yield _forcible_breach(change, PolicyRule.WINDOW_BUDGET, name, actual, f"{most:,}")

    def _check_shards(self, change: ChangeEntry, rows: Sequence[RowEntry]) -> Iterator[RuleBreach]:
        for row in rows:
            policy = self._policies.get(row.namespace)
            if policy is not None and policy.owners_must_be_registered:
                yield from self._check_registration(change, row)
            if policy is None or policy.shard_window_moves is None or not _is_move(row):
                continue
            if not is_limited(self._reason(row), policy):
                continue
            begins = change.committed_at - timedelta(seconds=policy.window_seconds)
            recent = self._shard_moves.get((row.namespace, row.shard_id), ())
            moves = 1 + sum(at > begins and is_limited(reason, policy) for at, reason in recent)
            if moves > policy.shard_window_moves:
                actual = f"{moves:,} moves in {policy.window_seconds:,} seconds"
                subject = f"{row.namespace}/{row.shard_id}"
                yield _forcible_breach(
                    change, PolicyRule.SHARD_THRASH, subject, actual, f"{policy.shard_window_moves:,}"
                )

    def _check_registration(self, change: ChangeEntry, row: RowEntry) -> Iterator[RuleBreach]:
        before, after = parsed_images(row)
        for role, name in (("owner", "ownerNodeId"), ("leader", "leaderId")) if after is not None else ():
            node_id = after.get(name)
            if node_id is None or (before is not None and before.get(name) == node_id):
                continue
            if self._nodes.get(node_id, NodeStatus.REMOVED) == NodeStatus.REMOVED:
                subject, actual = f"{row.namespace}/{row.shard_id}", f"{node_id} as {role}, which was not registered"
                yield _breach(change, PolicyRule.REGISTRATION_REQUIRED, subject, actual, "registered nodes", _BYPASSED)

    def _check_continuity(self, change: ChangeEntry, rows: Sequence[RowEntry]) -> Iterator[RuleBreach]:
        for row in rows:
            before, after = parsed_images(row)
            self._record_leader(change, row, before, after)
            broken = self._continuity.add(row, before, after, change.committed_at)
            if broken is not None:
                subject = "/".join(broken.key)
                yield _breach(change, OwnerRule.CONTINUITY, subject, broken.actual, broken.expected, _TWO_HOLDERS)

    def _check_approval(self, change: ChangeEntry, details: dict[str, Any]) -> Iterator[RuleBreach]:
        if change.kind != "APPLY_PLAN":
            return
        review = self._plans.get(details["plan"], _PlanReview(change.namespaces))
        for name, policy in self._in_force(review.namespaces):
            if not policy.approval_required or review.approvers - review.submitters:
                continue
            submitted = ", ".join(sorted(review.submitters)) or "nobody known"
            remedy = "Have the moves reviewed now; `mesh rebalance rollback` puts them back."
            if review.approvers:
                actual = f"approved only by who submitted it ({submitted})"
                yield _breach(change, PolicyRule.SELF_APPROVAL, name, actual, "approval by somebody else", remedy)
            else:
                actual = f"plan {details['plan']} applied without approval"
                yield _breach(change, PolicyRule.APPROVAL_REQUIRED, name, actual, "approval by somebody else", remedy)

    def _record(
        self, change: ChangeEntry, rows: Sequence[RowEntry], moved: Mapping[tuple[str, MoveReason | None], int]
    ) -> None:
        at = change.committed_at
        for (name, reason), count in moved.items():
            recent = self._moves.setdefault(name, deque())
            recent.append((at, reason, count))
            while recent[0][0] <= at - _LONGEST:
                recent.popleft()
        for row in rows:
            key = (row.namespace, row.shard_id)
            retained = row.revision <= self.floor
            self._counts[row.namespace] += _added(row, retained=retained)
            self._note_inputs(change.id, key, row)
            if row.current is None:
                self.owners.pop(key, None)
            elif row.previous is None or _is_move(row):
                # A rollback puts shards where they were, not where their strategies place them.
                by_plan = row.move_reason not in (None, MoveReason.ROLLBACK)
                self.owners[key] = OwnerDecision(change.id, at, change.actor, by_plan)
            elif retained:
                # The row that decided is gone, so it is not known any more whether a plan did.
                self.owners[key] = OwnerDecision(change.id, at, change.actor, by_plan=False)
            if _is_move(row):
                times = self._shard_moves.setdefault(key, deque())
                times.append((at, self._reason(row)))
                while times[0][0] <= at - _LONGEST:
                    times.popleft()

    def _record_leader(self, change: ChangeEntry, row: RowEntry, before: Any, after: Any) -> None:
        """From the images, which no column repeats."""
        key, leader = (row.namespace, row.shard_id), None if after is None else after.get("leaderId")
        if leader is None:
            self.leaders.pop(key, None)
        # Of a row that compaction retained the row that decided may be gone.
        elif before is None or before.get("leaderId") != leader or row.revision <= self.floor:
            by_plan = change.kind == "APPLY_PLAN"
            self.leaders[key] = OwnerDecision(change.id, change.committed_at, change.actor, by_plan)

    def _note_inputs(self, change_id: int, key: tuple[str, str], row: RowEntry) -> None:
        """Of placement: how many shards there are, which bounds depend on, and what a shard says of itself."""
        if row.current is None or row.previous is None:
            self._namespaces_changed[row.namespace] = change_id
            self._shards_changed.pop(key, None)
        elif not _is_move(row):
            self._shards_changed[key] = change_id

    def _configure(self, change: ChangeEntry, details: dict[str, Any]) -> None:
        if "plan" in details:
            review = self._plans.setdefault(details["plan"], _PlanReview(change.namespaces))
            if change.kind in ("PLAN_REBALANCE", "ROLLBACK_CHANGE"):
                review.submitters.add(change.actor)
            elif change.kind == "APPROVE_PLAN":
                review.approvers.add(change.actor)
            closed = [details["plan"]] if change.kind == "REJECT_PLAN" else details.get("supersedes", ())
            for plan in closed:
                self._plans.pop(plan, None)
        elif "node" in details:
            self._nodes[details["node"]] = details["current"]["status"]
            self._nodes_changed = change.id
        elif "namespace" in details:
            self._namespaces_changed[details["namespace"]] = change.id
            if "policy" in details["current"]:
                self._policies[details["namespace"]] = read_policy(details["current"]["policy"])

    def _in_force(self, namespaces: Sequence[str]) -> Iterator[tuple[str, NamespacePolicy]]:
        """Configurations of before there were policies have none: nothing was required then."""
        return ((name, self._policies[name]) for name in namespaces if name in self._policies)

    def _recent_moves(self, namespace: str, now: datetime, policy: NamespacePolicy) -> int:
        begins = now - timedelta(seconds=policy.window_seconds)
        moves = self._moves.get(namespace, ())
        return sum(count for at, reason, count in moves if at > begins and is_limited(reason, policy))

    def _reason(self, row: RowEntry) -> MoveReason | None:
        """Why a plan moved the shard, or its lead. Null where none did, and where the owner or the leader was not what
        the reason shows: a move is not involuntary because it is written so."""
        if row.move_reason in INVOLUNTARY:
            of_owner = row.move_reason.startswith("OWNER_")
            node_id = row.previous_owner_node_id if of_owner else (parsed_images(row)[0] or {}).get("leaderId")
            status = self._nodes.get(node_id or "", NodeStatus.REMOVED)
            if row.move_reason != f"{'OWNER' if of_owner else 'LEADER'}_{status}":
                return None
        return None if row.move_reason is None else MoveReason(row.move_reason)


def _is_move(row: RowEntry) -> bool:
    return row.kind == DiffKind.UPDATED and row.owner_node_id != row.previous_owner_node_id


def _added(row: RowEntry, *, retained: bool) -> int:
    """By how much the row changes the number of shards. Before a row that compaction retained nothing is known."""
    if retained:
        return int(row.current is not None)
    return (row.previous is None) - (row.current is None)


def _breach(
    change: ChangeEntry, rule: PolicyRule | OwnerRule, subject: str, actual: str, allowed: str, remedy: str
) -> RuleBreach:
    return RuleBreach(rule, subject, change.id, change.committed_at, change.actor, actual, allowed, remedy)


def _forcible_breach(change: ChangeEntry, rule: PolicyRule, subject: str, actual: str, allowed: str) -> RuleBreach:
    return RuleBreach(
        rule, subject, change.id, change.committed_at, change.actor, actual, allowed, _BYPASSED, change.forced
    )


def _written(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
