"""What draining a node would do, as the API shows it; the record is `persistence.planning.preflight.DrainPreflight`."""

import strawberry

from graph.resolvers import proposals
from graph.types.moves import MoveConnection, Violation


@strawberry.type(description="What plans would do if the node were being drained, and what stands in the way.")
class DrainPreflight:
    node_id: str = strawberry.field(description="The node.")
    shard_count: int = strawberry.field(description="How many shards it owns.")
    moves = strawberry.field(
        resolver=proposals.moves, graphql_type=MoveConnection, description="Where its shards would go."
    )
    move_count = strawberry.field(resolver=proposals.move_count, description="How many moves are listed.")
    remaining_moves: int = strawberry.field(description="How many more it takes: they do not fit into one plan.")
    blockers: list[Violation] = strawberry.field(
        description="The shards that would have to stay, and the namespaces that could not be placed without it."
    )
