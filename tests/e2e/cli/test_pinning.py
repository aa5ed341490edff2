"""pin and unpin, and how a pin is reported to a later change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from graph.cli.errors import Exit
from persistence.commands.nodes import RegisterNode
from tests.support.command_line import Answer, omnirelay
from tests.support.mesh import CHANGE
from tests.support.mesh_server import MeshServer

ALICE = ("--actor", "alice", "--reason", "month-end audit")


def shards(command: str, shard_id: str, version: int, *options: object) -> Answer:
    return omnirelay("mesh", "shards", command, "orders", shard_id, "--expected-version", version, *options)


def test_a_pinned_shard_stays_until_it_is_unpinned(orders: MeshServer) -> None:
    orders.run(orders.mesh.execute(RegisterNode("node-1", CHANGE)))
    answer = shards("pin", "s1", 1, "--until", "2h", *ALICE)
    assert (answer.exit, answer.err) == (Exit.OK, "")
    assert "by alice: month-end audit, until " in answer.out
    pinned = orders.run(orders.mesh.shard("s1", "orders"))
    assert pinned is not None
    assert pinned.pinned is not None
    assert pinned.pinned.until is not None
    left = pinned.pinned.until - datetime.now(UTC)
    assert timedelta(hours=1, minutes=55) < left <= timedelta(hours=2)
    refused = shards("set", "s1", 2, "--owner", "node-2", "--reason", "hot")
    assert (refused.exit, refused.out) == (Exit.REFUSED, "")
    told = refused.err.splitlines()[0]
    assert told.startswith("Refused: PIN of orders/s1: a move from node-1 to node-2; allowed: staying on node-1 until ")
    assert told.endswith("as alice pinned it (month-end audit). Unpin it first, or force it with a reason.")
    assert shards("unpin", "s1", 2, *ALICE, "--json").document["shard"]["pinned"] is None
    assert shards("set", "s1", 3, "--owner", "node-2", "--reason", "hot").exit == Exit.OK


@pytest.mark.usefixtures("orders")
def test_a_pin_that_contradicts_the_mesh_is_invalid() -> None:
    answer = shards("pin", "s1", 1, *ALICE)
    assert (answer.exit, answer.out) == (Exit.INVALID, "")
    assert "pin would keep the shard on node-1, which is not registered" in answer.err
    assert shards("pin", "s1", 1, "--until", "2001-01-01T00:00:00Z", *ALICE).exit == Exit.INVALID
    assert "is not a time" in shards("pin", "s1", 1, "--until", "soon", *ALICE).err


def test_a_stale_version_names_the_command_to_try_again_with(orders: MeshServer) -> None:
    orders.run(orders.mesh.execute(RegisterNode("node-1", CHANGE)))
    shards("pin", "s1", 1, *ALICE)
    answer = shards("unpin", "s1", 1, *ALICE)
    assert answer.exit == Exit.REFUSED
    assert "omnirelay mesh shards unpin orders s1 --expected-version 2" in answer.err
