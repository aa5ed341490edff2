"""Refused requests as the API shows them; the record is `persistence.records.Refusal`."""

from datetime import datetime

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.scalars import JSON, Revision
from persistence.records import ChangeKind


@strawberry.type(description="A change that was asked for and refused: who asked for what, and why it was not made.")
class RefusedChange:
    id: strawberry.ID = strawberry.field(description="Counts the refusals of the store, without gaps, in order.")
    kind: ChangeKind = strawberry.field(description="What it would have been.")
    actor: str = strawberry.field(description="Who asked for it.")
    reason: str = strawberry.field(description="Why, in the words of who asked.")
    change_ticket: str | None = strawberry.field(description="The ticket it was asked for under.")
    namespaces: list[str] = strawberry.field(description="The namespaces it named, in order.")
    outcome: str = strawberry.field(
        description=(
            "The answer: the name of a result, as `VersionConflict`, `NotFound` or `PolicyViolation`; `Forbidden` to "
            "who asked to force what they may not."
        )
    )
    request: JSON = strawberry.field(
        description="What was asked for, of each list the first ten items; how many characters there were, if too many."
    )
    details: JSON = strawberry.field(description="What was answered, bounded in the same way.")
    left_out: Revision = strawberry.field(
        description="How many refusals before this one were not kept, because the same server met too many at once."
    )
    refused_at: datetime = strawberry.field(description="When it was refused.")
    hash: str = strawberry.field(description="SHA-256 (hex) over this refusal and the hash of the one before.")
