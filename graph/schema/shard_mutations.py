"""Inputs of mutations, and the command each one stands for. What a command may hold, it checks itself."""

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.auth.principal import Principal, Scope
from graph.inputs.bulk import in_bulk
from graph.inputs.pins import PinInput
from graph.inputs.policies import NamespacePolicyInput
from graph.inputs.values import given, json_object
from graph.scalars import JSON, Revision
from persistence import commands
from persistence.errors import FieldError, InvalidArgument
from persistence.fields import shown
from persistence.records import ShardStatus

_NAMESPACE = "The namespace of the shard."
_SHARD_ID = "The shard's id within the namespace. Letters, digits, '.', '_', ':' and '-'; at most 128 characters."
_EXPECTED = "The version you have seen. If the shard is at another one, nothing is written and the answer says so."
_UNCHANGED = "Leave it out to keep it as it is."
_GROUP = "The group it is in: shards of one group of a namespace are on different nodes."
_CLEARS = "Leave it out to keep it as it is; null clears it."


@strawberry.input(
    description="That a change is to be made past move budgets, the thrash guard, freezes, pins and anti-affinity. "
    "Rules about tickets and approval stay in force."
)
class ForceInput:
    reason: str = strawberry.field(
        description="Why. Kept with the change for good. Not blank, at most 1,024 characters."
    )


@strawberry.input(description="By whom, why, and under which ticket.")
class ChangeInput:
    reason: str = strawberry.field(description="Why. Not blank, at most 1,024 characters.")
    change_ticket: str | None = strawberry.field(default=None, description="The ticket. At most 1,024 characters.")
    actor: str | None = strawberry.field(
        default=None,
        description=(
            "Who is responsible. Required while the server has no authentication, at most 1,024 characters; with it, "
            "it is the subject of the token and may be left out."
        ),
    )
    metadata: JSON | None = strawberry.field(
        default=None, description="Anything to be kept with the change. At most 1,024 characters when written as JSON."
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description=(
            "Names this request, at most 255 characters: send it again with the same key and it is carried out once, "
            "with the same answer."
        ),
    )
    force: ForceInput | None = strawberry.field(
        default=None, description="Given where rules of a policy that can be forced shall not hold for this change."
    )

    def request(self, principal: Principal) -> commands.ChangeRequest:
        """Raises InvalidArgument without an actor where nobody is authenticated who could be it, and for any but the
        one who is."""
        actor = self.actor if principal.subject is None else principal.subject
        if actor is None:
            raise InvalidArgument(
                FieldError("change.actor", "is required: without authentication the request must say who makes it")
            )
        if self.actor is not None and self.actor != actor:
            raise InvalidArgument(
                FieldError("change.actor", f"must be the token's subject or left out, not {shown(self.actor)}")
            )
        if self.force is not None:
            principal.require(Scope.ADMIN, "force")
        return commands.ChangeRequest(
            actor,
            self.reason,
            self.change_ticket,
            self.metadata,
            self.idempotency_key,
            None if self.force is None else self.force.reason,
        )


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

    def new_shard(self) -> commands.NewShard:
        return commands.NewShard(
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
    change: ChangeInput = strawberry.field(description="By whom, why, and under which ticket.")

    def command(self, principal: Principal) -> commands.CreateShards:
        return commands.CreateShards([shard.new_shard() for shard in self.shards], self.change.request(principal))


@in_bulk
@strawberry.input(description="The fields of one shard to change, if it still is at the version expected.")
class ShardPatchInput:
    namespace: str = strawberry.field(description=_NAMESPACE)
    shard_id: str = strawberry.field(description=_SHARD_ID)
    expected_version: Revision = strawberry.field(description=_EXPECTED)
    owner_node_id: str | None = strawberry.field(
        default=strawberry.UNSET, description=f"The mesh node that shall own it. {_UNCHANGED}"
    )
    leader_id: str | None = strawberry.field(
        default=strawberry.UNSET, description=f"The replica that shall lead it. {_CLEARS}"
    )
    capacity_hint: float | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"How much of a node it takes, relative to other shards. Finite, 0 or more. {_UNCHANGED}",
    )
    locality_hint: str | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"Where it would rather be: `region`, `region/zone`, `zone:x` or `region:x`. {_CLEARS}",
    )
    status: ShardStatus | None = strawberry.field(
        default=strawberry.UNSET, description=f"What the owner may do with it. {_UNCHANGED}"
    )
    pin: PinInput | None = strawberry.field(
        default=strawberry.UNSET,
        description=(
            "Pins it to its owner, or to the one it is given: plans leave it alone, and moves are refused until the "
            f"pin ends or is cleared. {_CLEARS} A change that clears it may move the shard as well."
        ),
    )
    anti_affinity_group: str | None = strawberry.field(default=strawberry.UNSET, description=f"{_GROUP} {_CLEARS}")

    def patch(self) -> commands.ShardPatch:
        return commands.ShardPatch(
            self.namespace,
            self.shard_id,
            self.expected_version,
            given(self.owner_node_id),
            given(self.leader_id),
            given(self.capacity_hint),
            given(self.locality_hint),
            given(self.status),
            self.pin.request() if isinstance(self.pin, PinInput) else given(self.pin),
            given(self.anti_affinity_group),
        )


@strawberry.input(description="The fields of one shard to change, if it still is at the version expected.")
class UpdateShardInput(ShardPatchInput):
    change: ChangeInput = strawberry.field(description="By whom, why, and under which ticket.")

    def command(self, principal: Principal) -> commands.UpdateShards:
        return commands.UpdateShards([self.patch()], self.change.request(principal), single=True)


@strawberry.input(description="Shards to be changed, all of them or none.")
class UpdateShardsInput:
    shards: list[ShardPatchInput] = strawberry.field(description="1 to 10,000 shards, each at most once.")
    change: ChangeInput = strawberry.field(description="By whom, why, and under which ticket.")

    def command(self, principal: Principal) -> commands.UpdateShards:
        return commands.UpdateShards([shard.patch() for shard in self.shards], self.change.request(principal))


@in_bulk
@strawberry.input(description="A shard to be deleted, if it still is at the version expected.")
class ShardVersionInput:
    namespace: str = strawberry.field(description=_NAMESPACE)
    shard_id: str = strawberry.field(description=_SHARD_ID)
    expected_version: Revision = strawberry.field(description=_EXPECTED)

    def expectation(self) -> commands.ShardExpectation:
        return commands.ShardExpectation(self.namespace, self.shard_id, self.expected_version)


@strawberry.input(description="Shards to be deleted, all of them or none.")
class DeleteShardsInput:
    shards: list[ShardVersionInput] = strawberry.field(description="1 to 10,000 shards, each at most once.")
    change: ChangeInput = strawberry.field(description="By whom, why, and under which ticket.")

    def command(self, principal: Principal) -> commands.DeleteShards:
        return commands.DeleteShards([shard.expectation() for shard in self.shards], self.change.request(principal))


@strawberry.input(description="A namespace to be created, or to be given another strategy, parameters or policy.")
class ConfigureNamespaceInput:
    name: str = strawberry.field(
        description="Its name. Letters, digits, '.', '_', ':' and '-'; at most 128 characters."
    )
    strategy: str = strawberry.field(description="The placement strategy: the name of one of `strategies`.")
    strategy_parameters: JSON | None = strawberry.field(
        default=None,
        description="A JSON object with the strategy's parameters; what is left out has its default.",
    )
    policy: NamespacePolicyInput | None = strawberry.field(
        default=strawberry.UNSET, description=f"What changes of its shards must keep to. {_UNCHANGED}"
    )
    expected_version: Revision | None = strawberry.field(
        default=None, description="The version you have seen; null or 0 if the namespace must be new."
    )
    change: ChangeInput = strawberry.field(description="By whom, why, and under which ticket.")

    def command(self, principal: Principal) -> commands.ConfigureNamespace:
        return commands.ConfigureNamespace(
            self.name,
            self.strategy,
            json_object("strategyParameters", self.strategy_parameters, '{"virtualNodes": 160}'),
            self.expected_version or 0,
            self.change.request(principal),
            self.policy.policy() if self.policy else given(self.policy),
        )
