"""`make upgrade-check`: the last release serves while this program upgrades the database under it and starts beside it.

The release is built from the history of this clone, into an environment of its own in a temporary folder. If the new
schema serves it, it must go on; if not, each of its writes must be refused from then on, with nothing written. What was
acknowledged must be in history, and the audit log without a finding. The exit code is 1 if one of these does not hold,
2 if it could not be found out.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import venv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx2
from rich.console import Console

import migrations
from graph.embedded_postgres.server import start_embedded_postgres
from persistence.errors import StoreError

LAST_RELEASE: Final = "d881040"
"""The newest commit whose schema has no list of the programs that it serves. From the next release on: its tag."""

ROOT: Final = Path(__file__).parents[2]
WRITES: Final = 30
"""Before the upgrade, and after it."""
TIMEOUT_SECONDS: Final = 60.0
NAMESPACE: Final = "orders"
PLANNED: Final = "billing"
"""A namespace of its own for the plan, so that no other write makes it stale."""
WRITTEN: Final = frozenset(
    {"ShardsChanged", "NamespaceConfigured", "NodeChanged", "PlanProposed", "PlanChanged", "PlanApplied"}
)
REFUSALS: Final = frozenset({"refusals", "refusal_head"})
CHANGE: Final = {"actor": "ops", "reason": "a release is checked"}


class NotCheckable(Exception):
    """It could not be found out; the message is one line."""


@dataclass(frozen=True)
class Program:
    """An installed version: its interpreter, and its GraphQL operations."""

    python: Path
    operations: Path
    folder: Path
    """Where it is run, so that no other version is found there."""

    def command(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own program
            self._command(*arguments), cwd=self.folder, capture_output=True, text=True, check=False
        )

    def newest(self) -> str:
        """The revision that it needs."""
        script = "import migrations; print(migrations.newest())"
        command = [str(self.python), "-I", "-c", script]
        found = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)  # noqa: S603 - same
        return found.stdout.strip()

    @contextmanager
    def serving(self, url: str) -> Iterator[Api]:
        options = ("--port", "0", "--no-demo", "--log-level", "error", "--database-url", url)
        with (
            (self.folder / "server.log").open("a") as log,
            subprocess.Popen(  # noqa: S603 - same
                self._command("serve", *options), cwd=self.folder, stdout=subprocess.PIPE, stderr=log, text=True
            ) as process,
            httpx2.Client(timeout=TIMEOUT_SECONDS) as http,
        ):
            try:
                assert process.stdout is not None
                found = re.search(r"http://\S+:\d+", process.stdout.readline())
                if found is None:
                    raise NotCheckable(f"a server did not start: {(self.folder / 'server.log').read_text()[-500:]}")
                yield Api(http, found[0], self.operations)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait()

    def _command(self, *arguments: object) -> list[str]:
        return [str(self.python), "-I", "-c", "from graph.cli import main; main()", *map(str, arguments)]


@dataclass(frozen=True)
class Api:
    http: httpx2.Client
    url: str
    operations: Path

    def ask(self, name: str, /, **variables: Any) -> Mapping[str, Any]:
        """What the one field answers with; `{"__typename": code}` where it is an error."""
        query = (self.operations / f"{name}.graphql").read_text()
        answer = self.http.post(f"{self.url}/graphql", json={"query": query, "variables": variables}).json()
        if "errors" in answer:
            return {"__typename": answer["errors"][0].get("extensions", {}).get("code", "INTERNAL")}
        (value,) = answer["data"].values()
        return dict(value)

    def change(self, name: str, /, **given: Any) -> Mapping[str, Any]:
        return self.ask(name, input={**given, "change": CHANGE})

    def ready(self) -> int:
        return self.http.get(f"{self.url}/readyz").status_code


@dataclass
class Writer:
    """Changes one shard again and again, at the version that it last saw, until it is stopped."""

    api: Api
    shard_id: str
    version: int = 1
    acknowledged: list[int] = field(default_factory=list)
    """Versions."""
    refused: Counter[str] = field(default_factory=Counter)
    upgraded: threading.Event = field(default_factory=threading.Event)
    late: int = 0
    """Acknowledged, of those begun after the upgrade."""
    progress: threading.Condition = field(default_factory=threading.Condition)
    _stopped: bool = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        thread = threading.Thread(target=self._write, name=self.shard_id)
        thread.start()
        try:
            yield
        finally:
            self._stopped = True
            thread.join()

    def wait_for(self, writes: int) -> None:
        """So many answers more, of whichever kind."""
        with self.progress:
            wanted = self._answers + writes
            if not self.progress.wait_for(lambda: self._answers >= wanted, TIMEOUT_SECONDS):
                raise NotCheckable(f"the writer of {self.shard_id} got no further in {TIMEOUT_SECONDS:.0f} s")

    @property
    def _answers(self) -> int:
        return len(self.acknowledged) + self.refused.total()

    def _write(self) -> None:
        while not self._stopped:
            after_the_upgrade = self.upgraded.is_set()
            answer = self.api.change("UpdateShard", **self.next_update())
            with self.progress:
                if answer["__typename"] == "ShardsChanged":
                    self.version = int(answer["shards"][0]["version"])
                    self.acknowledged.append(self.version)
                    self.late += after_the_upgrade
                else:
                    self.refused[answer["__typename"]] += 1
                self.progress.notify_all()

    def next_update(self) -> dict[str, Any]:
        expected = {"namespace": NAMESPACE, "shardId": self.shard_id, "expectedVersion": str(self.version)}
        return expected | {"capacityHint": float(self.version)}


def build(release: str, folder: Path) -> Program:
    """Raises NotCheckable where the clone has no such commit, or it cannot be installed."""
    git = ["git", "-C", str(ROOT)]
    try:
        found = subprocess.run([*git, "cat-file", "-e", f"{release}^{{commit}}"], capture_output=True, check=False)  # noqa: S603 - git
    except OSError as error:
        raise NotCheckable(f"git is needed to build the last release: {error}") from error
    if found.returncode:
        raise NotCheckable(
            f"{release} is not in this clone: fetch its history (git fetch --unshallow --tags), "
            "or name a release that is (ARGS='--release TAG')"
        )
    archive = subprocess.run([*git, "archive", f"{release}^{{commit}}"], capture_output=True, check=True).stdout  # noqa: S603 - same
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder / "source", filter="data")
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    source, wheels = folder / "source", folder / "wheels"
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    for arguments in (
        ["install", "--require-hashes", "--no-deps", "-r", str(source / "requirements.lock")],
        ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source)],
        ["install", "--no-deps", "--no-index", "--find-links", str(wheels), "omnirelay-shards"],
    ):
        installing = subprocess.run([*pip, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - pip
        if installing.returncode:
            *_, last = installing.stderr.strip().splitlines() or [f"pip ended with {installing.returncode}"]
            raise NotCheckable(f"{release} cannot be installed: {last}")
    return Program(python, documents(source), folder)


def documents(source: Path) -> Path:
    """Where a checkout has its self-contained documents. Before there were fragments/, operations/ were such."""
    built = source / "frontend-queries" / "documents"
    return built if built.is_dir() else source / "frontend-queries" / "operations"


def fill(api: Api) -> str:
    """A mesh with what each kind of write needs. The id of a plan."""
    every_move = {"moveBudgetPercent": 100}
    names = (NAMESPACE, PLANNED)
    made = [
        *(
            api.change("ConfigureNamespace", name=name, strategy="rendezvous", expectedVersion="0", policy=every_move)
            for name in names
        ),
        *(api.change("RegisterNode", nodeId=node_id) for node_id in ("node-1", "node-2")),
        api.change("CreateShards", shards=[new_shard(f"s{number}", name) for name in names for number in range(10)]),
        api.change("PlanRebalance", namespaces=[PLANNED]),
    ]
    if any(answer["__typename"] not in WRITTEN for answer in made):
        raise NotCheckable(f"the release does not take what is written here: {made}")
    return str(made[-1]["plan"]["id"])


def new_shard(shard_id: str, namespace: str) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "shardId": shard_id,
        "ownerNodeId": "node-gone",
        "antiAffinityGroup": f"group-of-{shard_id}",
    }


def write_in_every_way(api: Api, plan: str) -> Mapping[str, str]:
    """Each mutation that there is. What each was answered with."""
    shard = {"namespace": NAMESPACE, "shardId": "s1", "expectedVersion": "1"}
    asked: Mapping[str, dict[str, Any]] = {
        "ApprovePlan": {"planId": plan},
        "ApplyPlan": {"planId": plan},
        "UpdateShard": {**shard, "leaderId": "node-late"},
        "UpdateShards": {"shards": [{**shard, "shardId": "s3", "leaderId": "node-late"}]},
        "DeleteShards": {"shards": [{**shard, "shardId": "s4"}]},
        "CreateShards": {"shards": [new_shard("late", NAMESPACE)]},
        "ConfigureNamespace": {"name": NAMESPACE, "strategy": "ring", "expectedVersion": "1"},
        "RegisterNode": {"nodeId": "node-late"},
        "UpdateNode": {"nodeId": "node-1", "expectedVersion": "1", "weight": 3},
        "DrainNode": {"nodeId": "node-2", "expectedVersion": "1"},
        "PlanRebalance": {"namespaces": [NAMESPACE, PLANNED]},
        "RollbackChange": {"changeId": "7"},
        "RejectPlan": {"planId": plan},
        "StopPlan": {"planId": plan},
    }
    return {name: api.change(name, **given)["__typename"] for name, given in asked.items()}


async def _tables(url: str) -> dict[str, str]:
    """A digest of all rows of each table."""
    connection = await asyncpg.connect(url)
    try:
        names = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        )
        return {
            name: await connection.fetchval(f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {name} AS t")  # noqa: S608 - of the catalog
            for (name,) in names
        }
    finally:
        await connection.close()


async def _served(url: str) -> Sequence[str]:
    return (await migrations.status(url)).serves


async def _versions(url: str, shard_id: str) -> list[int]:
    """Of all rows of history of a shard, in order, but that of its creation."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT version FROM shard_history WHERE namespace = $1 AND shard_id = $2 AND kind = 'UPDATED'"
            " AND current->>'capacityHint' IS NOT NULL ORDER BY revision",
            NAMESPACE,
            shard_id,
        )
        return [row["version"] for row in rows]
    finally:
        await connection.close()


def check(old: Program, new: Program, url: str, console: Console) -> list[str]:
    """What does not hold, a message each."""
    upgrading = old.command("db", "upgrade", "--database-url", url)
    if upgrading.returncode:
        raise NotCheckable(f"the release cannot make its schema: {upgrading.stderr.strip()}")
    with old.serving(url) as before:
        plan = fill(before)
        writer = Writer(before, "s0")
        with ExitStack() as stack:
            stack.enter_context(writer.writing())
            writer.wait_for(WRITES)
            if writer.refused:
                raise NotCheckable(f"the release does not write in its own schema: {dict(writer.refused)}")
            upgraded = new.command("db", "upgrade", "--database-url", url)
            if upgraded.returncode:
                return [f"db upgrade under a server that writes ended with {upgraded.returncode}: {upgraded.stderr}"]
            writer.upgraded.set()
            problems = beside(stack, writer, new, url, console)
        if old.newest() in asyncio.run(_served(url)):
            if writer.refused or before.ready() != httpx2.codes.OK:
                problems.append(f"the schema serves the release, which does not go on: {dict(writer.refused)}")
        else:
            problems += fenced_off(before, plan, url, writer.late, console)
    with new.serving(url) as after:
        problems += taken(after, plan, console)
    if writer.acknowledged != asyncio.run(_versions(url, writer.shard_id)):
        problems.append("history is not what the release acknowledged")
    audited = new.command("mesh", "audit", "verify", "--database-url", url)
    if audited.returncode:
        problems.append(f"audit verify ended with {audited.returncode}: {audited.stdout}{audited.stderr}")
    return problems


def beside(old: ExitStack, writer: Writer, new: Program, url: str, console: Console) -> list[str]:
    """This program serves while the release still tries to write, which it is stopped from in the end."""
    problems: list[str] = []
    with new.serving(url) as api:
        other = Writer(api, "s2")
        with other.writing():
            other.wait_for(WRITES)
            writer.wait_for(WRITES)
        old.close()
        if other.refused:
            problems.append(f"the new server refuses to write: {dict(other.refused)}")
        if other.acknowledged != asyncio.run(_versions(url, other.shard_id)):
            problems.append("history is not what the new server acknowledged")
        if api.ready() != httpx2.codes.OK:
            problems.append("the new server is not ready")
    console.print(
        f"the release wrote {len(writer.acknowledged)} times, {writer.late} of them after the upgrade, and was refused "
        f"with {dict(writer.refused)}; this program beside it wrote {len(other.acknowledged)} times"
    )
    return problems


def fenced_off(old: Api, plan: str, url: str, late: int, console: Console) -> list[str]:
    """Of a release that the schema does not serve: nothing of it is written any more.

    But that something was refused: so it says in a log of its own, in the form that both programs read.
    """
    problems = [f"the release wrote {late} times to a schema that does not serve it"] if late else []
    tables = asyncio.run(_tables(url))
    answers = write_in_every_way(old, plan)
    console.print(f"it answers each kind of write with {dict(Counter(answers.values()))}")
    problems += [f"{name} was answered with {said}" for name, said in answers.items() if said in WRITTEN]
    changed = {name for name, digest in asyncio.run(_tables(url)).items() if digest != tables.get(name)} - REFUSALS
    if changed:
        problems.append(f"its refused writes changed {', '.join(sorted(changed))}")
    return problems


def taken(new: Api, plan: str, console: Console) -> list[str]:
    """The same of this program: what was refused before is in order, and not refused for itself."""
    answers = write_in_every_way(new, plan)
    console.print(f"this program answers them with {dict(Counter(answers.values()))}")
    return [f"this program answers {name} with {said}" for name, said in answers.items() if said.isupper()]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make upgrade-check", description=__doc__)
    parser.add_argument("--release", default=LAST_RELEASE, help="tag or commit (default: %(default)s)")
    release = parser.parse_args().release
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        with tempfile.TemporaryDirectory(prefix="omnirelay-upgrade-") as temporary, ExitStack() as stack:
            folder = Path(temporary)
            console.print(f"building {release}")
            old = build(release, folder)
            (folder / "new").mkdir()
            new = Program(Path(sys.executable), documents(ROOT), folder / "new")
            server = start_embedded_postgres(folder / "postgresql", settings={"fsync": "off"})
            stack.callback(server.stop)
            problems = check(old, new, server.url, console)
    except (NotCheckable, StoreError) as error:
        console.print(f"not checked: {error}", style="red", markup=False)
        return 2
    for problem in problems:
        console.print(problem, style="red", markup=False)
    console.print(f"{len(problems)} promises were broken" if problems else "every promise was kept")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
