"""Prometheus' rules and Grafana's dashboard: `make deploy-check`. Debian: apt-get install prometheus.

promtool holds the rules to tests/deploy/rules.test.yaml. Every query of the dashboard, and of docs/runbooks.md, is put
to a Prometheus that scrapes a server, of one process or more, of which everything was asked that is counted.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import pytest
import yaml  # type: ignore[import-untyped]  # schemathesis brings it, without its types

from graph.operations import operation
from tests.support.own_program import SECONDS, free_port, program, running
from tests.support.real_server import RealServer, real_server

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy" / "prometheus" / "omnirelay.rules.yaml"
CONFIGURATION: Final = RULES.with_name("prometheus.yaml")
RULE_TESTS: Final = Path(__file__).with_name("rules.test.yaml")
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "omnirelay.json"
OF_WORKERS: Final = ("omnirelay_workers", "omnirelay_connections_open")
"""A server of one process has none."""
RUNBOOKS: Final = ROOT / "docs" / "runbooks.md"
RARE: Final = (
    "omnirelay_operation_wait_seconds",
    "omnirelay_operations_overloaded_total",
    "omnirelay_operations_abandoned_total",
    "omnirelay_workers_ended_total",
    "TRANSIENT_CONFLICT",
)
"""Waiting, being refused, hanging up and dying, each of which takes what a test cannot bring about for certain."""


def promtool(*arguments: str | Path, given: str | None = None) -> str:
    """What it prints; it must find nothing wrong."""
    found = program("promtool")
    if found is None:
        pytest.skip("cannot run: prometheus is not installed")
    ended = subprocess.run(  # noqa: S603 - found
        [found, *map(str, arguments)], input=given, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_the_configuration_and_its_rules_are_sound() -> None:
    assert "SUCCESS" in promtool("check", "config", CONFIGURATION)
    promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)


def test_alerts_fire_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS)


@dataclass(frozen=True)
class Watched:
    server: RealServer
    prometheus: httpx2.Client
    workers: int

    def value(self, expression: str) -> Sequence[Mapping[str, Any]]:
        """The samples of an instant vector."""
        answer = self.prometheus.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        assert answer["data"]["resultType"] == "vector", expression
        samples: Sequence[Mapping[str, Any]] = answer["data"]["result"]
        return samples


@contextmanager
def watching(server: RealServer, folder: Path) -> Iterator[httpx2.Client]:
    """A Prometheus as it is configured, but at another address, and in a hurry."""
    configuration = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = configuration["scrape_configs"]
    job["static_configs"] = [{"targets": [urlsplit(server.url).netloc]}]
    shutil.copy(RULES, folder)
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    port = free_port()
    command = (
        program("prometheus") or "prometheus",
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    with (
        running(folder, *command, port=port),
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS, trust_env=False) as client,
    ):
        yield client


def prepare(server: RealServer) -> None:
    """Two namespaces, one of which requires tickets, and a node."""
    for name, policy in (("orders", {}), ("strict", {"ticketRequired": True})):
        server.change(
            "ConfigureNamespace",
            "NamespaceConfigured",
            name=name,
            strategy="rendezvous",
            expectedVersion="0",
            policy=policy,
        )
    server.change("RegisterNode", "NodeChanged", nodeId="node-1", zone="a", region="eu")


def ask_everything(server: RealServer, turn: int) -> None:
    """Each kind of operation and of its ends, so that every counter counts."""
    shards = [
        {"namespace": "orders", "shardId": f"{turn}-{owner}", "ownerNodeId": owner} for owner in ("node-1", "gone")
    ]
    server.change("CreateShards", "ShardsChanged", shards=shards)
    server.change("UpdateShard", "VersionConflict", **shards[0], expectedVersion="9")
    server.change("CreateShards", "PolicyViolation", shards=[{**shards[0], "namespace": "strict"}])
    key = {"namespace": "orders", "shardId": shards[0]["shardId"]}
    lookup = {"query": 'query Lookup($id: String!) { shard(namespace: "orders", shardId: $id) { version } }'}
    for _ in range(3):
        server.http.post(f"{server.url}/graphql", json={**lookup, "variables": {"id": key["shardId"]}})
    for _ in range(8):  # of several workers, each remembers its own answers
        given = {"query": lookup["query"], "variables": json.dumps({"id": key["shardId"]})}
        answer = server.http.get(f"{server.url}/graphql", params=given)
        tag = {"if-none-match": answer.headers["etag"]}
        assert server.http.get(f"{server.url}/graphql", params=given, headers=tag).status_code == 304
    server.ask("ListShards", filter={"namespace": "orders"})
    server.ask("PlanRebalance", input={"change": {"actor": "ops", "reason": "a test asks for it"}})
    server.query("query Fields { __schema { types { name } } }")
    pages = " ".join(f"p{number}: shards(first: 500) {{ nodes {{ version }} }}" for number in range(21))
    for document in ("{ nothing }", f"{{ {pages} }}"):
        answer = server.http.post(f"{server.url}/graphql", json={"query": document})
        assert answer.json()["errors"]


def scraped(watched: Watched, expression: str, enough: Callable[[float], bool]) -> None:
    """Wait until each sample of the expression is enough, and there is one."""
    deadline = time.monotonic() + SECONDS
    while not ((samples := watched.value(expression)) and all(enough(float(each["value"][1])) for each in samples)):
        assert time.monotonic() < deadline, (expression, samples)


@pytest.fixture(scope="module", params=[1, 2])
def watched(request: pytest.FixtureRequest, module_database_url: str) -> Iterator[Watched]:
    if program("prometheus") is None:
        pytest.skip("cannot run: prometheus is not installed")
    folder = Path(tempfile.mkdtemp(prefix="prometheus-"))
    follow = {"query": operation("WatchShards"), "variables": {"namespace": "orders"}}
    options = "--workers", request.param
    try:
        with (
            real_server(module_database_url, *options, environment={"OMNIRELAY_PLAN_PROCESSES": "1"}) as server,
            watching(server, folder) as prometheus,
        ):
            watched = Watched(server, prometheus, request.param)
            if request.param == 1:
                prepare(server)
            with server.http.stream(
                "POST", f"{server.url}/graphql", json=follow, headers={"accept": "text/event-stream"}
            ) as stream:
                lines = stream.iter_lines()
                while '"caughtUp":true' not in next(lines):
                    pass
                ask_everything(server, 10 * request.param)
                scraped(watched, "count_over_time(omnirelay_conflicts_total[1m])", lambda scrapes: scrapes >= 2)
                ask_everything(server, 10 * request.param + 1)
                scraped(watched, "increase(omnirelay_conflicts_total[1m])", lambda more: more > 0)
                yield watched
    finally:
        shutil.rmtree(folder)


def queries() -> Iterator[tuple[str, str]]:
    """Titles and expressions, with what Grafana puts in for its variables."""
    values = {"$job": "omnirelay", "$instance": ".+", "$__rate_interval": "1m"}
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in values.items():
                expression = expression.replace(name, value)
            assert "$" not in expression
            yield panel["title"], expression
    for block in re.findall(r"^```promql\n(.+?)^```$", RUNBOOKS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for expression in block.splitlines():
            yield "docs/runbooks.md", expression


def test_every_query_of_the_dashboard_and_of_the_runbooks_has_an_answer(watched: Watched) -> None:
    without = RARE if watched.workers > 1 else (*RARE, *OF_WORKERS)
    empty = {}
    for title, expression in queries():
        samples = watched.value(expression)
        if all(sample["value"][1] == "NaN" for sample in samples):
            empty[expression] = title
    assert {
        expression: title for expression, title in empty.items() if not any(name in expression for name in without)
    } == {}


def test_every_rule_is_evaluated_and_none_fires_for_a_server_that_is_well(watched: Watched) -> None:
    groups = watched.prometheus.get("/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    written = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    assert len(rules) == sum(len(group["rules"]) for group in written)
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] == "err"} == {}
    states = {rule["name"]: rule["state"] for rule in rules if rule["type"] == "alerting"}
    assert {name for name, state in states.items() if state == "firing"} == set()
    assert states["OmnirelayOrphanedShards"] == "pending"


def test_what_is_exposed_keeps_to_the_conventions(watched: Watched) -> None:
    text = httpx2.get(f"{watched.server.url}/metrics", trust_env=False).text
    assert promtool("check", "metrics", given=text) == ""
    assert set(re.findall(r"^# TYPE (omnirelay_\w+) ", text, re.MULTILINE)) > {"omnirelay_errors_total"}
