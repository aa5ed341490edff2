"""mesh audit: verify, export, check, as an auditor types them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest

from graph.cli.errors import Exit
from graph.server.composition import CountedProgress, export_audit
from persistence.audit.export import ExportFilter, ExportForm, Manifest, Write
from persistence.errors import TransientConflict
from persistence.postgres.store import open_store
from tests.support.audited_mesh import fill_audit_log
from tests.support.command_line import Answer, omnirelay
from tests.support.databases import Databases
from tests.support.fork_server import ROOT
from tests.support.planned_mesh import PlannedMesh


@pytest.fixture(scope="module")
def audited(module_database_url: str) -> str:
    async def fill() -> None:
        async with open_store(module_database_url) as store:
            mesh = PlannedMesh(store)
            await mesh.configure()
            await fill_audit_log(mesh, 2)

    asyncio.run(fill())
    return module_database_url


@pytest.fixture
def database(audited: str, databases: Databases) -> Iterator[str]:
    """A copy of this test's own."""
    with databases.copy(audited) as url:
        yield url


def audit(command: str, database: str, *arguments: object) -> Answer:
    return omnirelay("mesh", "audit", command, *arguments, "--database-url", database)


def tamper(database: str, sql: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(database)
        try:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(sql)
        finally:
            await connection.close()

    asyncio.run(work())


def test_a_log_in_order_is_said_to_be_with_its_anchor(database: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.json"
    answer = audit("verify", database, "--checkpoint", checkpoint)
    assert answer.exit == Exit.OK
    assert answer.out.startswith("Anchor: 17:")
    assert "Verified 17 changes, 23 rows, 2 refusals." in answer.err
    anchor = answer.out.removeprefix("Anchor: ").strip()
    again = audit("verify", database, "--since", checkpoint, "--anchor", anchor, "--json").document
    assert (again["intact"], again["changes"], again["anchor"]) == (True, "0", anchor)


def test_an_edit_is_shown_with_table_row_and_problem(database: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.json"
    tamper(database, "UPDATE changes SET actor = 'nobody' WHERE id = 5")
    answer = audit("verify", database, "--checkpoint", checkpoint)
    assert answer.exit == Exit.NO
    assert "changes  5    what it says or does is not what its digest covers" in answer.out
    assert "1 thing wrong." in answer.err
    assert not checkpoint.exists()
    (finding,) = audit("verify", database, "--json").document["findings"]
    assert (finding["table"], finding["key"]) == ("changes", "5")


def test_an_export_is_verified_without_the_database(database: str, tmp_path: Path) -> None:
    key, out = tmp_path / "key", tmp_path / "audit.jsonl"
    key.write_text("0123456789abcdef\n")
    answer = audit("export", database, "--out", out, "--key-file", key)
    assert answer.exit == Exit.OK
    assert "Exported 17 changes, 23 rows, 2 refusals. Anchor: 17:" in answer.err
    assert [path.name for path in tmp_path.iterdir() if "audit" in path.name] == ["audit.jsonl"]
    assert omnirelay("mesh", "audit", "verify", "--file", out, "--key-file", key).exit == Exit.OK
    out.write_bytes(out.read_bytes().replace(b'"actor":"ops"', b'"actor":"bob"', 1))
    answer = omnirelay("mesh", "audit", "verify", "--file", out, "--json")
    assert (answer.exit, answer.document["intact"]) == (Exit.NO, False)


def test_a_table_has_its_manifest_beside_it(database: str, tmp_path: Path) -> None:
    out = tmp_path / "audit.csv"
    assert audit("export", database, "--format", "csv", "--out", out, "--ticket", "CHG-1").exit == Exit.OK
    manifest = json.loads((tmp_path / "audit.csv.manifest.json").read_text())
    assert (manifest["changes"], manifest["omittedChanges"]) == (2, 15)
    assert len(out.read_text().splitlines()) == 1 + manifest["changes"] + manifest["rows"]


def test_an_export_of_a_namespace_that_was_never_named_is_refused(database: str, tmp_path: Path) -> None:
    out = tmp_path / "audit.jsonl"
    answer = audit("export", database, "--namespace", "biling", "--out", out)
    assert (answer.exit, answer.out, list(tmp_path.iterdir())) == (Exit.NOT_FOUND, "", [])
    assert "There is no namespace biling.\nDid you mean billing?" in answer.err
    assert "omnirelay mesh namespaces list" in answer.err
    assert audit("export", database, "--namespace", "nowhere", "--out", out).exit == Exit.OK, "refusals name it"


def test_input_that_cannot_be_used_is_named(database: str, tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("123")
    for arguments, words in (
        (("export", "--key-file", short), "holds 3 bytes: a key has 16 or more"),
        (("export", "--out", tmp_path / "no" / "folder"), "The export cannot be written"),
        (("verify", "--since", short), "is not a checkpoint that `mesh audit verify` wrote"),
        (("verify", "--anchor", "1:2"), "--anchor is not an anchor"),
        (("verify", "--file", short), "is not an export that can be verified"),
        (("verify", "--key-file", short), "--key-file is for an export"),
        (("check", "--since", "lately"), "is not a time"),
    ):
        command, *rest = arguments
        answer = audit(str(command), database, *rest)
        assert (answer.exit, answer.out) == (Exit.INVALID, ""), arguments
        assert words in answer.err, answer.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_not_taken_for_trouble_with_the_database(database: str) -> None:
    program = [sys.executable, "-c", "from graph.cli import main; main()", "mesh", "audit", "export"]
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(  # noqa: S603 - our own program
            [*program, "--database-url", database], stdout=full, stderr=subprocess.PIPE, check=False, cwd=ROOT
        )
    said = ended.stderr.decode()
    assert ended.returncode == Exit.INVALID, said
    assert "The export cannot be written: [Errno 28] No space left on device." in said


def test_who_reads_an_export_may_stop_reading(database: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = [sys.executable, "-c", "from graph.cli import main; main()", "mesh", "audit", "export"]
    with os.fdopen(writing, "wb") as pipe:
        ended = subprocess.run(  # noqa: S603 - our own program
            [*program, "--database-url", database], stdout=pipe, stderr=subprocess.PIPE, check=False, cwd=ROOT
        )
    assert ended.returncode == Exit.PIPE_CLOSED
    assert not ended.stderr, ended.stderr.decode()


def test_a_check_of_a_namespace_that_does_not_exist_finds_nothing_in_order(database: str) -> None:
    answer = audit("check", database, "--namespace", "biling", "--json")
    assert (answer.exit, answer.document["error"]["message"]) == (Exit.NOT_FOUND, "There is no namespace biling.")
    assert answer.err.startswith("There is no namespace biling.\n")
    assert audit("check", database, "--namespace", "billing").exit != Exit.NOT_FOUND


def test_a_mesh_without_broken_rules_is_compliant(database: str) -> None:
    answer = audit("check", database)
    assert answer.exit == Exit.OK, answer
    assert "no rule broken." in answer.err


class Interrupted:
    """Exports as ever, but that so many of them are interrupted by a compaction."""

    def __init__(self, times: int) -> None:
        self.times = times

    async def __call__(
        self, url: str, where: ExportFilter, form: ExportForm, write: Write, progress: CountedProgress
    ) -> Manifest:
        if self.times:
            self.times -= 1
            write(b"half of one")
            raise TransientConflict("history was compacted up to revision 9 while it was being read")
        return await export_audit(url, where, form, write, progress)


def test_a_file_is_begun_again_after_a_compaction(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "audit.jsonl"
    monkeypatch.setattr("graph.server.composition.export_audit", Interrupted(2))
    answer = audit("export", database, "--out", out)
    assert (answer.exit, answer.err.count("Beginning again: history was compacted up to revision 9")) == (Exit.OK, 2)
    assert omnirelay("mesh", "audit", "verify", "--file", out).exit == Exit.OK
    out.unlink()
    monkeypatch.setattr("graph.server.composition.export_audit", Interrupted(3))
    answer = audit("export", database, "--out", out)
    assert (answer.exit, list(tmp_path.iterdir())) == (Exit.UNAVAILABLE, [])
    assert "Nothing was written: history was compacted up to revision 9" in answer.err


def test_half_an_export_on_the_standard_output_is_said_to_be_one(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard = SimpleNamespace(stdout=SimpleNamespace(buffer=io.BytesIO()))
    monkeypatch.setattr("graph.cli.audit.export.sys", standard)
    monkeypatch.setattr("graph.server.composition.export_audit", Interrupted(1))
    answer = audit("export", database)
    assert answer.exit == Exit.UNAVAILABLE
    assert "What was written is not a whole export: history was compacted" in answer.err
    assert standard.stdout.buffer.getvalue() == b"half of one"


def test_a_csv_is_verified_with_the_manifest_beside_it(database: str, tmp_path: Path) -> None:
    out = tmp_path / "audit.csv"
    assert audit("export", database, "--format", "csv", "--out", out).exit == Exit.OK
    verified = omnirelay("mesh", "audit", "verify", "--file", out)
    assert (verified.exit, "Verified " in verified.err) == (Exit.OK, True), verified
    out.write_bytes(out.read_bytes().replace(b"billing", b"biling"))
    assert omnirelay("mesh", "audit", "verify", "--file", out).exit == Exit.NO
    (tmp_path / "audit.csv.manifest.json").unlink()
    alone = omnirelay("mesh", "audit", "verify", "--file", out)
    assert (alone.exit, "without its manifest" in alone.err) == (Exit.INVALID, True)
