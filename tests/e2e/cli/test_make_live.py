"""`make live`: the diff that it waits for; and where its write is refused, why, with no watcher left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from persistence.model.policy import NamespacePolicy
from tests.support.fork_server import ROOT
from tests.support.mesh import Mesh, new
from tests.support.mesh_server import MeshServer

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")

_LONGEST: Final = 60
"""Seconds. What is left behind holds the outputs open, and so is waited for."""


def live(server: MeshServer) -> subprocess.CompletedProcess[str]:
    """With the environment as it is: whether it is to be made anew is another target's business."""
    target = ("--old-file=.venv/installed", f"BIN={Path(sys.executable).parent}", "live")
    return subprocess.run(  # noqa: S603 - our own Makefile
        ["make", "--no-print-directory", *target],  # noqa: S607 - found above
        cwd=ROOT,
        env={**os.environ, "OMNIRELAY_SERVER": server.url, "OMNIRELAY_ACTOR": "ops", "MAKEFLAGS": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LONGEST,
        check=False,
    )


def test_the_diff_of_the_move_arrives(server: MeshServer) -> None:
    fill(server)
    done = live(server)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "orders/orders-007  node-eu-1 -> node-eu-2  ops  [CHG-2001]  see a live diff" in line


def test_it_ends_with_the_reason_where_its_write_is_refused(server: MeshServer) -> None:
    fill(server, NamespacePolicy(ticket_pattern="OPS-[0-9]+"))
    done = live(server)
    assert done.returncode != 0
    assert done.stdout == ""
    assert (
        "Refused: TICKET_PATTERN of orders: ticket 'CHG-2001'; allowed: a ticket that matches OPS-[0-9]+."
        in done.stderr
    )


def test_it_ends_with_the_reason_where_there_is_nothing_to_move_or_to_watch(server: MeshServer) -> None:
    missing = live(server)
    assert (missing.returncode != 0, missing.stdout) == (True, "")
    assert "namespace orders" in missing.stderr
    server.run(server.mesh.configure("orders"))
    without = live(server)
    assert (without.returncode != 0, without.stdout) == (True, "")
    assert "There is no shard orders-007 in namespace orders." in without.stderr


def fill(server: MeshServer, policy: NamespacePolicy | None = None) -> None:
    async def act(mesh: Mesh) -> None:
        await mesh.configure("orders", policy=policy or NamespacePolicy())
        await mesh.create(new("orders-007", "node-eu-1", namespace="orders"))

    server.run(act(server.mesh))
