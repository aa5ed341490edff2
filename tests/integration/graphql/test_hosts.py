"""A page of somebody else's whose name was made to resolve to this machine may not use the browser to get in."""

from __future__ import annotations

import httpx2
import pytest

from graph.app import create_app
from graph.settings import load_settings
from persistence.feed import live_feed
from persistence.memory import memory_store
from persistence.write import Writer
from tests.support.graphql_api import TestServices


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("LOCALHOST:1", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("", 400),
    ],
)
async def test_only_requests_addressed_to_this_machine_are_answered(host: str, status: int) -> None:
    store = memory_store()
    async with live_feed(store.stream, store.signal) as feed:
        services = TestServices(store, Writer(store.unit_of_work), feed)
        app = create_app(services, allowed_hosts=load_settings(None, {}).allowed_hosts)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://x") as http:
            answer = await http.get("/healthz", headers={"host": host})
            assert answer.status_code == status
