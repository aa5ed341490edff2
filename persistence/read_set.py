"""What a command reads before it is decided, and what must still be so when its change is committed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from persistence.records import ShardKey


@dataclass(frozen=True, slots=True)
class ReadSet:
    """Read in one snapshot, without a lock. A commit re-checks the version of each of these, or its absence.

    `older_than` (the id of a change) asks for the open rebalance plans that were proposed before that change and cover
    one of the namespaces. `configure`: nodes with the shards they own counted. `moves`: the shards may be given other
    owners, so that recent moves are counted where a policy bounds them.
    """

    plan: str | None = None
    older_than: int | None = None
    namespaces: Sequence[str] = ()
    nodes: Sequence[str] = ()
    shards: Sequence[ShardKey] = ()
    configure: bool = False
    moves: bool = False
