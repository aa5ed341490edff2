"""What a server of several processes writes: every line of each of them is one object, and has what it is about."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from graph.auth.principal import Scope
from graph.operations import operation
from tests.support.command_line import Running, started
from tests.support.tokens import SECRET, bearer

LOOKUP = 'query Lookup { shard(namespace: "orders", shardId: "orders-007") { version } }'
MARK = "bWFya2Vk"


class Server:
    def __init__(self, process: Running) -> None:
        self.process = process
        self.url = ""
        self.read: list[Mapping[str, Any]] = []

    def until(self, message: str) -> Mapping[str, Any]:
        """The next line with this message. Every line on the way must be an object."""
        while True:
            line: Mapping[str, Any] = json.loads(self.process.message())
            assert {"time", "level", "logger", "message"} <= line.keys()
            self.read.append(line)
            if line["message"] == message:
                return line


@pytest.fixture(params=[1, 2])
def server(request: pytest.FixtureRequest, database_url: str) -> Iterator[Server]:
    environment = {"OMNIRELAY_AUTH_SECRET": SECRET.decode(), "OMNIRELAY_LOG_LEVEL": "debug"}
    form = "--workers", request.param, "--log-format", "json"
    options = "--port", 0, "--demo", *form, "--database-url", database_url
    with started("serve", *options, environment=environment) as process:
        server = Server(process)
        server.url = server.until("Ready")["url"]
        yield server
        process.send(signal.SIGTERM)
        ended = process.finish()
        assert ended.exit == 0
        assert ended.out == ""
        loggers = {json.loads(line)["logger"] for line in ended.err.splitlines()}
        assert not any("_Pool" in name for name in loggers), loggers
        assert MARK not in ended.err


def test_a_change_a_refusal_and_a_request_have_a_line_each_and_no_token_is_in_one(server: Server) -> None:
    headers = {"authorization": bearer(*Scope, sub="alice", jti=MARK), "x-request-id": "r1"}
    url = f"{server.url}/graphql"
    with httpx2.Client(headers=headers, timeout=60) as http:
        http.post(url, json={"query": LOOKUP})
        assert server.until("request")["operation"] == "Lookup"
        shard = http.post(url, json={"query": LOOKUP}).json()["data"]["shard"]
        given = {"namespace": "orders", "shardId": "orders-007", "ownerNodeId": "node-eu-2"}
        change = {"reason": "hot shard", "changeTicket": "CHG-2001"}
        variables = {"input": {**given, "expectedVersion": shard["version"], "change": change}}
        for _ in range(2):
            http.post(url, json={"query": operation("UpdateShard"), "variables": variables})
        made = server.until("change")
        assert (made["actor"], made["ticket"], made["request_id"]) == ("alice", "CHG-2001", "r1")
        refused = server.until("refusal")
        assert (refused["code"], refused["actor"]) == ("VersionConflict", "alice")
        # In one of the processes that plan: what it logs is in the same form.
        planned = {"input": {"change": {"reason": "spread", "changeTicket": "CHG-2001"}}}
        http.post(url, json={"query": operation("PlanRebalance"), "variables": planned})
        http.post(url, json={"query": LOOKUP}, headers={"authorization": f"Bearer {MARK}.{MARK}.{MARK}"})
        while server.until("refusal").get("why") is None:
            pass
    assert not any(MARK in json.dumps(line) for line in server.read)


def test_the_mesh_is_counted_once_however_many_workers_there_are(server: Server) -> None:
    def shards() -> float:
        families = text_string_to_metric_families(httpx2.get(f"{server.url}/metrics").text)
        return sum(
            sample.value for family in families for sample in family.samples if sample.name == "omnirelay_shards"
        )

    headers = {"authorization": bearer(Scope.READ)}
    query = {"query": "{ shards(first: 1) { totalCount } }"}
    answer = httpx2.post(f"{server.url}/graphql", json=query, headers=headers).json()
    total = answer["data"]["shards"]["totalCount"]
    while shards() == 0:  # until the tables are loaded
        pass
    assert shards() == total
