"""Mutations of shards: their inputs, the commands that these stand for, and their outcomes.

What a command may hold, it checks itself.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import strawberry
from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryContainer, StrawberryObjectDefinition, StrawberryType, has_object_definition

from graph.auth.principal import Principal
from graph.schema import messages, results
from graph.schema.changes import Change
from graph.schema.commands import CHANGE, NULL_CLEARS, UNSET_KEEPS, ChangeInput, set_or_unset
from graph.schema.results import (
    REPLAYED,
    IdempotencyKeyReused,
    InvalidInput,
    NotFound,
    PolicyViolation,
    Refusal,
    describes,
)
from graph.schema.scalars import Revision
from graph.schema.shards import Shard
from persistence.commands import shards as shard_commands
from persistence.commands.shards import PinRequest
from persistence.model import outcomes
from persistence.model.records import ShardStatus

T = TypeVar("T", bound=type)

_NAMESPACE: Final = "The namespace of the shard."

_SHARD_ID: Final = (
    "The shard's id within the namespace. Letters, digits, '.', '_', ':' and '-'; at most 128 characters."
)

_EXPECTED: Final = (
    "The version you have seen. If the shard is at another one, nothing is written and the answer says so."
)

_GROUP: Final = "The group it is in: shards of one group of a namespace are on different nodes."


def in_bulk(input_type: T) -> T:
    """Class decorator for an input that comes by the thousand: values are made straight from the request.

    Strawberry resolves the type and the name of each field again for each value: 5,000 shards took 0.4 s, in which the
    process answered no other request. Leaves need neither, since graphql-core has read those already. Fields must be
    leaves or other inputs, and have a default where null is allowed.
    """
    definition: StrawberryObjectDefinition = input_type.__strawberry_definition__  # type: ignore[attr-defined]
    names: dict[str, str] = {}
    inputs: dict[str, StrawberryType | type] = {}

    def build(type_: type, value: Mapping[str, Any], context: InputContext) -> Any:
        if not names:
            for field in definition.fields:
                name, kind = context.config.name_converter.from_field(field), field.resolve_type()
                names[name] = field.python_name
                if has_object_definition(_bare(kind)):
                    inputs[name] = kind
        members = {names[name]: member for name, member in value.items()}
        for name in inputs.keys() & value.keys():
            members[names[name]] = context.convert(value[name], inputs[name], name)
        return type_(**members)

    definition.from_input = build
    return input_type


def _bare(kind: StrawberryType | type) -> StrawberryType | type:
    while isinstance(kind, StrawberryContainer):
        kind = kind.of_type
    return kind


@strawberry.input(description="A pin to be made, by the actor of the change: the shard stays where it is.")
class PinInput:
    reason: str = strawberry.field(description="Why. Not blank, at most 1,024 characters.")
    until: datetime | None = strawberry.field(
        default=None, description="When the pin ends, in the future; null for no end."
    )

    def request(self) -> PinRequest:
        return PinRequest(self.reason, self.until)


@in_bulk
@strawberry.input(description="A shard to be created.")
class NewShardInput:
    namespace: str = strawberry.field(description=_NAMESPACE)
    shard_id: str = strawberry.field(description=_SHARD_ID)
    owner_node_id: str = strawberry.field(description="The mesh node that shall own it.")
    leader_id: str | None = strawberry.field(default=None, description="The replica that shall lead it, if any.")
    capacity_hint: float = strawberry.field(
        default=1.0, description="How much of a node it takes, relative to other shards. Finite, 0 or more."
    )
    locality_hint: str | None = strawberry.field(
        default=None, description="Where it would rather be: `region`, `region/zone`, `zone:x` or `region:x`."
    )
    status: ShardStatus = strawberry.field(default=ShardStatus.ACTIVE, description="What the owner may do with it.")
    pin: PinInput | None = strawberry.field(default=None, description="Pins it to its owner.")
    anti_affinity_group: str | None = strawberry.field(default=None, description=_GROUP)

    def new_shard(self) -> shard_commands.NewShard:
        return shard_commands.NewShard(
            self.namespace,
            self.shard_id,
            self.owner_node_id,
            self.leader_id,
            self.capacity_hint,
            self.locality_hint,
            self.status,
            self.pin.request() if self.pin else None,
            self.anti_affinity_group,
        )


@strawberry.input(description="Shards to be created, all of them or none.")
class CreateShardsInput:
    shards: list[NewShardInput] = strawberry.field(description="1 to 10,000 shards, each at most once.")
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> shard_commands.CreateShards:
        return shard_commands.CreateShards([shard.new_shard() for shard in self.shards], self.change.request(principal))


@in_bulk
@strawberry.input(description="The fields of one shard to change, if it still is at the version expected.")
class ShardPatchInput:
    namespace: str = strawberry.field(description=_NAMESPACE)
    shard_id: str = strawberry.field(description=_SHARD_ID)
    expected_version: Revision = strawberry.field(description=_EXPECTED)
    owner_node_id: str | None = strawberry.field(
        default=strawberry.UNSET, description=f"The mesh node that shall own it. {UNSET_KEEPS}"
    )
    leader_id: str | None = strawberry.field(
        default=strawberry.UNSET, description=f"The replica that shall lead it. {NULL_CLEARS}"
    )
    capacity_hint: float | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"How much of a node it takes, relative to other shards. Finite, 0 or more. {UNSET_KEEPS}",
    )
    locality_hint: str | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"Where it would rather be: `region`, `region/zone`, `zone:x` or `region:x`. {NULL_CLEARS}",
    )
    status: ShardStatus | None = strawberry.field(
        default=strawberry.UNSET, description=f"What the owner may do with it. {UNSET_KEEPS}"
    )
    pin: PinInput | None = strawberry.field(
        default=strawberry.UNSET,
        description=(
            "Pins it to its owner, or to the one it is given: plans leave it alone, and moves are refused until the "
            f"pin ends or is cleared. {NULL_CLEARS} A change that clears it may move the shard as well."
        ),
    )
    anti_affinity_group: str | None = strawberry.field(default=strawberry.UNSET, description=f"{_GROUP} {NULL_CLEARS}")

    def patch(self) -> shard_commands.ShardPatch:
        return shard_commands.ShardPatch(
            self.namespace,
            self.shard_id,
            self.expected_version,
            set_or_unset(self.owner_node_id),
            set_or_unset(self.leader_id),
            set_or_unset(self.capacity_hint),
            set_or_unset(self.locality_hint),
            set_or_unset(self.status),
            self.pin.request() if isinstance(self.pin, PinInput) else set_or_unset(self.pin),
            set_or_unset(self.anti_affinity_group),
        )


@strawberry.input(description="The fields of one shard to change, if it still is at the version expected.")
class UpdateShardInput(ShardPatchInput):
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> shard_commands.UpdateShards:
        return shard_commands.UpdateShards([self.patch()], self.change.request(principal), single=True)


@strawberry.input(description="Shards to be changed, all of them or none.")
class UpdateShardsInput:
    shards: list[ShardPatchInput] = strawberry.field(description="1 to 10,000 shards, each at most once.")
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> shard_commands.UpdateShards:
        return shard_commands.UpdateShards([shard.patch() for shard in self.shards], self.change.request(principal))


@in_bulk
@strawberry.input(description="A shard to be deleted, if it still is at the version expected.")
class ShardVersionInput:
    namespace: str = strawberry.field(description=_NAMESPACE)
    shard_id: str = strawberry.field(description=_SHARD_ID)
    expected_version: Revision = strawberry.field(description=_EXPECTED)

    def expectation(self) -> shard_commands.ShardExpectation:
        return shard_commands.ShardExpectation(self.namespace, self.shard_id, self.expected_version)


@strawberry.input(description="Shards to be deleted, all of them or none.")
class DeleteShardsInput:
    shards: list[ShardVersionInput] = strawberry.field(description="1 to 10,000 shards, each at most once.")
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> shard_commands.DeleteShards:
        return shard_commands.DeleteShards(
            [shard.expectation() for shard in self.shards], self.change.request(principal)
        )


def _stale_namespace(parent: strawberry.Parent[outcomes.StaleShard]) -> str:
    return parent.key.namespace


def _stale_shard_id(parent: strawberry.Parent[outcomes.StaleShard]) -> str:
    return parent.key.shard_id


@strawberry.type(description="Committed.")
class ShardsChanged:
    is_type_of = staticmethod(describes(outcomes.ShardsChanged))

    change: Change = strawberry.field(description="The change it was committed as.")
    shards: list[Shard] = strawberry.field(
        description="The shards after the change (before it, for a deletion), in the order asked for."
    )
    cursor = strawberry.field(
        resolver=results.cursor,
        description=(
            "The place in the change stream right after this change: read with `atLeastCursor` and you see your own "
            "write."
        ),
    )
    revision = strawberry.field(
        resolver=results.revision,
        description="The revision of the last shard changed, for `atLeast`.",
    )
    replayed: bool = strawberry.field(description=REPLAYED)


@strawberry.type(description="A shard that was not at the version expected.")
class StaleShard:
    namespace = strawberry.field(resolver=_stale_namespace, description="The namespace of the shard.")
    shard_id = strawberry.field(resolver=_stale_shard_id, description="The shard's id.")
    expected: Revision = strawberry.field(
        name="expectedVersion", description="The version the request expected; 0 for a shard to be created."
    )
    actual: Revision = strawberry.field(name="actualVersion", description="The version it is at; 0 if it is not there.")
    current: Shard | None = strawberry.field(description="The shard as it is; null if it is not there.")
    last_change: Change | None = strawberry.field(description="Who changed it last, and why.")


@strawberry.type(description="At least one shard is not at the version expected. Nothing was written.")
class VersionConflict(Refusal):
    is_type_of = staticmethod(describes(outcomes.VersionConflict))

    message = strawberry.field(resolver=messages.version_conflict, description="What is stale, in a sentence.")
    stale: list[StaleShard] = strawberry.field(
        name="conflicts", description="Every shard that is stale, in the order asked for."
    )


ShardMutationResult: TypeAlias = Annotated[
    ShardsChanged | VersionConflict | PolicyViolation | NotFound | InvalidInput | IdempotencyKeyReused,
    strawberry.union("ShardMutationResult", description="What became of a request to change shards."),
]
