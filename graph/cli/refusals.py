"""What a command fails with when the store refuses a change: one way for every member of a mutation's result."""

from collections.abc import Sequence
from typing import Final

from graph.cli.changes import made_by
from graph.cli.exits import Exit, Failure
from graph.cli.output import Json

_COMMITTED: Final = (
    *("ShardsChanged", "NamespaceConfigured"),
    *("NodeChanged", "NodeDrained", "PlanProposed", "PlanApplied"),
)
_EXITS: Final = {"NotFound": Exit.NOT_FOUND, "InvalidInput": Exit.INVALID}
_LISTED: Final = 20


def committed(answer: Json, advice: Sequence[str] = ()) -> Json:
    """The answer, if the change was made. Raises Failure, which ends with `advice`, if it was refused."""
    if answer["__typename"] not in _COMMITTED:
        raise refused(answer, advice)
    return answer


def refused(answer: Json, advice: Sequence[str] = ()) -> Failure:
    """A refusal as a failure: the store's sentence, everything that is in the way if there is more, and `advice`."""
    details = _details(answer)
    rest = len(details) - _LISTED
    more = [f"  and {rest:,} more"] if rest > 0 else []
    return Failure(
        _EXITS.get(answer["__typename"], Exit.REFUSED),
        f"Refused: {answer['message']}.",
        [*(details[:_LISTED] if len(details) > 1 else ()), *more, *advice],
    )


def _details(answer: Json) -> list[str]:
    """A line for everything that is wrong, and who is behind it, where the answer knows."""
    details = [_stale(conflict) for conflict in answer.get("conflicts", ())]
    if answer["__typename"] == "StalePlan":
        details += [f"namespace {name} was reconfigured" for name in answer["namespaces"]]
        details += [f"node {node_id} is not ACTIVE any more" for node_id in answer["nodeIds"]]
    details += [f"{error['field']} {error['message']}" for error in answer.get("errors", ())]
    violations = answer.get("violations") or answer.get("preflight", {}).get("blockers", ())
    details += [_violation(violation) for violation in violations]
    return [f"  {detail}" for detail in details]


def _stale(conflict: Json) -> str:
    name = f"{conflict['namespace']}/{conflict['shardId']}"
    change = conflict.get("lastChange")
    by = f": by {made_by(change)}" if change else ""
    if conflict["actualVersion"] == "0":
        return f"{name} is gone{by}"
    return f"{name} is at version {conflict['actualVersion']}, not {conflict['expectedVersion']}{by}"


def _violation(violation: Json) -> str:
    """One about a shard names it in its sentence, one about a namespace does not. A broken rule is in parts."""
    if "rule" in violation:
        name = "/".join(filter(None, (violation["namespace"], violation["shardId"])))
        return f"{name}: {violation['actual']}, where {violation['allowed']} is allowed. {violation['remedy']}"
    about = "" if violation["shardId"] else f"{violation['namespace']}: "
    return f"{about}{violation['message']}"
