"""What is read for a decision: the state of a command's read set and, where that makes it necessary, further inputs.

The commit re-checks all of it, so nothing is locked.
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

    `older_than` (the id of a change): also the open rebalance plans that were proposed before that change and cover one
    of the namespaces. `configure`: nodes with the shards they own counted. `moves`: the shards may be given other
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
    """The database's clock, nodes, and anti-affinity groups, where a decision depends on them: most depend on none.

    Known once the state is. The commit re-checks that the nodes and the members of the groups are as they were read.
    """

    clock: bool = False
    node_ids: Sequence[str] = ()
    groups: Sequence[GroupKey] = ()


@dataclass(frozen=True, slots=True)
class DecisionInputs:
    """`clock` is null where it was not required: a decision has one, which is read with the state where a policy
    depends on it. `groups` are the shards of each, by id, with their owners. Nodes and groups are of the snapshot that
    the state is of.
    """

    clock: datetime | None = None
    nodes: Mapping[str, Node] = field(default_factory=dict)
    groups: Mapping[GroupKey, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecentMoves:
    """How often shards changed owner in the windows that end at `now`: of namespaces whose policy bounds that, and of
    the shards that were read of those whose policy bounds it for each shard; involuntary moves only where the policy
    limits those. `revision` is the newest that was counted.
    More than the policy allows may be counted up to one more than that only.
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

    `older` are the plans of `ReadSet.older_than`. Plans have the status they had at that time. `nodes` has
    removed ones too. Where they are not read to be configured, their shards are not counted, and both counts are 0.
    `now` is the time of a change that is committed now, no earlier than any change before, and `clock` the database's,
    behind `now` for a while after having been set back: read where a policy depends on the time, and then `recent` are
    the moves that it bounds. `inputs` are null until they have been read because a decision requires them. `locked` are
    shards that sessions other than those that commit may have locked, as far as that was looked at. `nodes_read` are
    ids that were looked up beside those of the read set, for `nodes`.
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
    inputs: DecisionInputs | None = None
    locked: frozenset[ShardKey] = frozenset()
    nodes_read: frozenset[str] = frozenset()

    @property
    def time(self) -> datetime | None:
        """The database's clock, read once for the decision: with the state, or with the inputs."""
        return self.inputs.clock if self.clock is None and self.inputs is not None else self.clock
