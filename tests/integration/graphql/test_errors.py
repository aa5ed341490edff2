"""Errors that are not the client's: masked, logged once, and found again by the request id."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, NoReturn

import pytest

from graph.execution.services import Feed
from graph.http.app import create_app
from persistence.errors import (
    CommitUnknown,
    Compacted,
    Fenced,
    FutureRevision,
    Locked,
    LockHolder,
    Overloaded,
    SchemaOutOfDate,
    StoreUnavailable,
    TransientConflict,
    Unavailable,
)
from tests.support.graphql_api import Api, api_of, services_of
from tests.support.mesh import Mesh

DETAIL = "host=10.0.0.7 user=mesh"


@pytest.fixture
def failure() -> Exception:
    return ZeroDivisionError(DETAIL)


@pytest.fixture
def broken_store(mesh: Mesh, failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> NoReturn:
        await asyncio.sleep(0)
        raise failure

    monkeypatch.setattr(type(mesh.store.shards), "page", fail)
    monkeypatch.setattr(type(mesh.writer), "execute", fail)


QUERY = "{ shards { totalCount } }"
MUTATION = """mutation { deleteShards(input: {
  shards: [{ namespace: "billing", shardId: "1", expectedVersion: 1 }], change: { reason: "r", actor: "a" }
}) { __typename } }"""


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.usefixtures("broken_store")
@pytest.mark.parametrize("operation", [QUERY, MUTATION])
async def test_a_defect_is_masked_and_logged_once_under_the_request_id(
    api: Api, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    response = await api.post(operation, None, **{"x-request-id": "find-me"})
    assert DETAIL not in response.text
    (error,) = response.json()["errors"]
    assert error["message"] == "Internal error; report request id find-me."
    assert error["extensions"] == {"code": "INTERNAL", "requestId": "find-me"}
    (record,) = warnings(caplog)
    assert "find-me" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


@pytest.mark.usefixtures("broken_store")
@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (StoreUnavailable(DETAIL), "UNAVAILABLE"),
        (TransientConflict(DETAIL), "TRANSIENT_CONFLICT"),
        (Overloaded(DETAIL), "OVERLOADED"),
        (CommitUnknown(DETAIL), "COMMIT_UNKNOWN"),
        (Fenced(DETAIL), "FENCED"),
        (SchemaOutOfDate(DETAIL), "SCHEMA_OUT_OF_DATE"),
        (RecursionError(DETAIL), "INTERNAL"),
        (TimeoutError(DETAIL), "INTERNAL"),
    ],
)
async def test_the_weather_is_named_without_details(api: Api, code: str, caplog: pytest.LogCaptureFixture) -> None:
    error = await api.error(QUERY)
    assert error["code"] == code
    assert DETAIL not in str(error)
    (record,) = warnings(caplog)
    assert error["requestId"] in record.getMessage()


@pytest.mark.usefixtures("broken_store")
@pytest.mark.parametrize("failure", [Compacted(3, 9)])
async def test_a_compacted_position_names_the_oldest(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    error = await api.error(QUERY)
    assert (error["code"], error["requested"], error["oldest"]) == ("COMPACTED", "3", "9")
    assert warnings(caplog) == []


@pytest.mark.usefixtures("broken_store")
@pytest.mark.parametrize("failure", [FutureRevision(9, 3)])
async def test_a_revision_that_no_server_has_names_the_newest(api: Api) -> None:
    error = await api.error(QUERY)
    assert (error["code"], error["requested"], error["head"]) == ("FUTURE_REVISION", "9", "3")


@pytest.mark.usefixtures("broken_store")
@pytest.mark.parametrize("failure", [StoreUnavailable(DETAIL, reason) for reason in Unavailable])
async def test_why_the_store_is_unavailable_is_a_reason_for_programs_and_a_message(
    api: Api, failure: StoreUnavailable
) -> None:
    for operation in (QUERY, MUTATION):
        error = await api.error(operation)
        assert (error["code"], error["reason"]) == ("UNAVAILABLE", failure.reason)
        assert "nothing was written" in error["message"]
        assert DETAIL not in str(error)


@pytest.mark.usefixtures("broken_store")
@pytest.mark.parametrize("failure", [Overloaded(DETAIL, 2.5)])
async def test_a_busy_store_says_when_to_come_back(api: Api) -> None:
    response = await api.post(MUTATION)
    (error,) = response.json()["errors"]
    assert "nothing was written" in error["message"]
    assert error["extensions"]["retryAfter"] == 2.5
    assert response.headers["retry-after"] == "3"


@pytest.mark.usefixtures("broken_store")
@pytest.mark.parametrize(
    "failure",
    [Locked(["billing/s1"], [LockHolder(71, "psql", "idle in transaction", datetime(2026, 5, 4, tzinfo=UTC))])],
)
async def test_a_locked_row_is_named_with_the_session_that_holds_it(api: Api) -> None:
    response = await api.post(MUTATION)
    (error,) = response.json()["errors"]
    assert error["message"] == (
        "It is locked in the database: billing/s1, by process 71 (psql, idle in transaction, since "
        "2026-05-04T00:00:00+00:00); nothing was written. Try again after 'retryAfter' seconds; a session that was "
        "forgotten has to be ended."
    )
    held = {"pid": 71, "applicationName": "psql", "state": "idle in transaction", "since": "2026-05-04T00:00:00+00:00"}
    extensions = error["extensions"]
    assert (extensions["code"], extensions["rows"], extensions["holders"]) == ("LOCKED", ["billing/s1"], [held])
    assert response.headers["retry-after"] == "1"


async def test_what_fails_beside_graphql_is_masked_too(
    mesh: Mesh, feed: Feed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> NoReturn:
        raise ZeroDivisionError(DETAIL)

    monkeypatch.setattr("graph.http.endpoint.operation_of_url", fail)
    async with api_of(create_app(services_of(mesh.store, mesh.writer, feed))) as api:
        # By GET: a POST of this operation, which has a plan, is answered before.
        response = await api.http.get("/graphql", params={"query": QUERY}, headers={"x-request-id": "find-me"})
    assert response.status_code == 500
    assert response.headers["x-request-id"] == "find-me"
    (error,) = response.json()["errors"]
    assert error == {
        "message": "Internal error; report request id find-me.",
        "extensions": {"code": "INTERNAL"},
    }
    assert ["find-me" in record.getMessage() for record in warnings(caplog)] == [True]
