"""What a command reads before it is decided, and what must still be so when its change is committed.

What a decision needs to know beside its read set, and what it is told.

InputsRequired for once the state is known, and only what the command turns on: most changes ask for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from persistence.model.plans import RebalancePlan
from persistence.model.records import GroupKey, Namespace, Node, Shard, ShardKey, Tombstone
from persistence.planning.proposal import Proposal


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


@dataclass(frozen=True, slots=True)
class InputsRequired:
    """The database's clock, nodes, and anti-affinity groups. The commit re-checks that the nodes and the members of the
    groups are as they were read."""

    clock: bool = False
    node_ids: Sequence[str] = ()
    groups: Sequence[GroupKey] = ()

    def __bool__(self) -> bool:
        return self.clock or bool(self.node_ids) or bool(self.groups)


@dataclass(frozen=True, slots=True)
class DecisionInputs:
    """`clock` is null where it was not asked for: a decision has one, which is read with the state where a policy
    depends on it. `groups` are the shards of each, by id, with their owners. Nodes and groups are of the snapshot that
    the state is of.
    """

    clock: datetime | None = None
    nodes: Mapping[str, Node] = field(default_factory=dict)
    groups: Mapping[GroupKey, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecentMoves:
    """How often shards changed owner in the windows that end at `now`: of namespaces whose policy bounds that, and of
    the shards that were read of those whose policy bounds it for each shard. `revision` is the newest that was counted.
    """

    namespaces: Mapping[str, int] = field(default_factory=dict)
    shards: Mapping[ShardKey, int] = field(default_factory=dict)
    revision: int = 0


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan with what it proposes."""

    plan: RebalancePlan
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class ReadState:
    """What is there of a read set, as of one snapshot.

    `older` are the plans that `ReadSet.older_than` asks for. Plans have the status they had at that time. `nodes` has
    removed ones too. Where they are not read to be configured, their shards are not counted, and `shard_count` is 0.
    `now` is the time of a change that is committed now, no earlier than any change before, and `clock` the database's,
    behind `now` for a while after having been set back: read where a policy asks for the time, and then `recent` are
    the moves it asks for. `circumstances` are known only where they were asked for.
    """

    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    shards: Mapping[ShardKey, Shard] = field(default_factory=dict)
    tombstones: Mapping[ShardKey, Tombstone] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    plan: StoredPlan | None = None
    older: tuple[RebalancePlan, ...] = ()
    now: datetime | None = None
    clock: datetime | None = None
    recent: RecentMoves = field(default_factory=RecentMoves)
    circumstances: DecisionInputs = field(default_factory=DecisionInputs)

    @property
    def time(self) -> datetime | None:
        """The database's clock, read once for the decision: with the state, or with the circumstances."""
        return self.clock or self.circumstances.clock
