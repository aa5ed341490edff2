"""`omnirelay mesh nodes cordon`, `uncordon` and `undrain`: whether nodes take shards, without moving any."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Unpack

import click

from graph.cli.errors import ApiClient, Exit, Failure
from graph.cli.nodes.selection import Selection, node_selection, selected_nodes
from graph.cli.nodes.shared import changed_node
from graph.cli.options import change_input, change_options, server_options
from graph.cli.output import pluralized, print_json, print_status, printable
from graph.cli.suggestions import suggest_next
from graph.client.address import Address
from graph.client.records import Json
from persistence.model.records import NodeStatus

_OF_ONE: Final = (Exit.REFUSED, Exit.INVALID, Exit.NOT_FOUND)
"""What is wrong with one node: the others are changed all the same."""


@dataclass(frozen=True, slots=True)
class _Step:
    """From a status to another. `verbs` lead to `after` from elsewhere, by the status they are for."""

    before: NodeStatus
    after: NodeStatus
    verbs: Mapping[NodeStatus, str]


_CORDON: Final = _Step(NodeStatus.ACTIVE, NodeStatus.CORDONED, {})

_UNCORDON: Final = _Step(NodeStatus.CORDONED, NodeStatus.ACTIVE, {NodeStatus.DRAINING: "undrain"})

_UNDRAIN: Final = _Step(NodeStatus.DRAINING, NodeStatus.ACTIVE, {NodeStatus.CORDONED: "uncordon"})


@click.command("cordon")
@node_selection
@change_options
@server_options
def cordon_nodes(
    *,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
    **selection: Unpack[Selection],
) -> None:
    """Have nodes keep what they own, and take no more. ACTIVE nodes become CORDONED, a change each.

    Those that are CORDONED already stay as they are. One that is refused does not keep the others from being changed.

    With --json JSON Lines: a node each, with node and change, which is null where nothing was to be done; of one that
    is refused also with refusal.
    """
    _change(_CORDON, selection, change_input(reason, ticket, actor), server, as_json=as_json)


@click.command("uncordon")
@node_selection
@change_options
@server_options
def uncordon_nodes(
    *,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
    **selection: Unpack[Selection],
) -> None:
    """Have CORDONED nodes take shards again. No shard moves before a plan is applied.

    Those that are ACTIVE stay as they are. One that is refused does not keep the others from being changed.

    With --json JSON Lines: a node each, with node and change, which is null where nothing was to be done; of one that
    is refused also with refusal.
    """
    _change(_UNCORDON, selection, change_input(reason, ticket, actor), server, as_json=as_json)


@click.command("undrain")
@node_selection
@change_options
@server_options
def undrain_nodes(
    *,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
    **selection: Unpack[Selection],
) -> None:
    """Take DRAINING nodes into use again. What was moved away stays where it is until a plan moves it back.

    A plan that was vacating them does not fit any more then. Those that are ACTIVE stay as they are. One that is
    refused does not keep the others from being changed.

    With --json JSON Lines: a node each, with node and change, which is null where nothing was to be done; of one that
    is refused also with refusal.
    """
    _change(_UNDRAIN, selection, change_input(reason, ticket, actor), server, as_json=as_json)


def _change(step: _Step, selection: Selection, change: Json, server: Address, *, as_json: bool) -> None:
    """Raises Failure with the exit code of the first node that was refused."""
    failed: list[Failure] = []
    with ApiClient(server) as api:
        for node in selected_nodes(api, selection):
            try:
                _report(_changed(api, step, node, change), as_json=as_json)
            except Failure as failure:
                if failure.exit not in _OF_ONE:
                    raise
                print_status("\n".join(map(printable, (failure.message, *failure.advice))))
                if as_json:
                    print_json({"node": node, "change": None, "refusal": failure.as_json()})
                failed.append(failure)
    if failed:
        message = f"{pluralized(len(failed), 'node')} stayed as before: see above."
        raise Failure(failed[0].exit, message, is_written=True)


def _changed(api: ApiClient, step: _Step, node: Json, change: Json) -> Json:
    """Node and change; the latter null where nothing was to be done."""
    node_id, status = node["nodeId"], NodeStatus(node["status"])
    if status is step.after:
        return {"node": node, "change": None}
    if status is not step.before:
        raise _not_from_here(step, node_id, status)
    given = {"nodeId": node_id, "expectedVersion": node["version"], "status": str(step.after), "change": change}
    answer = api.change("UpdateNode", given)
    # The retry reads the version anew: none is typed that could be.
    done = changed_node(answer)
    return {"node": done["node"], "change": done["change"]}


def _not_from_here(step: _Step, node_id: str, status: NodeStatus) -> Failure:
    message = f"{printable(node_id)} is {status}, not {step.before}: it stays as it is."
    if status is NodeStatus.REMOVED:
        command = suggest_next("omnirelay mesh nodes register", arguments=[node_id])
        return Failure(Exit.REFUSED, message, ["To take it into the mesh again:", f"  {command}"])
    verb = step.verbs.get(status)
    if verb is None:
        return Failure(Exit.REFUSED, message)
    command = suggest_next(f"omnirelay mesh nodes {verb}", arguments=[node_id])
    return Failure(Exit.REFUSED, message, ["To take it into use again:", f"  {command}"])


def _report(done: Json, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    node, change = done["node"], done["change"]
    made = "already" if change is None else f"now, change {change['id']}"
    click.echo(f"{printable(node['nodeId'])} is {node['status']} {made}: {_held(node)}.")


def _held(node: Json) -> str:
    held = f"it owns {pluralized(node['shardCount'], 'shard')}"
    return f"{held} and leads {node['leaderCount']:,}" if node["leaderCount"] else held
