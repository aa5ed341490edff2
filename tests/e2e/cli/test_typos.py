"""A name that is typed wrong is an error with the name that may have been meant, and never an answer of nothing."""

from __future__ import annotations

import httpx2
import pytest

from graph.cli.errors import Exit
from tests.support.command_line import omnirelay, started
from tests.support.mesh import new
from tests.support.mesh_server import MeshServer

UNKNOWN = {
    "shards list --namespace ordrs": "orders",
    "shards list --owner node-11": "node-1",
    "shards list --owner node-1 --owner node-33": "node-3",
    "shards list --owner node-11 --as-of 1": "node-1",
    "shards history ordrs": "orders",
    "shards history ordrs s01": "orders",
    "shards history orders s011": "s01",
    "shards history orders s011 --actor ops": "s01",
    "shards history --owner node-11 --limit 1": "node-1",
    "shards diff 0 --namespace ordrs --exit-code": "orders",
    "shards diff 0 1 --namespace ordrs": "orders",
    "shards export --namespace ordrs": "orders",
    "shards export --namespace ordrs --as-of 1": "orders",
    "shards watch --namespace ordrs": "orders",
    "shards watch --owner node-11 --limit 1": "node-1",
    "shards simulate --namespace ordrs": "orders",
    "shards simulate --without node-11": "node-1",
    "nodes get node-11": "node-1",
    "nodes drain node-11 --dry-run --reason r": "node-1",
    "nodes remove node-11 --reason r": "node-1",
    "rebalance list --namespace ordrs": "orders",
}

KNOWN = (
    "shards list --owner node-3",
    "shards list --owner node-1 --status DRAINING",
    "shards list --search nothing",
    "shards history orders s01 --actor nobody",
    "shards history --owner node-1 --actor nobody",
    "shards history --owner orphan",
    "shards list --owner orphan --as-of 1",
    "shards simulate --without node-3",
)


def test_an_unknown_name_is_not_found_with_the_nearest(placed: MeshServer) -> None:
    assert placed.url
    for command, nearest in UNKNOWN.items():
        answer = omnirelay("mesh", *command.split())
        assert (answer.exit, answer.out) == (Exit.NOT_FOUND, ""), command
        assert f"id you mean {nearest}?" in answer.err, (command, answer.err)


def test_a_name_that_there_is_may_match_nothing(placed: MeshServer) -> None:
    """An owner need not be registered: this one had a shard."""
    placed.run(placed.mesh.create(new("adopted", "orphan", namespace="orders")))
    shard = placed.run(placed.mesh.shard("adopted", "orders"))
    assert shard is not None
    placed.run(placed.mesh.delete(shard))
    for command in KNOWN:
        assert omnirelay("mesh", *command.split()).exit == Exit.OK, command


def test_a_range_that_ends_before_it_begins_is_refused(placed: MeshServer) -> None:
    for arguments in (("audit", "export"), ("audit", "check")):
        answer = omnirelay("mesh", *arguments, "--since", "1h", "--until", "2h", "--data-dir", "none")
        assert (answer.exit, answer.out) == (Exit.INVALID, "")
        assert "is not after --since" in answer.err
    assert omnirelay("mesh", "shards", "history", "--since", "2999-01-01T00:00:00Z").exit == Exit.INVALID
    for field in ("shardHistory", "changes", "refusals"):
        query = f'{{{field}(filter: {{since: "2026-01-02T00:00:00Z", until: "2026-01-01T00:00:00Z"}}) {{totalCount}}}}'
        (error,) = httpx2.post(f"{placed.url}/graphql", json={"query": query}).json()["errors"]
        assert error["extensions"]["code"] == "INVALID_ARGUMENT"
        assert error["message"].startswith("filter.until: must be after since")


@pytest.mark.parametrize("existing", [True, False], ids=["there already", "created later"])
def test_a_namespace_can_be_waited_for(server: MeshServer, *, existing: bool) -> None:
    async def create() -> None:
        await server.mesh.configure("later")
        await server.mesh.create(new("s1", "node-1", namespace="later"))

    if existing:
        server.run(server.mesh.configure("later"))
    options = ("--namespace", "later", "--owner", "node-1", "--allow-missing", "--limit", 1, "--json")
    with started("mesh", "shards", "watch", *options) as watch:
        watch.message_with("Watching" if existing else "There is no namespace later yet")
        server.run(server.mesh.create(new("s1", "node-1", namespace="later")) if existing else create())
        assert '"shardId":"s1"' in watch.line()
        assert watch.finish().exit == Exit.OK
