"""Whether the server is up, fit to serve, and what it counts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, NoReturn

import pytest
from prometheus_client.parser import text_string_to_metric_families

from graph.execution.services import Feed
from graph.http.app import create_app
from persistence.errors import (
    Fenced,
    Overloaded,
    SchemaOutOfDate,
    StaleRead,
    StoreError,
    StoreUnavailable,
    Unavailable,
)
from persistence.model.records import ChangeMark, StreamPosition
from tests.support.graphql_api import Api, api_of, services_of
from tests.support.mesh import Mesh


class _FeedBehind:
    """A feed that stays where it is."""

    position = StreamPosition("epoch", 1, ChangeMark(1, b"the hash"))
    age_seconds = 0.0

    async def wait_for(self, revision: int) -> None:
        raise StaleRead(revision, self.position.revision)

    async def wait_for_position(self, position: StreamPosition) -> None:
        raise StaleRead(position.revision, self.position.revision)

    async def begin(self, *_: Any) -> NoReturn:
        raise NotImplementedError

    def follow(self, *_: Any) -> NoReturn:
        raise NotImplementedError


async def counted(api: Api, name: str, **labels: str) -> float:
    """The value of one sample; 0 if there is none yet."""
    text = (await api.http.get("/metrics")).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return next((it.value for it in samples if it.name == name and it.labels == labels), 0.0)


async def test_a_process_that_is_up_says_so_whatever_the_store_does(
    api: Api, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(mesh.store.stream), "head", _down)
    response = await api.http.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_a_server_that_can_serve_is_ready(api: Api, mesh: Mesh) -> None:
    await mesh.created("1")
    response = await api.http.get("/readyz")
    epoch = (await mesh.store.stream.head()).epoch
    assert (response.status_code, response.json()) == (200, {"status": "ok", "epoch": epoch, "revision": "1"})


async def test_a_server_without_its_store_is_not_ready(api: Api, mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(mesh.store.stream), "head", _down)
    response = await api.http.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "reason": "the store cannot be read"}
    assert "omnirelay_feed_lag_revisions NaN" in (await api.http.get("/metrics")).text


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Fenced("host=10.0.0.7"), "the database is an old primary that came back"),
        (SchemaOutOfDate("0007"), "the database's schema is not one that this version works with"),
        (StoreUnavailable("", Unavailable.AWAITING_STANDBY), "the database waits for its synchronous standby"),
        (StoreUnavailable("", Unavailable.TOO_MANY_CONNECTIONS), "the database takes no more connections"),
        (Overloaded("8 of 8"), "the store is busy"),
    ],
)
async def test_what_keeps_the_store_from_being_read_is_named(
    api: Api, mesh: Mesh, monkeypatch: pytest.MonkeyPatch, error: StoreError, reason: str
) -> None:
    async def fail(*_: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(type(mesh.store.stream), "head", fail)
    response = await api.http.get("/readyz")
    assert (response.status_code, response.json()["reason"]) == (503, reason)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Unavailable.DISK_FULL, "the database's disk is full"),
        (Unavailable.READ_ONLY, "the database takes no writes"),
    ],
)
async def test_what_only_writes_meet_keeps_a_server_from_being_ready(
    mesh: Mesh, feed: Feed, trouble: Unavailable, reason: str
) -> None:
    async def met() -> Unavailable:
        return trouble

    store = replace(mesh.store, trouble=met)
    async with api_of(create_app(services_of(store, mesh.writer, feed))) as api:
        response = await api.http.get("/readyz")
    assert (response.status_code, response.json()["reason"]) == (503, reason)


async def test_a_store_that_does_not_answer_is_not_waited_for(
    api: Api, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.http.health._TIMEOUT_SECONDS", 0.01)
    monkeypatch.setattr(type(mesh.store.stream), "head", _silent)
    assert (await api.http.get("/readyz")).json()["reason"] == "the store cannot be read"


async def test_a_server_whose_feed_is_behind_is_not_ready(mesh: Mesh) -> None:
    await mesh.created("1")
    await mesh.created("2")
    async with api_of(create_app(services_of(mesh.store, mesh.writer, _FeedBehind()))) as api:
        response = await api.http.get("/readyz")
        assert response.status_code == 503
        assert response.json()["reason"] == "the feed has not caught up"
        assert await counted(api, "omnirelay_feed_revision") == 1
        assert await counted(api, "omnirelay_feed_lag_revisions") == 1


async def test_operations_are_counted_by_type_and_outcome(api: Api) -> None:
    for query in ("{ __typename }", "{", '{ namespace(name: "-") { name } }', "mutation { nothing }"):
        await api.post(query)
    await api.http.get("/graphql", params={"query": "mutation { __typename }"})
    operations = "omnirelay_operations_total"
    assert await counted(api, operations, type="query", outcome="ok") == 1
    assert await counted(api, operations, type="query", outcome="errors") == 1
    assert await counted(api, operations, type="unreadable", outcome="errors") == 1
    assert await counted(api, operations, type="mutation", outcome="errors") == 2
    assert await counted(api, "omnirelay_operation_seconds_count", type="query") == 2


async def test_each_application_counts_for_itself(api: Api, mesh: Mesh) -> None:
    await api.post("{ __typename }")
    async with api_of(create_app(services_of(mesh.store, mesh.writer, _FeedBehind()))) as other:
        assert await counted(other, "omnirelay_operations_total", type="query", outcome="ok") == 0


async def _down(*_: Any) -> NoReturn:
    raise StoreUnavailable("host=10.0.0.7 user=mesh")


async def _silent(*_: Any) -> None:
    await asyncio.Event().wait()
