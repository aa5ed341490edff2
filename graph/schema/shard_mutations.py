"""Mutations of shards: their inputs, the commands that these stand for, and their outcomes.

What a command may hold, it checks itself.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias

import strawberry

from graph.auth.principal import Principal
from graph.execution.bulk_inputs import made_as
from graph.execution.context import Info
from graph.schema import messages, results
from graph.schema.arguments import COMPARED, nearest
from graph.schema.changes import Change
from graph.schema.commands import CHANGE, NULL_CLEARS, UNSET_KEEPS, Answer, ChangeInput, execute, set_or_unset
from graph.schema.results import (
    REPLAYED,
    AdmissionWarning,
    IdempotencyKeyReused,
    InvalidInput,
    NotFound,
    PolicyViolation,
    Refusal,
    describes,
)
from graph.schema.scalars import Revision
from graph.schema.selected import OfSelection
from graph.schema.shards import Shard
from persistence.commands import shards as shard_commands
from persistence.commands.shards import PinRequest
from persistence.errors import StoreError
from persistence.model import outcomes
from persistence.model.outcomes import WarningCode
from persistence.model.policy import PolicyRule
from persistence.model.records import VACATED, ShardStatus

_NAMESPACE: Final = "The namespace of the shard."

_SHARD_ID: Final = (
    "The shard's id within the namespace. Letters, digits and . _ : - @ / + = [ ]; at most 128 characters."
)

_EXPECTED: Final = (
    "The version you have seen. If the shard is at another one, nothing is written and the answer shows it."
)

_MOST_WARNINGS: Final = 20
"""Each may take a statement."""

_WARNS: Final = OfSelection(lambda paths: "warnings" in paths)

_log = logging.getLogger(__name__)

_GROUP: Final = "The group it is in: shards of one group of a namespace are on different nodes."


@made_as(shard_commands.PinRequest)
@strawberry.input(description="A pin to be made, by the actor of the change: the shard stays where it is.")
class PinInput:
    reason: str = strawberry.field(description="Why. Not blank, at most 1,024 characters.")
    until: datetime | None = strawberry.field(
        default=None, description="When the pin ends, in the future; null for no end."
    )


@made_as(shard_commands.NewShard)
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
    pin: PinRequest | None = strawberry.field(
        graphql_type=PinInput | None, default=None, description="Pins it to its owner."
    )
    anti_affinity_group: str | None = strawberry.field(default=None, description=_GROUP)


@strawberry.input(description="Shards to be created, all of them or none.")
class CreateShardsInput:
    shards: list[shard_commands.NewShard] = strawberry.field(
        graphql_type=list[NewShardInput], description="1 to 10,000 shards, each at most once."
    )
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> shard_commands.CreateShards:
        return shard_commands.CreateShards(self.shards, self.change.request(principal))


@made_as(shard_commands.ShardPatch)
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
    pin: PinRequest | None = strawberry.field(
        graphql_type=PinInput | None,
        default=strawberry.UNSET,
        description=(
            "Pins it to its owner, or to the one it is given: plans leave it alone, and moves are refused until the "
            f"pin ends or is cleared. {NULL_CLEARS} A change that clears it may move the shard as well."
        ),
    )
    anti_affinity_group: str | None = strawberry.field(default=strawberry.UNSET, description=f"{_GROUP} {NULL_CLEARS}")


@strawberry.input(description="The fields of one shard to change, if it still is at the version expected.")
class UpdateShardInput(ShardPatchInput):
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> shard_commands.UpdateShards:
        patch = shard_commands.ShardPatch(
            self.namespace,
            self.shard_id,
            self.expected_version,
            set_or_unset(self.owner_node_id),
            set_or_unset(self.leader_id),
            set_or_unset(self.capacity_hint),
            set_or_unset(self.locality_hint),
            set_or_unset(self.status),
            set_or_unset(self.pin),
            set_or_unset(self.anti_affinity_group),
        )
        return shard_commands.UpdateShards([patch], self.change.request(principal), single=True)


@strawberry.input(description="Shards to be changed, all of them or none.")
class UpdateShardsInput:
    shards: list[shard_commands.ShardPatch] = strawberry.field(
        graphql_type=list[ShardPatchInput], description="1 to 10,000 shards, each at most once."
    )
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> shard_commands.UpdateShards:
        return shard_commands.UpdateShards(self.shards, self.change.request(principal))


@made_as(shard_commands.ShardExpectation)
@strawberry.input(description="A shard to be deleted, if it still is at the version expected.")
class ShardVersionInput:
    namespace: str = strawberry.field(description=_NAMESPACE)
    shard_id: str = strawberry.field(description=_SHARD_ID)
    expected_version: Revision = strawberry.field(description=_EXPECTED)


@strawberry.input(description="Shards to be deleted, all of them or none.")
class DeleteShardsInput:
    shards: list[shard_commands.ShardExpectation] = strawberry.field(
        graphql_type=list[ShardVersionInput], description="1 to 10,000 shards, each at most once."
    )
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> shard_commands.DeleteShards:
        return shard_commands.DeleteShards(self.shards, self.change.request(principal))


async def change_shards(info: Info, request: CreateShardsInput | UpdateShardInput | UpdateShardsInput) -> Answer:
    """As `execute`, with the warnings that are selected."""
    answer = await execute(info, request)
    if isinstance(answer, outcomes.PolicyViolation):
        return replace(answer, violations=await _with_names_that_were_meant(info, answer.violations))
    if not isinstance(answer, outcomes.ShardsChanged) or not _WARNS(info):
        return answer
    try:
        return replace(answer, warnings=tuple(await _warnings(info, _targets(request))))
    except StoreError:
        _log.warning("warnings of change %d are left out: the nodes could not be read", answer.change.id, exc_info=True)
        return answer  # the change is made: an error would deny that


def _targets(request: CreateShardsInput | UpdateShardInput | UpdateShardsInput) -> Mapping[str, str]:
    """The first field that names it of each node that is named, up to so many nodes as are warned of."""
    single = isinstance(request, UpdateShardInput)
    shards: Sequence[Any] = [request] if isinstance(request, UpdateShardInput) else request.shards
    targets: dict[str, str] = {}
    for index, shard in enumerate(shards):
        path = "" if single else f"shards[{index}]."
        for field, node_id in ((f"{path}ownerNodeId", shard.owner_node_id), (f"{path}leaderId", shard.leader_id)):
            if isinstance(node_id, str):
                targets.setdefault(node_id, field)
    return targets


async def _with_names_that_were_meant(
    info: Info, violations: tuple[outcomes.BrokenRule, ...]
) -> tuple[outcomes.BrokenRule, ...]:
    """Of the first nodes that are not registered, in the remedies."""
    meant: dict[str, str | None] = {}
    changed = []
    for broken in violations:
        if broken.rule is PolicyRule.REGISTRATION_REQUIRED:
            node_id = broken.actual.partition(" ")[0]
            if node_id not in meant and len(meant) < _MOST_WARNINGS:
                meant[node_id] = nearest(node_id, await info.context.services.store.nodes.around(node_id, COMPARED))
            if (name := meant.get(node_id)) is not None:
                changed.append(replace(broken, remedy=f"Did you mean {name}? {broken.remedy}"))
                continue
        changed.append(broken)
    return tuple(changed)


async def _warnings(info: Info, targets: Mapping[str, str]) -> list[outcomes.AdmissionWarning]:
    nodes = info.context.services.store.nodes
    statuses = await nodes.statuses(sorted(targets)) if targets else {}
    warnings: list[outcomes.AdmissionWarning] = []
    for node_id, field in targets.items():
        status = statuses.get(node_id)
        if status is not None and status not in VACATED:
            continue
        if len(warnings) == _MOST_WARNINGS:
            break
        if status is None:
            names = await nodes.around(node_id, COMPARED)
            if not names:
                break  # a mesh that registers no nodes
            meant = nearest(node_id, names)
            message = f"{node_id} is not registered" + ("" if meant is None else f"; did you mean {meant}?")
            warnings.append(outcomes.AdmissionWarning(WarningCode.NODE_NOT_REGISTERED, field, message, meant))
        else:
            message = f"{node_id} is {status}: the next plan moves its shards away"
            warnings.append(outcomes.AdmissionWarning(WarningCode.NODE_UNAVAILABLE, field, message))
    return warnings


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
    warnings: list[AdmissionWarning] = strawberry.field(
        description="Owners and leaders that the request names and that are likely a mistake: one for each node, at "
        "most 20. None where no node is registered at all. Looked for only when selected."
    )


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
    changed_fields: list[str] = strawberry.field(
        description="What of it was changed since, where a plan is stale; empty in any other answer."
    )


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
