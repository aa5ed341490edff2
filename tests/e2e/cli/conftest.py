"""A running server, and a command line with its address."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from unittest import mock

import pytest

from graph.cli.errors import Exit
from graph.cli.progress import StopFlag
from persistence.commands.nodes import RegisterNode
from persistence.model.outcomes import NodeChanged
from tests.support import suggestions
from tests.support.command_line import Answer, omnirelay, started
from tests.support.mesh import Mesh, because, new
from tests.support.mesh_server import MeshServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MeshServer]:
    with MeshServer() as server:
        monkeypatch.setenv("OMNIRELAY_SERVER", server.url)
        monkeypatch.setenv("OMNIRELAY_ACTOR", "ops")
        suggestions.PRINTED.clear()
        yield server
        _run_what_was_suggested()


def _run_what_was_suggested() -> None:
    """Each command that was printed to be typed next, verbatim. What was done since may stand in its way; but it is
    neither wrong usage nor a defect. Where one would wait, Ctrl-C comes; one that follows is stopped once it does."""
    printed = [shlex.split(command) for command in dict.fromkeys(suggestions.PRINTED)]
    follow = [words for words in printed if "watch" in words]
    for words in [*(words for words in printed if "watch" not in words), *follow[-1:]]:  # those differ in the cursor
        answer = _followed(words) if "watch" in words else _interrupted(words)
        decided = answer.exit in (Exit.OK, Exit.NO, Exit.REFUSED, Exit.NOT_FOUND, Exit.INTERRUPTED)
        assert decided or answer.err.startswith("Refused: "), (words, answer)


def _interrupted(words: Sequence[str]) -> Answer:
    """Between two waves, or where it waits for what is in the way: `StopFlag` is what both wait with."""

    def wait(flag: StopFlag, seconds: float) -> bool:
        return seconds > 0 or flag.is_set()

    with mock.patch.object(StopFlag, "wait", wait):
        return omnirelay(*words)


def _followed(words: Sequence[str]) -> Answer:
    with started(*words) as watch:
        with suppress(AssertionError):  # it may have ended before
            watch.message_with("Watching")
        watch.send(signal.SIGINT)
        return watch.finish()


@pytest.fixture
def orders(server: MeshServer) -> MeshServer:
    """The server, with three shards of `orders` in one change: s1 and s2 on node-1, s3 on node-2."""

    async def fill(mesh: Mesh) -> None:
        await mesh.configure("orders")
        owners = {"s1": "node-1", "s2": "node-1", "s3": "node-2"}
        await mesh.create(*(new(shard, owner, namespace="orders") for shard, owner in owners.items()))

    server.run(fill(server.mesh))
    return server


NODES = {"node-1": ("eu", "a"), "node-2": ("eu", "b"), "node-3": ("us", "a")}


@pytest.fixture
def placed(server: MeshServer) -> MeshServer:
    """The server, with three nodes, and thirty shards of `orders` that are all on node-1."""

    async def fill(mesh: Mesh) -> None:
        for node_id, (region, zone) in NODES.items():
            outcome = await mesh.execute(RegisterNode(node_id, because("more room"), region, zone))
            assert isinstance(outcome, NodeChanged), outcome
        await mesh.configure("orders")
        await mesh.create(*(new(f"s{number:02}", "node-1", namespace="orders") for number in range(30)))

    server.run(fill(server.mesh))
    return server
