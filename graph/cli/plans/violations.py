"""What a plan cannot put right."""

from collections.abc import Sequence
from typing import Final

from graph.cli.output import Json
from graph.cli.plans.rows import first, print_rest
from graph.cli.tables import print_table
from persistence.planning.proposal import Violation

_COLUMNS: Final = ("PROBLEM", "OF", "NODE", "WHY")


def print_violations(violations: Sequence[Violation], *, everything: bool) -> None:
    shown = first(violations, everything=everything)
    print_table(_COLUMNS, [(one.code, place(one), one.node_id, one.message) for one in shown])
    print_rest(len(violations) - len(shown))


def place(violation: Violation) -> str:
    """The shard, or the namespace where it is about all of it."""
    namespace, shard_id = violation.namespace, violation.shard_id
    return namespace if shard_id is None else f"{namespace}/{shard_id}"


def read_violation(violation: Json) -> Violation:
    """A violation of the API."""
    return Violation(
        violation["code"],
        violation["namespace"],
        violation["shardId"],
        violation["nodeId"],
        violation["message"],
    )
