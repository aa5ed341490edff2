"""A query that names a namespace which does not exist gets an error, and not an empty answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from starlette.applications import Starlette

from persistence.commands.nodes import RegisterNode
from persistence.commands.shards import CreateShards
from persistence.model.outcomes import NotFound
from persistence.ports.store import Store
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.graphql_documents import FOLLOW, shard_query
from tests.support.graphql_socket import Socket, graphql_socket
from tests.support.mesh import BILLING, CHANGE, SEARCH, Mesh, new
from tests.support.serving import serving
from tests.support.statements import statements

pytestmark = ON_EVERY_STORE

LISTS: Final = {
    "shards": "shards(filter: {namespace: $name}) { totalCount }",
    "shards as of the past": 'shards(filter: {namespace: $name}, asOf: {revision: "1"}) { nodes { shardId } }',
    "filtered shards": 'shards(filter: {namespace: $name, ownerNodeIds: ["node-a"]}) { revision }',
    "history": "shardHistory(filter: {namespace: $name}) { totalCount }",
    "history of a shard": 'shardHistory(filter: {namespace: $name, shardId: "s1"}) { totalCount }',
    "differences": 'shardDiff(from: "0", namespace: $name) { totalCount }',
    "changes": "changes(filter: {namespace: $name}) { totalCount }",
    "refusals": "refusals(filter: {namespace: $name}) { totalCount }",
    "plans": "rebalancePlans(filter: {namespace: $name}) { totalCount }",
    "simulations": "simulateRebalance(input: {namespaces: [$name]}) { moveCount }",
    "explanations": 'explainShard(namespace: $name, shardId: "s1") { summary }',
}


@pytest.fixture
async def socket(app: Starlette) -> AsyncIterator[Socket]:
    async with serving(app) as address, graphql_socket(address) as socket:
        yield socket


async def asked(api: Api, selection: str, name: str) -> dict[str, Any]:
    return await api.error(f"query ($name: String!) {{ {selection} }}", name=name)


async def test_every_list_refuses_a_namespace_that_does_not_exist(api: Api, mesh: Mesh) -> None:
    await mesh.configure(SEARCH)
    await mesh.created("s1")
    for what, selection in LISTS.items():
        error = await asked(api, selection, "biling")
        assert (error["code"], error["message"]) == (
            "NOT_FOUND",
            "there is no namespace biling; did you mean billing?",
        ), what
        error = await asked(api, selection, "nothing-like-it")
        assert (error["code"], error["message"]) == (
            "NOT_FOUND",
            "there is no namespace nothing-like-it; configureNamespace creates one",
        ), what


async def test_a_namespace_without_shards_is_there(api: Api, mesh: Mesh) -> None:
    await mesh.configure("empty")
    await mesh.execute(RegisterNode("node-a", CHANGE))
    await mesh.created("s1")
    for what, selection in LISTS.items():
        if what == "explanations":
            continue
        answer = await api.data(f"query ($name: String!) {{ {selection} }}", name="empty")
        assert answer, what
    error = await asked(api, LISTS["explanations"], "empty")
    assert (error["code"], error["message"]) == ("NOT_FOUND", "there is no shard empty/s1")


async def test_what_may_be_null_is_null(api: Api) -> None:
    assert await api.field(shard_query("version").replace("billing", "nowhere"), id="s1") is None
    assert await api.field('{ namespace(name: "nowhere") { version } }') is None


async def test_refusals_of_requests_that_named_a_namespace_in_vain_are_found_by_its_name(api: Api, mesh: Mesh) -> None:
    outcome = await mesh.execute(CreateShards([new("s1", namespace="nowhere")], CHANGE))
    assert isinstance(outcome, NotFound)
    page = await api.field('{ refusals(filter: {namespace: "nowhere"}) { totalCount nodes { outcome } } }')
    assert page == {"totalCount": 1, "nodes": [{"outcome": "NotFound"}]}


async def test_a_subscription_to_a_namespace_that_does_not_exist_is_refused(socket: Socket, mesh: Mesh) -> None:
    await mesh.created("s1")
    for variables in ({"namespace": "biling"}, {"filter": {"namespace": "biling"}}):
        await socket.subscribe(FOLLOW, variables)
        error = await socket.error()
        assert (error["code"], error["message"]) == (
            "NOT_FOUND",
            "there is no namespace biling; did you mean billing?",
        )
    await socket.subscribe(FOLLOW, {"namespace": BILLING})
    assert (await socket.batch())["revision"] == "1"


async def test_subscribers_who_come_back_do_not_ask_the_database_again(store: Store, mesh: Mesh) -> None:
    await mesh.configure(SEARCH)
    assert not await store.namespaces.exists("nowhere")
    assert await store.namespaces.exists(SEARCH)
    with statements() as sent:
        assert await store.namespaces.exists(SEARCH)
    assert sent == []
    await mesh.configure("nowhere")
    assert await store.namespaces.exists("nowhere")
