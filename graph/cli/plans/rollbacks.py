"""What a rollback leaves as it is, and what it gives back, in tables and in a sentence."""

from collections.abc import Sequence
from typing import Final

from graph.cli.plans.rows import first, print_rest
from graph.cli.tables import print_table
from graph.cli.text import counted
from persistence.planning.proposal import Conflict, Proposal, Rollback

_COLUMNS: Final = ("LEFT AS IT IS", "BECAUSE", "CHANGE", "WHY")


def print_conflicts(conflicts: Sequence[Conflict], omitted: int, *, everything: bool) -> None:
    shown = first(conflicts, everything=everything)
    print_table(
        _COLUMNS, [(f"{one.namespace}/{one.shard_id}", one.reason, one.change_id, one.message) for one in shown]
    )
    print_rest(len(conflicts) - len(shown) + omitted)


def rollback_summary(proposal: Proposal, rollback: Rollback) -> str:
    """`3 shards are given back what they had. 1 is left as it is, 2 are as before already.`"""
    count = len(proposal.moves)
    given = f"{counted(count, 'shard')} {_are(count)} given back what they had." if count else "Nothing to give back."
    left = len(rollback.conflicts) + rollback.omitted_conflicts
    rest = [f"{left:,} {_are(left)} left as {'it is' if left == 1 else 'they are'}"] if left else []
    rest += [f"{rollback.unchanged:,} {_are(rollback.unchanged)} as before already"] if rollback.unchanged else []
    more = proposal.remaining_moves
    rest += [f"{more:,} did not fit: roll back again once these are made"] if more else []
    return " ".join([given, *([f"{', '.join(rest)}."] if rest else [])])


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
