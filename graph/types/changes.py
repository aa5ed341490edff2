"""Changes as the API shows them; the record is `persistence.records.Change`."""

from datetime import datetime

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.scalars import JSON, Revision
from persistence.records import ChangeKind


@strawberry.type(description="A namespace's configuration before and after a change.")
class ConfigurationChange:
    namespace: str = strawberry.field(description="The namespace.")
    previous: JSON | None = strawberry.field(description="Strategy, parameters and version before; null if it was new.")
    current: JSON = strawberry.field(description="Strategy, parameters and version after.")


@strawberry.type(description="One committed transaction: who changed what, why, and under which ticket.")
class Change:
    id: strawberry.ID = strawberry.field(description="Counts the changes of the store, without gaps, in commit order.")
    kind: ChangeKind = strawberry.field(description="What it was for.")
    actor: str = strawberry.field(description="Who made it.")
    reason: str = strawberry.field(description="Why, in the words of who made it.")
    change_ticket: str | None = strawberry.field(description="The ticket it was made under.")
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
        description="The configuration it changed; null for changes of shards."
    )
