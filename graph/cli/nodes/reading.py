"""One node as it is."""

from graph.cli.api import Api
from graph.cli.errors import LIST_NODES
from graph.cli.exits import Exit, Failure
from graph.cli.output import Json
from graph.cli.text import shown


def read_node(api: Api, node_id: str) -> Json:
    """A removed one too, with that status. Raises Failure if there never was one."""
    found = api.ask("NodeDetails", {"nodeId": node_id})["node"]
    if found is None:
        raise no_such_node(node_id)
    return dict(found)


def version_of(api: Api, node_id: str, expected: int | None) -> str:
    """The version to expect: the one that was given, or the one it is at."""
    return str(read_node(api, node_id)["version"] if expected is None else expected)


def no_such_node(node_id: str) -> Failure:
    return Failure(Exit.NOT_FOUND, f"There is no node {shown(node_id)}.", [LIST_NODES])
