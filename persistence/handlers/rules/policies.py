"""The rules of a namespace's policy that a change of its shards is checked against.

All of it can be recomputed from history: `committed_at` of the change, the owners before and after in its rows, and the
configuration in force, which is that of the newest change of the namespace before it. docs/governance.md has the
definitions that are counted by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Final

from persistence.commands.command import ChangeRequest
from persistence.commands.read_state import ReadSet, ReadState
from persistence.commands.write_set import CommitConditions, ShardWrite
from persistence.handlers.rules.anti_affinity import broken_groups
from persistence.handlers.rules.pins import broken_pins
from persistence.model.fields import quoted
from persistence.model.outcomes import BrokenRule, PolicyViolation
from persistence.model.policy import FreezeWindow, NamespacePolicy, PolicyRule
from persistence.model.policy_rules import matches
from persistence.model.records import INVOLUNTARY, DiffKind, Namespace, NodeStatus, ShardKey
from persistence.model.recurring_freezes import freezes_at, freezes_between
from persistence.planning.proposal import Move
from persistence.planning.waves import is_limited, move_budget

LISTED: Final = 100
"""Broken rules that an answer holds; the rest are counted."""

_LOOKED_AHEAD: Final = timedelta(days=1)
"""Much longer than a commit takes."""

_OR_FORCE: Final = "or force it with a reason."


def depending_on_time(namespaces: Iterable[Namespace], reads: ReadSet) -> list[Namespace]:
    """Those whose policy is judged by the time, where shards are to be changed."""
    if not reads.shards:
        return []
    return [
        one for one in namespaces if one.policy.freezes or one.policy.recurring_freezes or limiting_moves([one], reads)
    ]


def limiting_moves(namespaces: Iterable[Namespace], reads: ReadSet) -> list[Namespace]:
    """Those whose policy limits the moves in a window, where any may be made."""
    if not reads.moves:
        return []
    limits = ((one, (one.policy.window_moves, one.policy.shard_window_moves)) for one in namespaces)
    return [namespace for namespace, most in limits if most != (None, None)]


def check(
    change: ChangeRequest, state: ReadState, writes: Sequence[ShardWrite], broken: Iterable[BrokenRule] = ()
) -> PolicyViolation | CommitConditions:
    """Every rule that the change of these shards of the state would break, after those that it is known to break
    already; or, if there are none, what must still be so when it is committed."""
    names = sorted({write.key.namespace for write in writes})
    moves = [write for write in writes if write.moves]
    limited = list(_limited(writes, state)) if any(one.move_reason in INVOLUNTARY for one in writes) else writes
    limited_moves = [write for write in limited if write.moves]
    moved = Counter(write.key.namespace for write in limited_moves)
    freezable = {write.key.namespace: state.namespaces[write.key.namespace].policy for write in limited}
    broken = list(broken)
    broken += _unregistered(writes, state)
    if change.forced is None:
        broken += _misplaced(writes, moves, state)
    for name in names:
        broken += _ticket(change.change_ticket, state.namespaces[name])
        if change.forced is None and name in freezable:
            broken += _limits(state, state.namespaces[name], moved[name])
    if change.forced is None:
        broken += _thrashing(state, limited_moves)
    if broken:
        return PolicyViolation(tuple(broken[:LISTED]), max(0, len(broken) - LISTED))
    return CommitConditions(state.now) if change.forced is not None else conditions(state, freezable, moved)


def _limited(writes: Sequence[ShardWrite], state: ReadState) -> Iterator[ShardWrite]:
    """What freezes are about, and of which budgets and windows count the moves."""
    for write in writes:
        if is_limited(write.move_reason, state.namespaces[write.key.namespace].policy):
            yield write


def conditions(state: ReadState, policies: Mapping[str, NamespacePolicy], moved: Mapping[str, int]) -> CommitConditions:
    """What of a change that breaks no rule must still be so when it is committed. `policies` are those of the
    namespaces that limit it, `moved` how many shards of them it moves in that."""
    fewest = {name: fewest_shards(count, policies[name]) for name, count in moved.items()}
    left = {
        name: most - state.recent.namespaces.get(name, 0) - moved[name]
        for name in moved
        if (most := policies[name].window_moves) is not None
    }
    return CommitConditions(
        state.now,
        None if state.now is None else _frozen_from(policies.values(), state.now),
        {name: count for name, count in fewest.items() if count},
        {name: count for name, count in left.items() if policies[name].involuntary_moves_limited},
        {name: count for name, count in left.items() if not policies[name].involuntary_moves_limited},
        state.recent.revision,
    )


def _frozen_from(policies: Iterable[NamespacePolicy], now: datetime) -> datetime | None:
    """Before which a change that is decided now is to be committed: the next freeze of any of these policies begins, or
    it is no further known when one does."""
    begins: list[datetime] = []
    for policy in policies:
        begins += [freeze.begins for freeze in policy.freezes]
        if policy.recurring_freezes:
            horizon = now + _LOOKED_AHEAD
            begins += [horizon, *(freeze.begins for freeze in freezes_between(policy, now, horizon))]
    return min((time for time in begins if now < time), default=None)


def fewest_shards(moved: int, policy: NamespacePolicy) -> int:
    """How many shards a namespace must hold for a change to move so many of them: the inverse of `move_budget`."""
    return 0 if moved <= 1 else floor((moved - 1) * 100 / _exactly(policy.move_budget_percent)) + 1


def waits(state: ReadState, move: Move, moves: int) -> Iterator[BrokenRule]:
    """The rules that keep a plan's move from being made now, where that takes so many `moves` of its namespace. Budgets
    of one change are not among them: they are what a plan's waves keep."""
    key, namespace = move.key, state.namespaces[move.namespace]
    policy, recent = namespace.policy, state.recent
    if policy.approval_required:
        yield BrokenRule(
            PolicyRule.APPROVAL_REQUIRED,
            key.namespace,
            None,
            "not planned yet",
            "approved by another actor than its submitter",
            "Plan, and have the plan approved.",
        )
    if is_limited(move.reason, policy):
        yield from _frozen(state, namespace)
        yield from _over_window(moves, recent.namespaces.get(key.namespace, 0), namespace)
        if move.changes_owner:
            yield from _thrash(key, policy, recent.shards.get(key, 0))


def _misplaced(writes: Sequence[ShardWrite], moves: Sequence[ShardWrite], state: ReadState) -> Iterator[BrokenRule]:
    """Moves that pins forbid, and owners that an anti-affinity group has already."""
    if any(write.previous is not None and write.previous.pinned is not None for write in moves):
        yield from broken_pins(moves, state)
    if state.inputs is not None and state.inputs.groups:
        yield from broken_groups(writes, state.inputs.groups)


def _limits(state: ReadState, namespace: Namespace, moved: int) -> Iterator[BrokenRule]:
    """`moved` are moves that the namespace limits, of a change that it limits."""
    yield from _frozen(state, namespace)
    if moved > 1:  # one move is within every budget
        yield from _over_budget(moved, namespace)
    yield from _over_window(moved, state.recent.namespaces.get(namespace.name, 0), namespace)


def _ticket(ticket: str | None, namespace: Namespace) -> Iterator[BrokenRule]:
    policy = namespace.policy
    form = "a ticket" if policy.ticket_pattern is None else f"a ticket that matches {policy.ticket_pattern}"
    if ticket is None:
        if policy.ticket_required:
            remedy = "Name the ticket that the change is made under."
            yield BrokenRule(PolicyRule.TICKET_REQUIRED, namespace.name, None, "no ticket", form, remedy)
    elif policy.ticket_pattern is not None and not matches(policy.ticket_pattern, ticket):
        remedy = "Name a ticket of that form."
        yield BrokenRule(PolicyRule.TICKET_PATTERN, namespace.name, None, f"ticket {quoted(ticket)}", form, remedy)


def _frozen(state: ReadState, namespace: Namespace) -> Iterator[BrokenRule]:
    """By the time the change would be committed at, which history shows, and by the clock, which may be behind it after
    having been set back: a freeze does not end while it lasts."""
    seen: set[FreezeWindow] = set()
    for now in dict.fromkeys(time for time in (state.now, state.clock) if time is not None):
        for freeze in freezes_at(namespace.policy, now):
            if freeze in seen:
                continue
            seen.add(freeze)
            yield BrokenRule(
                PolicyRule.FREEZE,
                namespace.name,
                None,
                f"a change at {_time(now)}",
                f"changes before {_time(freeze.begins)} or from {_time(freeze.ends)} on ({freeze.reason})",
                f"Wait until {_time(_thawed(freeze, namespace.policy))}, {_OR_FORCE}",
            )


def _over_budget(moved: int, namespace: Namespace) -> Iterator[BrokenRule]:
    count, percent = namespace.shard_count, namespace.policy.move_budget_percent
    budget = move_budget(count, namespace.policy)
    if moved > budget:
        share = f", {100 * moved / count:.3g} %" if count else ""
        yield BrokenRule(
            PolicyRule.MOVE_BUDGET,
            namespace.name,
            None,
            f"{moved:,} of {count:,} shards{share}",
            f"{budget:,}, {percent:g} %",
            f"Plan it and apply it in waves, {_OR_FORCE}",
        )


def _over_window(moved: int, before: int, namespace: Namespace) -> Iterator[BrokenRule]:
    most, seconds = namespace.policy.window_moves, namespace.policy.window_seconds
    if moved and most is not None and before + moved > most:
        before, at_least = _counted(before, most)
        yield BrokenRule(
            PolicyRule.WINDOW_BUDGET,
            namespace.name,
            None,
            f"{at_least}{_moves(before + moved)} in {seconds:,} seconds, {at_least}{before:,} of them made already",
            f"{_moves(most)} in {seconds:,} seconds",
            f"Move at most {max(0, most - before):,} now and the rest as earlier moves leave the window, {_OR_FORCE}",
        )


def _thrashing(state: ReadState, moves: Sequence[ShardWrite]) -> Iterator[BrokenRule]:
    for write in moves:
        policy = state.namespaces[write.key.namespace].policy
        yield from _thrash(write.key, policy, state.recent.shards.get(write.key, 0))


def _thrash(key: ShardKey, policy: NamespacePolicy, before: int) -> Iterator[BrokenRule]:
    most, seconds = policy.shard_window_moves, policy.window_seconds
    if most is not None and before + 1 > most:
        before, at_least = _counted(before, most)
        yield BrokenRule(
            PolicyRule.SHARD_THRASH,
            *key,
            f"{at_least}{_moves(before + 1)} of the shard in {seconds:,} seconds, with this one",
            f"{_moves(most)} of a shard in {seconds:,} seconds",
            f"Leave the shard where it is until earlier moves have left the window, {_OR_FORCE}",
        )


def _counted(before: int, most: int) -> tuple[int, str]:
    """Moves that are more than allowed already are counted no further than to that: how many are stated, and how."""
    return (most + 1, "at least ") if before > most else (before, "")


def _thawed(freeze: FreezeWindow, policy: NamespacePolicy) -> datetime:
    """When changes are allowed again: another freeze may have begun by the time this one ends. No end is looked for
    behind that many, which may have none."""
    ends = freeze.ends
    for _ in range(LISTED):
        others = freezes_at(policy, ends)
        if not others:
            break
        ends = max(other.ends for other in others)
    return ends


def _exactly(percent: float) -> Fraction:
    """As it is written: 0.1 is a tenth, not the binary number next to it."""
    return Fraction(str(percent))


def _moves(count: int) -> str:
    return "1 move" if count == 1 else f"{count:,} moves"


def _time(timestamp: datetime) -> str:
    return timestamp.isoformat(timespec="seconds").replace("+00:00", "Z")


def _unregistered(writes: Sequence[ShardWrite], state: ReadState) -> Iterator[BrokenRule]:
    """Owners and leaders that the change gives to shards of a namespace that requires it, and that are not registered,
    or removed. What is so already is left alone."""
    if not any(namespace.policy.owners_must_be_registered for namespace in state.namespaces.values()):
        return
    nodes = {**state.nodes, **({} if state.inputs is None else state.inputs.nodes)}
    for write in writes:
        if write.kind is DiffKind.DELETED or not state.namespaces[write.key.namespace].policy.owners_must_be_registered:
            continue
        for role, node_id in _given_nodes(write):
            node = nodes.get(node_id)
            if node is None or node.status is NodeStatus.REMOVED:
                yield BrokenRule(
                    PolicyRule.REGISTRATION_REQUIRED,
                    *write.key,
                    f"{node_id} as {role}, which is {'not registered' if node is None else 'removed'}",
                    "registered nodes",
                    "Name one, or register it first.",
                )


def _given_nodes(write: ShardWrite) -> Iterator[tuple[str, str]]:
    """The nodes that the change gives to the shard, each with what it is to it."""
    before, after = write.previous, write.content
    if before is None or before.owner_node_id != after.owner_node_id:
        yield "owner", after.owner_node_id
    if after.leader_id is not None and (before is None or before.leader_id != after.leader_id):
        yield "leader", after.leader_id
