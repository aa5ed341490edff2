"""What front ends and the wheel send is built of operations and fragments, and what is built is up to date."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Final

import pytest

import build_documents
from build_documents import FOLDER, MANIFEST, PERSISTED, SUFFIX, SourceError, build, out_of_date, write

WATCH: Final = """\
# Watch.
query Watch {
  shard {
    # A comment inside.
    ...Row
  }
}
"""
COUNT: Final = "query Count {\n  count\n}\n"
ROW: Final = """\
# A row.
fragment Row on Shard {
  id
  ...Pin
  next {
    ...Key
  }
}
"""
PIN: Final = "fragment Pin on Shard {\n  by\n}\n"
KEY: Final = "# A key.\n\nfragment Key on Shard {\n  key\n}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two operations, one of which spreads a fragment that spreads two more."""
    for name, files in {
        "operations": {"Watch": WATCH, "Count": COUNT},
        "fragments": {"Row": ROW, "Pin": PIN, "Key": KEY},
    }.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / f"{file}{SUFFIX}").write_text(text)
    return tmp_path


def test_the_committed_documents_are_what_the_sources_build() -> None:
    assert out_of_date(FOLDER / "documents", build(FOLDER)) == [], "run: make documents"


def test_a_document_is_the_operation_word_for_word_and_its_fragments_by_name_however_deep(folder: Path) -> None:
    key, row = (text[text.index("fragment") :] for text in (KEY, ROW))
    assert build(folder)["Watch.graphql"] == f"{WATCH}\n{key}\n{PIN}\n{row}"


def test_an_operation_without_fragments_is_its_own_document(folder: Path) -> None:
    assert build(folder)["Count.graphql"] == COUNT


def test_fragments_that_go_in_circles_come_once_each(folder: Path) -> None:
    circle = "fragment Pin on Shard {\n  ...Row\n}\n"
    (folder / "fragments" / "Pin.graphql").write_text(circle)
    document = build(folder)["Watch.graphql"]
    assert [document.count(f"fragment {name} on") for name in ("Key", "Pin", "Row")] == [1, 1, 1]


def test_the_manifest_names_each_document_by_the_digest_of_its_file(folder: Path) -> None:
    built = build(folder)
    persisted = json.loads(built.pop(PERSISTED))
    assert json.loads(built.pop(MANIFEST)) == {
        name.removesuffix(SUFFIX): f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" for name, text in built.items()
    }
    assert built.keys() == {"Count.graphql", "Watch.graphql"}
    assert persisted == {
        "format": "apollo-persisted-query-manifest",
        "version": 1,
        "operations": [
            {
                "id": hashlib.sha256(built[f"{name}{SUFFIX}"].encode()).hexdigest(),
                "name": name,
                "type": "query",
                "body": built[f"{name}{SUFFIX}"],
            }
            for name in ("Count", "Watch")
        ],
    }


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("fragments/Pin.graphql", "fragment Pin on Shard {", "fragments/Pin.graphql: Syntax Error"),
        ("fragments/Pin.graphql", COUNT, "fragments/Pin.graphql must hold one fragment definition that has a name"),
        ("operations/Watch.graphql", PIN, "operations/Watch.graphql must hold one operation definition that has"),
        ("operations/Watch.graphql", "{ count }", "operations/Watch.graphql must hold one operation definition that"),
        ("operations/Watch.graphql", WATCH + KEY, "operations/Watch.graphql must hold one operation definition that"),
        ("operations/Watch.graphql", COUNT, "operations/Watch.graphql must be named like what it holds, Count.graphql"),
        ("operations/Watch.txt", WATCH, "operations/Watch.txt must be named like what it holds, Watch.graphql"),
        ("operations/Watch.graphql", WATCH.replace("Row", "Column"), "there is no fragments/Column.graphql"),
        ("fragments/Row.graphql", ROW.replace("Key", "Lock"), "there is no fragments/Lock.graphql"),
        ("fragments/Row.graphql", ROW.replace("Key", "Pin"), "fragments/Key.graphql is spread by no operation"),
    ],
)
def test_a_source_that_cannot_be_built_of_is_named(folder: Path, file: str, text: str, message: str) -> None:
    (folder / file).write_text(text)
    with pytest.raises(SourceError, match=f"^{message}"):
        build(folder)


def test_drift_is_a_file_that_was_edited_is_missing_or_is_left_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = folder / "documents"
    monkeypatch.setattr(build_documents, "FOLDER", folder)
    run(monkeypatch)
    run(monkeypatch, "--check")
    (documents / "Watch.graphql").write_text(COUNT)
    (documents / MANIFEST).unlink()
    (documents / "Old.graphql").write_text(COUNT)
    assert out_of_date(documents, build(folder)) == ["Old.graphql", "Watch.graphql", MANIFEST]

    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "--check")
    assert str(ended.value.code).endswith("/documents is out of date, run `make documents`: Old.graphql and 2 more")
    assert (documents / "Old.graphql").exists(), "a check writes nothing"

    write(documents, build(folder))
    run(monkeypatch, "--check")
    assert sorted(file.name for file in documents.iterdir()) == [
        "Count.graphql",
        "Watch.graphql",
        MANIFEST,
        PERSISTED,
    ]
    assert capsys.readouterr() == ("", "")


def test_a_source_that_cannot_be_built_of_ends_the_check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_documents, "FOLDER", folder)
    (folder / "fragments" / "Key.graphql").unlink()
    with pytest.raises(SystemExit, match=r"there is no fragments/Key\.graphql, which is spread"):
        run(monkeypatch, "--check")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """What `make documents` runs, or with `--check` what `make lint` does."""
    monkeypatch.setattr(sys, "argv", ["build_documents.py", *arguments])
    build_documents.main()
