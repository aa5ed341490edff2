"""What a command fails with when the store refuses a change: one way for every member of a mutation's result."""

from collections.abc import Sequence
from typing import Final

from graph.cli.exits import Exit, Failure
from graph.cli.output import Json

_COMMITTED: Final = ("ShardsChanged", "NamespaceConfigured")
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
    conflicts = [
        f"  {conflict['namespace']}/{conflict['shardId']} is at version {conflict['actualVersion']}, "
        f"not {conflict['expectedVersion']}"
        for conflict in answer.get("conflicts", ())
    ]
    return conflicts + [f"  {error['field']} {error['message']}" for error in answer.get("errors", ())]
