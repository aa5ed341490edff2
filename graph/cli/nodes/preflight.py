"""What draining a node would do: its shards by where they would go, and those that would have to stay."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import click

from graph.cli.api import Api
from graph.cli.nodes.reading import no_such_node
from graph.cli.output import Json
from graph.cli.plans.moves import move_document, print_moves, read_move
from graph.cli.plans.proposal import proposal_of
from graph.cli.plans.rows import LISTED
from graph.cli.plans.violations import print_violations, read_violation
from graph.cli.tables import print_table
from graph.cli.text import counted
from persistence.planning.proposal import Move
from persistence.records import NodeStatus

_SUMMARY: Final = ("TO", "NAMESPACE", "SHARDS")


@dataclass(frozen=True, slots=True)
class Preflight:
    """`answer` as the API has it, a page of moves in it; `moves` are all that fit into one plan, if known."""

    answer: Json
    moves: Sequence[Move]

    @property
    def blockers(self) -> Sequence[Json]:
        return list(self.answer["blockers"])

    @property
    def document(self) -> Json:
        return {**self.answer, "moves": [move_document(move) for move in self.moves]}


def ask_preflight(api: Api, node_id: str) -> Preflight:
    """Raises Failure for an unknown node."""
    answer = api.ask("DrainPreflight", {"nodeId": node_id})["drainPreflight"]
    if answer is None:
        raise no_such_node(node_id)
    return complete_preflight(api, answer)


def first_page(answer: Json) -> Preflight:
    """With the moves that came with it."""
    return Preflight(answer, [read_move(move) for move in answer["moves"]["nodes"]])


def complete_preflight(api: Api, answer: Json) -> Preflight:
    """With the moves beyond its page. They are those of the plan that would be made if the node were DRAINING."""
    if not answer["moves"]["pageInfo"]["hasNextPage"]:
        return first_page(answer)
    node_id = answer["nodeId"]
    given = {"nodes": [{"nodeId": node_id, "status": str(NodeStatus.DRAINING)}]}
    proposal = proposal_of(api.ask("SimulateRebalance", {"input": given})["simulateRebalance"]["document"])
    return Preflight(answer, [move for move in proposal.moves if move.from_node_id == node_id])


def print_preflight(preflight: Preflight, *, everything: bool) -> None:
    """Every move if they are few, or if everything is asked for; else how many go where."""
    moves = preflight.moves
    if moves and (everything or len(moves) <= LISTED):
        print_moves(moves, everything=True)
        click.echo()
    elif moves:
        counts = Counter((move.to_node_id, move.namespace) for move in moves)
        print_table(_SUMMARY, [(*place, count) for place, count in sorted(counts.items())])
        click.echo()
    if preflight.blockers:
        print_violations([read_violation(one) for one in preflight.blockers], everything=everything)
        click.echo()
    click.echo(_sentence(preflight.answer))


def _sentence(answer: Json) -> str:
    count, rest, blockers = answer["moveCount"], answer["remainingMoves"], len(answer["blockers"])
    owned = f"{answer['nodeId']} owns {counted(answer['shardCount'], 'shard')}"
    if not answer["shardCount"]:
        return f"{owned}."
    later = f", {rest:,} of them by a later plan" if rest else ""
    blocked = f"; {counted(blockers, 'problem')} in the way" if blockers else ""
    return f"{owned}: {count + rest:,} to be moved away{later}{blocked}."
