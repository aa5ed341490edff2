"""`omnirelay completion`, and what is completed: namespaces, nodes, shards and plans.

A shell waits for it at each press of a key: what is not there within a second is left out, and nothing is ever printed
but what completes. Parameters are completed by their names, `_COMPLETED`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

import click
from click.shell_completion import CompletionItem, get_completion_class

from graph.cli.options import address_of
from graph.client.http import PAGE, Requests
from graph.client.records import Json

_SECONDS: Final = 1.0

_SHELLS: Final = ("bash", "zsh", "fish")

COMPLETION: Final = "_OMNIRELAY_COMPLETE"
"""The environment variable that a completion script sets."""

Find: TypeAlias = Callable[[Requests, click.Context, str], Iterable[CompletionItem]]
"""What may be meant by the beginning of a word. Raises what it likes."""


@click.command("completion")
@click.argument("shell", metavar="SHELL", type=click.Choice(_SHELLS))
def completion(*, shell: str) -> None:
    """Write the script that has a shell complete commands, options, and names of the mesh.

    For bash: eval "$(omnirelay completion bash)", in ~/.bashrc; for zsh the same in ~/.zshrc; for fish
    omnirelay completion fish > ~/.config/fish/completions/omnirelay.fish.
    """
    of_shell = get_completion_class(shell)
    root = click.get_current_context().find_root()
    if of_shell is not None:
        click.echo(of_shell(root.command, {}, "omnirelay", COMPLETION).source(), nl=False)


class _Name(click.types.StringParamType):
    """Text that is completed by a request to the server that the command is for."""

    def __init__(self, find: Find) -> None:
        self._find = find

    def shell_complete(self, ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        with suppress(Exception), Requests(address_of(ctx), _SECONDS) as server:
            return [item for item in self._find(server, ctx, incomplete) if item.value.startswith(incomplete)]
        return []


def _namespaces(server: Requests, ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    """Where a command is about one shard, NAMESPACE/SHARD too."""
    namespace, slash, shard = incomplete.partition("/")
    if slash and any(parameter.name == "shard" for parameter in ctx.command.params):
        return [CompletionItem(f"{namespace}/{item}") for item in _shard_ids(server, namespace, shard)]
    return [CompletionItem(found["name"]) for found in _nodes_of(server, "NamespaceNames", {})]


def _shards(server: Requests, ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    return map(CompletionItem, _shard_ids(server, str(ctx.params["namespace"]), incomplete))


def _shard_ids(server: Requests, namespace: str, incomplete: str) -> list[str]:
    where = {"namespace": namespace, "search": incomplete or None}
    return [found["shardId"] for found in _nodes_of(server, "ShardIds", {"filter": where})]


def _mesh_nodes(server: Requests, _ctx: click.Context, _incomplete: str) -> Iterable[CompletionItem]:
    return [CompletionItem(found["nodeId"], help=found["status"]) for found in _nodes_of(server, "NodeIds", {})]


def _plans(server: Requests, _ctx: click.Context, _incomplete: str) -> Iterable[CompletionItem]:
    return [
        CompletionItem(found["id"], help=f"{found['status']}, {found['moveCount']:,} moves")
        for found in _nodes_of(server, "PlanIds", {})
    ]


def _nodes_of(server: Requests, operation: str, variables: Json) -> Sequence[Json]:
    """The first page."""
    (page,) = server.execute(operation, {**variables, "first": PAGE}).values()
    return list(page["nodes"])


_NAMESPACE: Final = _Name(_namespaces)

_NODE: Final = _Name(_mesh_nodes)

_PLAN: Final = _Name(_plans)

_COMPLETED: Final[Mapping[str, click.types.StringParamType]] = {
    "namespace": _NAMESPACE,
    "namespaces": _NAMESPACE,
    "shard": _Name(_shards),
    "node": _NODE,
    "nodes": _NODE,
    "owner": _NODE,
    "leader": _NODE,
    "without": _NODE,
    "plan": _PLAN,
    "plan_id": _PLAN,
}


def have_completed(command: click.Command) -> click.Command:
    """The command, of which each parameter that is plain text, and has one of these names, is completed."""
    if any(parameter.name == "server" for parameter in command.params):
        for parameter in command.params:
            if parameter.type is click.STRING and parameter.name in _COMPLETED:
                parameter.type = _COMPLETED[parameter.name]
    return command
