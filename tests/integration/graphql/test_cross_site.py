"""A page of another site can send a browser of an operator here by a link or an image: nothing is executed."""

from __future__ import annotations

import json

import pytest

from tests.support.graphql_api import Api

HEAD = {"query": "{ head { revision } }"}
CROSS = {"sec-fetch-site": "cross-site"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "accept", ["application/json", "application/graphql-response+json", "text/html", "text/event-stream", "*/*"]
)
async def test_nothing_is_executed_by_get(api: Api, method: str, accept: str) -> None:
    answer = await api.http.request(method, "/graphql", params=HEAD, headers={**CROSS, "accept": accept})
    assert answer.status_code == 403
    assert answer.headers["cache-control"] == "no-store"
    if method == "GET":
        (error,) = answer.json()["errors"]
        assert error["extensions"]["code"] == "CROSS_SITE"
        assert "data" not in answer.json()
    metrics = (await api.http.get("/metrics")).text
    assert 'omnirelay_errors_total{code="CROSS_SITE"} 1.0' in metrics
    assert "omnirelay_operations_total{" not in metrics


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none", None])
async def test_ones_own_pages_and_other_clients_are_answered(api: Api, site: str | None) -> None:
    headers = {} if site is None else {"sec-fetch-site": site}
    answer = await api.http.get("/graphql", params=HEAD, headers=headers)
    assert answer.json() == {"data": {"head": {"revision": "0"}}}


async def test_a_link_to_graphiql_is_followed_for_it_executes_nothing(api: Api) -> None:
    answer = await api.http.get("/graphql", headers={**CROSS, "accept": "text/html"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_post_that_needs_no_permission_of_the_browser_is_refused_by_its_type(
    api: Api, content_type: str
) -> None:
    """The short way in reads none either. What is JSON a browser sends to another site after asking it alone."""
    answer = await api.http.post("/graphql", content=json.dumps(HEAD), headers={**CROSS, "content-type": content_type})
    assert answer.status_code == 415
    preflight = await api.http.options("/graphql", headers={**CROSS, "access-control-request-method": "POST"})
    assert preflight.status_code == 405
    assert "access-control-allow-origin" not in preflight.headers
