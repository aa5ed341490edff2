"""Edits that leave a namespace without a placement are warned of, or refused, where they are made; on every store."""

from __future__ import annotations

from typing import Any

import pytest

from graph.operations import operation
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.graphql_documents import BY_ALICE
from tests.support.mesh import Mesh, new
from tests.support.rebalancing_api import change, registered

pytestmark = ON_EVERY_STORE


@pytest.fixture
async def mesh_of_three(api: Api, mesh: Mesh) -> Mesh:
    """Thirty shards on three nodes."""
    await registered(api, "node-a", "node-b", "node-c")
    await mesh.create(*(new(f"{number:02}", f"node-{'abc'[number % 3]}") for number in range(30)))
    return mesh


async def configured(api: Api, version: int, *, strategy: str = "rendezvous", force: bool = False, **given: Any) -> Any:
    by = {**BY_ALICE, "force": {"reason": "more nodes come tomorrow"}} if force else BY_ALICE
    return await configure(
        api, name="billing", strategy=strategy, strategyParameters=given, expectedVersion=version, change=by
    )


async def configure(api: Api, **given: Any) -> Any:
    return await api.field(operation("ConfigureNamespace"), input=given)


async def edited(api: Api, version: int, **given: Any) -> list[tuple[str, str, str]]:
    answer = await change(api, "UpdateNode", nodeId="node-c", expectedVersion=version, **given)
    assert answer["__typename"] == "NodeChanged", answer
    return [(one["code"], one["namespace"], one["message"]) for one in answer["warnings"]]


@pytest.mark.usefixtures("mesh_of_three")
async def test_a_bound_without_room_for_the_loss_of_a_node_is_warned_of(api: Api) -> None:
    answer = await configured(api, 1, maxShardsPerNode=12)
    assert answer["__typename"] == "NamespaceConfigured"
    (warning,) = answer["warnings"]
    assert (warning["code"], warning["namespace"], warning["field"]) == ("NAMESPACE_WITHOUT_RESERVE", "billing", None)
    assert warning["message"] == (
        "billing could not be placed any more without one of its nodes: 30 shards do not fit: with maxShardsPerNode 12 "
        "there is room for 24 on 2 nodes"
    )
    assert (await configured(api, 2, maxShardsPerNode=15))["warnings"] == []


@pytest.mark.usefixtures("mesh_of_three")
async def test_a_configuration_that_cannot_place_is_refused_by_its_field_unless_forced(api: Api) -> None:
    refused = await configured(api, 1, maxShardsPerNode=9)
    assert refused["__typename"] == "InvalidInput"
    (error,) = refused["errors"]
    assert error["field"] == "strategyParameters.maxShardsPerNode"
    assert error["message"] == (
        "would leave its shards without a placement: 30 shards do not fit: with maxShardsPerNode 9 there is room for "
        "27 on 3 nodes; force it with a reason to have it so all the same"
    )
    forced = await configured(api, 1, force=True, maxShardsPerNode=9)
    assert (forced["__typename"], forced["namespace"]["version"]) == ("NamespaceConfigured", "2")
    assert [one["code"] for one in forced["warnings"]] == ["NAMESPACE_UNPLACEABLE"]
    again = await configured(api, 2, maxShardsPerNode=8)
    assert [one["code"] for one in again["warnings"]] == ["NAMESPACE_UNPLACEABLE"]


@pytest.mark.usefixtures("mesh_of_three")
async def test_other_refusals_come_first(api: Api) -> None:
    assert (await configured(api, 7, maxShardsPerNode=9))["__typename"] == "NamespaceVersionConflict"
    wrong = await configured(api, 1, maxShardsPerNode=0)
    assert [error["field"] for error in wrong["errors"]] == ["strategyParameters.maxShardsPerNode"]
    assert "must be a whole number" in wrong["errors"][0]["message"]


@pytest.mark.usefixtures("mesh_of_three")
async def test_a_weight_that_a_ring_cannot_bear_is_warned_of_where_it_is_given(api: Api) -> None:
    await configured(api, 1, strategy="ring")
    assert await edited(api, 1, zone="z1") == []
    (warning,) = await edited(api, 2, weight=30_000)
    assert warning[:2] == ("NAMESPACE_UNPLACEABLE", "billing")
    assert "the ring would have 4,800,320 points" in warning[2]
    # It is no news any more.
    assert await edited(api, 3, zone="z2") == []
    assert await edited(api, 4, weight=1) == []


@pytest.mark.usefixtures("mesh_of_three")
async def test_a_node_that_is_taken_away_is_warned_of_however_that_is_done(api: Api) -> None:
    await configured(api, 1, replicas=2)
    ((code, name, message),) = await edited(api, 1, status="CORDONED")
    assert (code, name) == ("NAMESPACE_WITHOUT_RESERVE", "billing")
    assert message.endswith("without one of its nodes: 2 replicas need 2 nodes, and there are no more than that")
    assert await edited(api, 2, status="ACTIVE") == []
    drained = await change(api, "DrainNode", nodeId="node-c", expectedVersion=3, acceptBlockers=True)
    assert [one["code"] for one in drained["warnings"]] == ["NAMESPACE_WITHOUT_RESERVE"]
    joined = await change(api, "RegisterNode", nodeId="node-d")
    assert joined["warnings"] == []


@pytest.mark.usefixtures("mesh_of_three")
async def test_a_request_repeated_under_its_key_is_warned_again(api: Api) -> None:
    await configured(api, 1, maxShardsPerNode=15)
    keyed = {**BY_ALICE, "idempotencyKey": "k-1"}
    given: dict[str, Any] = {"nodeId": "node-c", "expectedVersion": 1, "status": "DOWN", "change": keyed}
    first = await change(api, "UpdateNode", **given)
    assert [one["code"] for one in first["warnings"]] == ["NAMESPACE_WITHOUT_RESERVE"]
    assert await change(api, "UpdateNode", **given) == {**first, "replayed": True}


async def test_what_was_configured_under_a_key_is_answered_although_it_would_be_refused_now(
    api: Api, mesh_of_three: Mesh
) -> None:
    keyed = {**BY_ALICE, "idempotencyKey": "k-2"}
    given: dict[str, Any] = {"name": "billing", "strategy": "rendezvous", "expectedVersion": 1, "change": keyed}
    given["strategyParameters"] = {"maxShardsPerNode": 10}
    first = await configure(api, **given)
    await mesh_of_three.create(new("another", "node-a"))
    again = await configure(api, **given)
    assert (again["__typename"], again["replayed"], again["change"]) == ("NamespaceConfigured", True, first["change"])
