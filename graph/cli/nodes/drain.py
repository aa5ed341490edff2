"""`omnirelay mesh nodes drain`, with what it does: shards by where they would go, and those that would have to stay."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import click

from graph.cli.errors import ApiClient, Exit, Failure
from graph.cli.lookups import unknown_node
from graph.cli.nodes.shared import changed_node, node_fields, version_of, version_option
from graph.cli.options import change_input, change_options, server_options
from graph.cli.output import NOTHING, pluralized, print_fields, print_json, print_status, print_table, printable
from graph.cli.plans import all_option
from graph.cli.progress import waiting
from graph.cli.proposals import (
    LISTED,
    move_document,
    print_moves,
    print_violations,
    proposal_of,
    read_move,
    read_violation,
)
from graph.cli.suggestions import suggest_next, suggest_retry
from graph.client.address import Address
from graph.client.records import Json
from persistence.model.records import NodeStatus
from persistence.planning.proposal import Move

_SUMMARY: Final = ("TO", "NAMESPACE", "SHARDS")


@click.command("drain")
@click.argument("node")
@version_option
@click.option("--dry-run", is_flag=True, help="Say what would move and what would not; write nothing.")
@click.option("--accept-blockers", is_flag=True, help="Drain it although some of its shards have to stay.")
@all_option
@change_options
@server_options
def drain_node(
    *,
    node: str,
    expected_version: int | None,
    dry_run: bool,
    accept_blockers: bool,
    everything: bool,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
) -> Exit:
    """Take a node out of use, so that the next plan moves its shards away. Shows what that plan would move where.

    Refused where shards have to stay, because they are pinned or fit nowhere else, unless that is accepted. With
    --dry-run the exit code is 1 then.

    With --json one document: preflight, node and change. The last two are null for a dry run.
    """
    with ApiClient(server) as api:
        if dry_run:
            with waiting("Looking at what would move"):
                preflight = _request_preflight(api, node)
            _report(preflight, None, everything=everything, as_json=as_json)
            return Exit.NO if preflight.blockers else Exit.OK
        given = {
            "nodeId": node,
            "expectedVersion": version_of(api, node, expected_version),
            "acceptBlockers": accept_blockers,
            "change": change_input(reason, ticket, actor),
        }
        with waiting("Draining"):
            answer = api.change("DrainNode", given)
            done = changed_node(answer, _how_to_insist(answer))
            preflight, unread = _read_as_far_as_possible(api, done["preflight"])
    _report(preflight, done, everything=everything, as_json=as_json)
    if unread is not None:
        print_status(
            f"{printable(node)} is DRAINING. Not all of what would move could be read: {printable(unread.message)}"
        )
    return Exit.OK


@dataclass(frozen=True, slots=True)
class Preflight:
    """`answer` as the API has it, with its first page of moves; `moves` are all that fit into one plan, if known."""

    answer: Json
    moves: Sequence[Move]

    @property
    def blockers(self) -> Sequence[Json]:
        return list(self.answer["blockers"])

    @property
    def document(self) -> Json:
        return {**self.answer, "moves": [move_document(move) for move in self.moves]}


def _request_preflight(api: ApiClient, node_id: str) -> Preflight:
    """Raises Failure for an unknown node."""
    answer = api.execute("DrainPreflight", {"nodeId": node_id})["drainPreflight"]
    if answer is None:
        raise unknown_node(api, node_id)
    return _complete(api, answer)


def _read_as_far_as_possible(api: ApiClient, answer: Json) -> tuple[Preflight, Failure | None]:
    """With why the rest could not be read: the node is being drained all the same."""
    try:
        return _complete(api, answer), None
    except Failure as failure:
        return _first_page(answer), failure


def _first_page(answer: Json) -> Preflight:
    return Preflight(answer, [read_move(move) for move in answer["moves"]["nodes"]])


def _complete(api: ApiClient, answer: Json) -> Preflight:
    """With the moves beyond the first page, of the plan narrowed to vacating the node, as if it were DRAINING.

    The server would compute the plan once for each further page of a pre-flight; a simulation has them all at once.
    """
    if not answer["moves"]["pageInfo"]["hasNextPage"]:
        return _first_page(answer)
    node_id = answer["nodeId"]
    supposed = {"nodes": [{"nodeId": node_id, "status": str(NodeStatus.DRAINING)}], "vacate": [node_id]}
    simulated = api.execute("SimulateRebalance", {"input": supposed, "details": False})["simulateRebalance"]
    return Preflight(answer, proposal_of(simulated["document"]).moves)


def _how_to_insist(answer: Json) -> list[str]:
    if answer["__typename"] != "DrainBlocked":
        return []
    return [
        "To drain it all the same, and leave those shards where they are:",
        f"  {suggest_retry(accept_blockers=True)}",
    ]


def _report(preflight: Preflight, done: Json | None, *, everything: bool, as_json: bool) -> None:
    """`done` is null for a dry run."""
    if as_json:
        node, change = (None, None) if done is None else (done["node"], done["change"])
        print_json({"preflight": preflight.document, "node": node, "change": change})
        return
    _print_preflight(preflight, everything=everything)
    if done is None:
        return
    click.echo()
    print_fields(node_fields(done["node"], done["change"]))
    if preflight.moves:
        print_status("Nothing has moved yet. To have its shards moved away, and then apply the plan:")
        vacate = ("--vacate", done["node"]["nodeId"])
        print_status(f"  {suggest_next('omnirelay mesh rebalance plan', *vacate)}")


def _print_preflight(preflight: Preflight, *, everything: bool) -> None:
    """Every move if they are few, or with --all; else how many go where."""
    moves = preflight.moves
    if moves and (everything or len(moves) <= LISTED):
        print_moves(moves, everything=True)
        click.echo()
    elif moves:
        shards = Counter((move.to_node_id, move.namespace) for move in moves if move.changes_owner)
        leads = Counter((_led_by(move), move.namespace) for move in moves if move.leader is not None)
        rows = [(*place, shards[place], leads[place]) for place in sorted(shards.keys() | leads.keys())]
        print_table((*_SUMMARY, "LEADS"), rows) if leads else print_table(_SUMMARY, [row[:-1] for row in rows])
        click.echo()
    if preflight.blockers:
        print_violations([read_violation(one) for one in preflight.blockers], everything=everything)
        click.echo()
    click.echo(_summary(preflight.answer))


def _led_by(move: Move) -> str:
    return NOTHING if move.leader is None or move.leader.to_node_id is None else move.leader.to_node_id


def _summary(answer: Json) -> str:
    count, rest, blockers = answer["moveCount"], answer["remainingMoves"], len(answer["blockers"])
    owned = f"{answer['nodeId']} owns {pluralized(answer['shardCount'], 'shard')}"
    if answer["leaderCount"]:
        owned = f"{owned} and leads {answer['leaderCount']:,}"
    if not answer["shardCount"] and not answer["leaderCount"]:
        return f"{owned}."
    later = f", {rest:,} of them by a later plan" if rest else ""
    blocked = f"; {pluralized(blockers, 'problem')} in the way" if blockers else ""
    return f"{owned}: {count + rest:,} to be moved away{later}{blocked}."
