"""Changes as the API shows them; the record is `persistence.records.Change`."""

from datetime import datetime

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.scalars import JSON, Revision
from persistence.records import ChangeKind


@strawberry.type(description="A namespace's or a node's configuration before and after a change.")
class ConfigurationChange:
    namespace: str | None = strawberry.field(description="The namespace; null if it is a node's configuration.")
    node_id: str | None = strawberry.field(description="The node; null if it is a namespace's configuration.")
    previous: JSON | None = strawberry.field(
        description=(
            "Before, with its version: a namespace's strategy, parameters and policy, a node's place, labels, weight "
            "and status. Null if it was new."
        )
    )
    current: JSON = strawberry.field(description="The same after.")


@strawberry.type(description="A plan in a change of it: what made it, decided on it, or applied it.")
class ChangeRebalance:
    plan_id: strawberry.ID = strawberry.field(description="The plan.")
    moved: int = strawberry.field(
        description="How many shards the plan moves, in the change that made it; else how many this change moved."
    )
    shard_count: int = strawberry.field(description="How many shards there were in its namespaces.")
    diff_percent: float = strawberry.field(description="`moved` as a percentage of `shardCount`.")
    supersedes: list[strawberry.ID] = strawberry.field(description="The older plans that gave way to it.")


@strawberry.type(description="What a compaction left of history.")
class ChangeCompaction:
    floor: Revision = strawberry.field(description="The oldest position that could be served since.")
    previous_floor: Revision = strawberry.field(description="The oldest one before.")
    removed_rows: Revision = strawberry.field(description="How many rows of history it took away.")
    kept_rows: Revision = strawberry.field(
        description="How many rows up to the floor it kept: the newest of each shard."
    )
    kept_digest: str = strawberry.field(description="SHA-256 (hex) over the rows it kept.")


@strawberry.type(description="One committed transaction: who changed what, why, and under which ticket.")
class Change:
    id: strawberry.ID = strawberry.field(description="Counts the changes of the store, without gaps, in commit order.")
    kind: ChangeKind = strawberry.field(description="What it was for.")
    actor: str = strawberry.field(description="Who made it.")
    reason: str = strawberry.field(description="Why, in the words of who made it.")
    change_ticket: str | None = strawberry.field(description="The ticket it was made under.")
    forced: str | None = strawberry.field(
        description="Why it was made although rules of a policy may have refused it; null if it was not forced."
    )
    metadata: JSON | None = strawberry.field(description="What the caller attached to it.")
    namespaces: list[str] = strawberry.field(description="The namespaces it touched, in order.")
    first_revision: Revision | None = strawberry.field(
        description="The revision of its first shard change; null if it touched no shard."
    )
    last_revision: Revision | None = strawberry.field(
        description="The revision of its last shard change; null if it touched no shard."
    )
    shard_count: int = strawberry.field(description="How many shards it touched.")
    committed_at: datetime = strawberry.field(description="When it was committed.")
    hash: str = strawberry.field(
        description="SHA-256 (hex) over this change and the hash of the one before: the audit chain."
    )
    configuration: ConfigurationChange | None = strawberry.field(
        description="The configuration it changed; null for changes of shards, and for plans."
    )
    rebalance: ChangeRebalance | None = strawberry.field(
        description="The plan it was about; null for changes that are about none."
    )
    compaction: ChangeCompaction | None = strawberry.field(
        description="What it left of history; null for every change but a compaction."
    )
