"""Changing a node: what is done with every answer."""

from collections.abc import Sequence

from graph.cli.again import command_again
from graph.cli.exits import Failure
from graph.cli.nodes.facts import node_facts
from graph.cli.output import Json, print_json
from graph.cli.refusals import committed, refused
from graph.cli.tables import fact_lines, print_facts


def changed_node(answer: Json, advice: Sequence[str] = ()) -> Json:
    """The answer, if the change was made. Raises Failure; a conflict shows the node as it is, and how to go on."""
    if answer["__typename"] == "NodeVersionConflict" and answer["current"] is not None:
        raise _conflict(answer)
    return committed(answer, advice)


def now_is(node: Json, change: Json | None) -> list[str]:
    """Advice that begins with the node as it is."""
    return ["It is now:", *(f"  {line}" for line in fact_lines(node_facts(node, change)))]


def print_node(done: Json, *, as_json: bool) -> None:
    if as_json:
        print_json({"node": done["node"], "change": done["change"]})
    else:
        print_facts(node_facts(done["node"], done["change"]))


def _conflict(answer: Json) -> Failure:
    now = answer["current"]
    again = command_again(expected_version=now["version"])
    advice = [*now_is(now, answer["lastChange"]), "If your change still is the right one:", f"  {again}"]
    return refused(answer, advice)
