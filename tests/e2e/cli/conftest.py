"""A server that is there, and a command line that knows where."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.mesh import Mesh, new
from tests.support.mesh_server import MeshServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MeshServer]:
    with MeshServer() as server:
        monkeypatch.setenv("OMNIRELAY_SERVER", server.url)
        monkeypatch.setenv("OMNIRELAY_ACTOR", "ops")
        yield server


@pytest.fixture
def orders(server: MeshServer) -> MeshServer:
    """The server, with three shards of `orders` in one change: s1 and s2 on node-1, s3 on node-2."""

    async def fill(mesh: Mesh) -> None:
        await mesh.configure("orders")
        owners = {"s1": "node-1", "s2": "node-1", "s3": "node-2"}
        await mesh.create(*(new(shard, owner, namespace="orders") for shard, owner in owners.items()))

    server.run(fill(server.mesh))
    return server
