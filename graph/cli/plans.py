"""A proposal as tables: its moves, what they do to namespaces and nodes, and what they leave undone."""

from collections.abc import Sequence
from typing import Final

import click

from graph.cli.exits import Exit, Failure
from graph.cli.plans.loads import print_loads
from graph.cli.plans.moves import print_moves, reasons
from graph.cli.plans.rollbacks import print_conflicts, rollback_summary
from graph.cli.plans.violations import print_violations
from graph.cli.tables import print_table
from graph.cli.text import counted, shown_percent
from persistence.planning.proposal import PlannedNamespace, Proposal, read_proposal

_NAMESPACES: Final = ("NAMESPACE", "STRATEGY", "SHARDS", "MOVED", "MOVED %")


def proposal_of(document: str) -> Proposal:
    """From a document the server sent. Raises Failure if it is none that this program knows."""
    try:
        return read_proposal(document)
    except (ValueError, KeyError, TypeError) as error:
        message = f"The server's plan cannot be read ({type(error).__name__}: {error})."
        advice = "This program and the server are of different versions: update the older one."
        raise Failure(Exit.INTERNAL, message, [advice]) from error


def print_proposal(proposal: Proposal, *, everything: bool) -> None:
    """Tables with a blank line after each; nothing where there is nothing to say."""
    if proposal.moves:
        print_moves(proposal.moves, everything=everything)
        click.echo()
    if len(proposal.namespaces) > 1:
        print_table(_NAMESPACES, [_cells(namespace) for namespace in proposal.namespaces])
        click.echo()
    if proposal.moves:
        print_loads(proposal.loads, everything=everything)
        click.echo()
    if proposal.violations:
        print_violations(proposal.violations, everything=everything)
        click.echo()
    if proposal.rollback is not None and proposal.rollback.conflicts:
        print_conflicts(proposal.rollback.conflicts, proposal.rollback.omitted_conflicts, everything=everything)
        click.echo()


def summary(proposal: Proposal, move: str) -> str:
    """In a sentence or two. `move`: the verb, "move" or "would move"."""
    if proposal.rollback is not None:
        return rollback_summary(proposal, proposal.rollback)
    if not proposal.moves:
        return _nothing(proposal)
    moved, percent = len(proposal.moves), shown_percent(proposal.moved_percent)
    return (
        f"{moved:,} of {counted(proposal.shard_count, 'shard')} {move} ({percent}): "
        f"{reasons(proposal.moves)}.{_rest(proposal)}"
    )


def _nothing(proposal: Proposal) -> str:
    if not proposal.namespaces:
        return "Nothing to move: there is no namespace."
    if proposal.violations:
        return "Nothing to move, beside what the problems above keep where it is."
    return f"Nothing to move: {counted(proposal.shard_count, 'shard')}, each where it belongs or has to stay."


def _rest(proposal: Proposal) -> str:
    if not proposal.remaining_moves:
        return ""
    return f" {counted(proposal.remaining_moves, 'more move')} did not fit: plan again once these are made."


def _cells(namespace: PlannedNamespace) -> Sequence[object]:
    share = 100 * namespace.moved / namespace.shard_count if namespace.shard_count else 0.0
    return namespace.name, namespace.strategy, namespace.shard_count, namespace.moved, shown_percent(share)
