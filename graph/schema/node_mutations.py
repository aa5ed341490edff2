"""Mutations of nodes, but for draining: their inputs, the commands that these stand for, and their outcomes."""

from typing import Annotated, Any, TypeAlias

import strawberry

from graph.auth.principal import Principal
from graph.schema import messages
from graph.schema.arguments import json_object
from graph.schema.changes import Change
from graph.schema.commands import CHANGE, NULL_CLEARS, UNSET_KEEPS, ChangeInput, set_or_unset
from graph.schema.nodes import EXPECTED_VERSION, LABELS, NODE_ID, REGION, WEIGHT, ZONE, Node
from graph.schema.results import (
    PLACEMENT_WARNINGS,
    REPLAYED,
    AdmissionWarning,
    IdempotencyKeyReused,
    InvalidInput,
    NotFound,
    Refusal,
    describes,
)
from graph.schema.scalars import JSON, Revision
from persistence.commands import nodes as node_commands
from persistence.model import outcomes
from persistence.model.records import NodeStatus


@strawberry.input(description="A node to be registered: one that is not there, or was removed.")
class RegisterNodeInput:
    node_id: str = strawberry.field(description=NODE_ID)
    region: str | None = strawberry.field(default=None, description=REGION)
    zone: str | None = strawberry.field(default=None, description=ZONE)
    labels: JSON | None = strawberry.field(default=None, description=LABELS)
    weight: int | None = strawberry.field(default=1, description=WEIGHT)
    status: NodeStatus | None = strawberry.field(
        default=NodeStatus.ACTIVE, description="Whether it may own shards from now on."
    )
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> node_commands.RegisterNode:
        return node_commands.RegisterNode(
            self.node_id,
            self.change.request(principal),
            self.region,
            self.zone,
            labels_of("labels", self.labels),
            1 if self.weight is None else self.weight,
            self.status or NodeStatus.ACTIVE,
        )


@strawberry.input(description="The fields of one node to change, if it still is at the version expected.")
class UpdateNodeInput:
    node_id: str = strawberry.field(description=NODE_ID)
    expected_version: Revision = strawberry.field(description=EXPECTED_VERSION)
    region: str | None = strawberry.field(default=strawberry.UNSET, description=f"{REGION} {NULL_CLEARS}")
    zone: str | None = strawberry.field(default=strawberry.UNSET, description=f"{ZONE} {NULL_CLEARS}")
    labels: JSON | None = strawberry.field(
        default=strawberry.UNSET, description=f"{LABELS} They replace all that it has. {UNSET_KEEPS}"
    )
    weight: int | None = strawberry.field(default=strawberry.UNSET, description=f"{WEIGHT} {UNSET_KEEPS}")
    status: NodeStatus | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"Whether it may own shards. REMOVED is refused while it owns or leads any. {UNSET_KEEPS}",
    )
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> node_commands.UpdateNode:
        return node_commands.UpdateNode(
            self.node_id,
            self.expected_version,
            self.change.request(principal),
            set_or_unset(self.region),
            set_or_unset(self.zone),
            _labels_given(self.labels),
            set_or_unset(self.weight),
            set_or_unset(self.status),
        )


def labels_of(field: str, value: object) -> Any:
    """Raises InvalidArgument naming `field` for anything but an object; what is in it, the store checks."""
    return json_object(field, value, '{"disk": "ssd"}')


def _labels_given(value: object) -> Any:
    """Left out and null are for the command to judge."""
    return set_or_unset(value) if value is strawberry.UNSET or value is None else labels_of("labels", value)


@strawberry.type(description="Committed.")
class NodeChanged:
    is_type_of = staticmethod(describes(outcomes.NodeChanged))

    change: Change = strawberry.field(description="The change it was committed as.")
    node: Node = strawberry.field(description="The node after the change.")
    replayed: bool = strawberry.field(description=REPLAYED)
    warnings: list[AdmissionWarning] = strawberry.field(description=PLACEMENT_WARNINGS)


@strawberry.type(description="The node is not at the version expected. Nothing was written.")
class NodeVersionConflict(Refusal):
    is_type_of = staticmethod(describes(outcomes.StaleNode))

    message = strawberry.field(resolver=messages.stale_node, description="What is stale, in a sentence.")
    node_id: str = strawberry.field(description="The node.")
    expected: Revision = strawberry.field(
        name="expectedVersion", description="The version the request expected; 0 for a node to be registered."
    )
    actual: Revision = strawberry.field(
        name="actualVersion", description="The version it is at; 0 if it is not registered."
    )
    current: Node | None = strawberry.field(description="The node as it is; null if it is not registered.")
    last_change: Change | None = strawberry.field(description="Who changed it last, and why.")


@strawberry.type(description="The node owns or leads shards, so it cannot be removed. Nothing was written.")
class NodeInUse(Refusal):
    is_type_of = staticmethod(describes(outcomes.NodeInUse))

    message = strawberry.field(resolver=messages.node_in_use, description="What is in the way, in a sentence.")
    node: Node = strawberry.field(description="The node as it is.")


NodeMutationResult: TypeAlias = Annotated[
    NodeChanged | NodeVersionConflict | NodeInUse | NotFound | InvalidInput | IdempotencyKeyReused,
    strawberry.union("NodeMutationResult", description="What became of a request to register or change a node."),
]
