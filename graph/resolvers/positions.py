"""Where in the change stream an outcome stands."""

import strawberry

from graph.cursors import Cursor, stream_cursor
from graph.scalars import Revision
from persistence.outcomes import PlanApplied, ShardsChanged


def cursor(parent: strawberry.Parent[ShardsChanged | PlanApplied]) -> Cursor:
    return stream_cursor(parent.position)


def revision(parent: strawberry.Parent[ShardsChanged | PlanApplied]) -> Revision:
    return Revision(parent.position.revision)
