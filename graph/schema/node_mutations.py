"""Inputs about nodes: which to list, and what to change about one."""

from typing import Any

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.auth.principal import Principal
from graph.inputs.values import given, json_object
from graph.inputs.writing import ChangeInput
from graph.scalars import JSON, Revision
from persistence import node_commands, queries
from persistence.fields import Problems
from persistence.records import NodeStatus
from strategies.parameters import MAX_WEIGHT

NODE_ID = "The node's id. Letters, digits, '.', '_', ':' and '-'; at most 128 characters."
REGION = "The region it is in, as locality hints name it."
ZONE = "The zone it is in, as locality hints name it."
LABELS = 'A JSON object of strings that selectors can match, such as {"disk": "ssd"}.'
WEIGHT = f"How much it takes, relative to other nodes: a whole number from 1 to {MAX_WEIGHT:,}."
_EXPECTED = "The version you have seen. If the node is at another one, nothing is written and the answer says so."
_UNCHANGED = "Leave it out to keep it as it is."
_CLEARS = "Leave it out to keep it as it is; null clears it."
_CHANGE = "By whom, why, and under which ticket."
_NO_RESTRICTION = "Null or an empty list does not restrict. At most 1,000 values."


@strawberry.input(description="Which nodes. All fields must match; within a list, any value.")
class NodeFilter:
    statuses: list[NodeStatus] | None = strawberry.field(
        default=None, description="In one of these states. Null or an empty list: all nodes but the removed ones."
    )
    regions: list[str] | None = strawberry.field(default=None, description=f"In one of these. {_NO_RESTRICTION}")
    zones: list[str] | None = strawberry.field(default=None, description=f"In one of these. {_NO_RESTRICTION}")


def node_filter(asked: NodeFilter | None) -> queries.NodeFilter:
    """Raises InvalidArgument naming `filter.` and the field."""
    if asked is None:
        return queries.NodeFilter()
    where = queries.NodeFilter(asked.statuses or None, asked.regions or None, asked.zones or None)
    problems = Problems()
    where.add_problems(problems)
    problems.raise_if_any()
    return where


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
    change: ChangeInput = strawberry.field(description=_CHANGE)

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
    expected_version: Revision = strawberry.field(description=_EXPECTED)
    region: str | None = strawberry.field(default=strawberry.UNSET, description=f"{REGION} {_CLEARS}")
    zone: str | None = strawberry.field(default=strawberry.UNSET, description=f"{ZONE} {_CLEARS}")
    labels: JSON | None = strawberry.field(
        default=strawberry.UNSET, description=f"{LABELS} They replace all that it has. {_UNCHANGED}"
    )
    weight: int | None = strawberry.field(default=strawberry.UNSET, description=f"{WEIGHT} {_UNCHANGED}")
    status: NodeStatus | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"Whether it may own shards. REMOVED is refused while it owns any. {_UNCHANGED}",
    )
    change: ChangeInput = strawberry.field(description=_CHANGE)

    def command(self, principal: Principal) -> node_commands.UpdateNode:
        return node_commands.UpdateNode(
            self.node_id,
            self.expected_version,
            self.change.request(principal),
            given(self.region),
            given(self.zone),
            _labels_given(self.labels),
            given(self.weight),
            given(self.status),
        )


@strawberry.input(description="A node to be drained, if it still is at the version expected.")
class DrainNodeInput:
    node_id: str = strawberry.field(description=NODE_ID)
    expected_version: Revision = strawberry.field(description=_EXPECTED)
    accept_blockers: bool | None = strawberry.field(
        default=False, description="Whether to drain it although some of its shards would have to stay."
    )
    change: ChangeInput = strawberry.field(description=_CHANGE)

    def command(self, principal: Principal) -> node_commands.DrainNode:
        return node_commands.DrainNode(self.node_id, self.expected_version, self.change.request(principal))


def labels_of(field: str, value: object) -> Any:
    """Raises InvalidArgument naming `field` for anything but an object; what is in it, the store checks."""
    return json_object(field, value, '{"disk": "ssd"}')


def _labels_given(value: object) -> Any:
    """Left out and null are for the command to judge."""
    return given(value) if value is strawberry.UNSET or value is None else labels_of("labels", value)
