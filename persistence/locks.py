"""What a command must hold still while it is decided, in the order in which it is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from persistence.records import ShardKey


@dataclass(frozen=True, slots=True)
class Locks:
    """Plan, older plans (newest first), namespaces by name, nodes by id, shards by key; then comes the stream head.

    `plan` is locked for writing, and so are, with `older_than` (the id of a change), the open rebalance plans that were
    proposed before that change and cover one of the namespaces. Namespaces and nodes are, where `configure` says so,
    and held against being changed otherwise. Names that are not there lock nothing. `moves`: the shards may be given
    other owners, so that what counts such moves must be held still as well.
    """

    plan: str | None = None
    older_than: int | None = None
    namespaces: Sequence[str] = ()
    nodes: Sequence[str] = ()
    shards: Sequence[ShardKey] = ()
    configure: bool = False
    moves: bool = False
