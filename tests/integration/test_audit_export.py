"""The audit log as a file: complete, filtered, signed; verified by this program and by one of a page."""

from __future__ import annotations

import csv
import gc
import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from persistence.audit.checkpoints import Checkpoint
from persistence.audit.entries import RefusalEntry
from persistence.audit.export import CSV_COLUMNS, Csv, ExportFilter, JsonLines, line
from persistence.audit.export_verification import NotAnExport, verify_csv, verify_lines
from persistence.postgres.audit.export import export
from persistence.postgres.audit.verify import verify
from persistence.postgres.compaction import PostgresRetention
from tests.support.mesh import SEARCH, because

SCRIPT: Final = Path(__file__).parents[2] / "docs" / "verify_audit.py"
KEY: Final = b"a key of sixteen bytes"


async def exported(url: str, where: ExportFilter | None = None, key: bytes | None = None) -> list[bytes]:
    lines: list[bytes] = []
    manifest = await export(url, where or ExportFilter(), JsonLines(), lines.append)
    return b"".join([*lines, line(manifest.document(key))]).splitlines(keepends=True)


def problems(lines: list[bytes], key: bytes | None = None, anchor: Checkpoint | None = None) -> list[str]:
    return [f"{one.table} {one.key}" for one in verify_lines(lines, key, anchor).findings.listed]


def by_script(path: Path, lines: list[bytes], *arguments: str) -> tuple[int, str]:
    path.write_bytes(b"".join(lines))
    done = subprocess.run([sys.executable, SCRIPT, path, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return done.returncode, done.stdout + done.stderr


def test_the_script_is_a_page_long_and_needs_nothing() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= 51
    assert max(map(len, lines)) <= 120
    modules = [text.split() for text in lines if text.startswith(("import", "from"))]
    assert modules == [["import", "datetime,", "hashlib,", "json,", "struct,", "sys"]]


async def test_an_export_is_complete_and_verified_by_both(audited_url: str, tmp_path: Path) -> None:
    lines = await exported(audited_url)
    verdict, stored = verify_lines(lines), await verify(audited_url)
    assert verdict.findings.listed == []
    assert (verdict.changes, verdict.rows, verdict.refusals) == (stored.changes, stored.rows, stored.refusals)
    assert verdict.end == stored.end
    ended, said = by_script(tmp_path / "a.jsonl", lines, str(stored.end))
    assert (ended, said.startswith("OK: ")) == (0, True), said
    assert by_script(tmp_path / "a.jsonl", lines, "1:1:00/0:00")[0] == 1


def edited(entry: str, number: int, **members: Any) -> Callable[[list[bytes]], None]:
    def edit(lines: list[bytes]) -> None:
        places = [place for place, text in enumerate(lines) if json.loads(text)["type"] == entry]
        place = places[number]
        lines[place] = line({**json.loads(lines[place]), **members})

    return edit


def without(kind: str, number: int) -> Callable[[list[bytes]], None]:
    def edit(lines: list[bytes]) -> None:
        places = [place for place, text in enumerate(lines) if json.loads(text)["type"] == kind]
        del lines[places[number]]

    return edit


def sealed(lines: list[bytes]) -> None:
    """The manifest that an honest export of these lines would have: who edits the one edits the other."""
    manifest = json.loads(lines[-1])
    lines[-1] = line({**manifest, "contentSha256": hashlib.sha256(b"".join(lines[:-1])).hexdigest()})


TAMPERINGS: Final[dict[str, tuple[str, Callable[[list[bytes]], None]]]] = {
    "an actor": ("changes 4", edited("change", 3, actor="nobody")),
    "a time": ("changes 4..5", edited("change", 4, committedAt="2026-01-01T00:00:00Z")),
    "a hash": ("changes 6", edited("change", 5, hash="00" * 32)),
    "a row's images": ("shard_history 3", edited("row", 2, current='{"a":1}')),
    "a row's kind": ("changes 5", edited("row", 4, kind="DELETED")),
    "a change left out": ("changes 7", without("change", 6)),
    "a row left out": ("shard_history 2", without("row", 1)),
    "a refusal": ("refusals 2", edited("refusal", 1, details="{}")),
    "a refusal left out": ("refusals 2", without("refusal", 1)),
}


async def test_an_edited_export_is_found_out_by_both(audited_url: str, tmp_path: Path) -> None:
    lines = await exported(audited_url)
    for name, (where, tamper) in TAMPERINGS.items():
        edit = lines.copy()
        tamper(edit)
        assert "file manifest" in problems(edit), name
        sealed(edit)
        assert where in problems(edit), (name, problems(edit))
        ended, said = by_script(tmp_path / "b.jsonl", edit)
        assert (ended, said.startswith("BROKEN: ")) == (1, True), (name, said)


async def test_a_file_that_was_cut_off_or_is_none_is_said_to_be(audited_url: str) -> None:
    lines = await exported(audited_url)
    assert problems(lines[:-1]) == ["file manifest"]
    assert "file line 3" in problems([*lines[:2], b"nonsense\n", *lines[2:]])
    for nothing in ([], [b"{}\n"], [b'{"type":"header","format":"other"}\n']):
        with pytest.raises(NotAnExport):
            verify_lines(nothing)


async def test_a_signed_manifest_is_verified_with_its_key(audited_url: str) -> None:
    lines = await exported(audited_url, key=KEY)
    assert problems(lines, KEY) == []
    assert problems(lines, b"another key of so many") == ["file manifest"]
    assert problems(await exported(audited_url), KEY) == ["file manifest"]


async def test_an_anchor_tells_an_export_of_another_past(audited_url: str) -> None:
    lines = await exported(audited_url)
    anchor = (await verify(audited_url)).end
    assert problems(lines, anchor=anchor) == []
    other = Checkpoint.read(str(anchor).replace(anchor.change.hash.hex(), "ab" * 32))
    assert problems(lines, anchor=other) == [f"anchor changes {anchor.change.change_id}"]


@pytest.mark.parametrize(
    ("where", "selected"),
    [
        (ExportFilter(namespace=SEARCH), lambda entry: SEARCH in entry["namespaces"]),
        (ExportFilter(actor="bob"), lambda entry: entry["actor"] == "bob"),
        (ExportFilter(change_ticket="CHG-1"), lambda entry: entry["changeTicket"] == "CHG-1"),
        (ExportFilter(actor="nobody"), lambda _: False),
    ],
    ids=["namespace", "actor", "ticket", "nothing"],
)
async def test_a_filtered_export_is_still_verified(
    audited_url: str, where: ExportFilter, selected: Callable[[dict[str, Any]], bool]
) -> None:
    everything = [json.loads(text) for text in await exported(audited_url)]
    lines = await exported(audited_url, where)
    assert problems(lines) == []
    documents = [json.loads(text) for text in lines]
    kinds = ("change", "refusal")
    expected = [one for one in everything if one["type"] in kinds and selected(one)]
    assert [one for one in documents if one["type"] in kinds] == expected
    told = {one["id"] for one in expected if one["type"] == "change"}
    assert [one for one in documents if one["type"] == "row"] == [
        one for one in everything if one["type"] == "row" and one["changeId"] in told
    ]


async def test_an_export_of_a_time_begins_and_ends_there(audited_url: str) -> None:
    changes = [json.loads(text) for text in await exported(audited_url) if b'"type":"change"' in text]
    since, until = (datetime.fromisoformat(changes[place]["committedAt"]) for place in (5, 9))
    lines = await exported(audited_url, ExportFilter(since=since, until=until))
    assert problems(lines) == []
    found = [json.loads(text)["id"] for text in lines if b'"type":"change"' in text]
    assert found == [6, 7, 8, 9]
    nothing = await exported(audited_url, ExportFilter(since=datetime.now(UTC) + timedelta(days=1)))
    assert (problems(nothing), len(nothing)) == ([], 2)


async def test_an_export_of_a_compacted_history_is_verified(audited_url: str, tmp_path: Path) -> None:
    assert await PostgresRetention(audited_url).compact(16, because("storage")) is not None
    lines = await exported(audited_url)
    assert problems(lines) == []
    assert by_script(tmp_path / "c.jsonl", lines)[0] == 0
    edit = lines.copy()
    without("row", 0)(edit)
    sealed(edit)
    assert problems(edit) == ["shard_history 1..16"]


async def test_no_cycles_are_looked_for_until_the_log_is_read(audited_url: str) -> None:
    collecting: list[bool] = []
    await export(audited_url, ExportFilter(), JsonLines(), lambda _: collecting.append(gc.isenabled()))
    assert (any(collecting), gc.isenabled()) == (False, True)
    with pytest.raises(RuntimeError, match="stopped"):
        await export(audited_url, ExportFilter(), JsonLines(), stop)
    assert gc.isenabled()


def stop(_: bytes) -> None:
    raise RuntimeError("stopped")


async def test_a_table_for_people_has_a_line_for_everything(audited_url: str) -> None:
    written: list[bytes] = []
    manifest = await export(audited_url, ExportFilter(), Csv(), written.append)
    header, *rows = csv.reader(io.StringIO(b"".join(written).decode()))
    assert tuple(header) == CSV_COLUMNS
    assert {len(row) for row in rows} == {len(CSV_COLUMNS)}
    counts = [sum(row[0] == kind for row in rows) for kind in ("change", "row", "refusal")]
    assert counts == [manifest.changes, manifest.rows, manifest.refusals]


@pytest.mark.parametrize("raw", [False, True])
def test_a_cell_that_a_spreadsheet_would_run_begins_with_an_apostrophe(*, raw: bool) -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    reason, actor = '=HYPERLINK("http://x")', "@SUM(1)"
    entry = RefusalEntry(1, "UPDATE_SHARDS", actor, reason, "+1", ["a"], "POLICY", b"", "", "", 0, when, b"", b"")
    (cells,) = csv.reader(io.StringIO(Csv(raw=raw).refusal(entry).decode()))
    quote = "" if raw else "'"
    assert cells[CSV_COLUMNS.index("reason")] == quote + reason
    assert cells[CSV_COLUMNS.index("actor")] == quote + actor
    assert cells[CSV_COLUMNS.index("change_ticket")] == f"{quote}+1"


async def test_a_csv_is_held_against_its_manifest(audited_url: str) -> None:
    written: list[bytes] = []
    manifest = await export(audited_url, ExportFilter(), Csv(), written.append)
    document = line(manifest.document(b"k" * 16))
    intact = verify_csv(written, document, b"k" * 16, manifest.end)
    assert (intact.findings.count, intact.changes, intact.rows) == (0, manifest.changes, manifest.rows)
    assert verify_csv([*written, b"\n"], document).findings.count == 1
    assert verify_csv(written, document, b"l" * 16).findings.count == 1
    assert verify_csv(written, document, None, Checkpoint()).findings.count == 1
    for none in (b"", b"[]", b"{}", b"null"):
        with pytest.raises(NotAnExport):
            verify_csv(written, none)
