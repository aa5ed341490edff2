"""Manifests: the program's own names what was built, and one of other programs is refused by file and entry."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

import build_documents
from graph import operations
from graph.http.trusted_documents import TrustedDocuments
from graph.operations import ManifestError, operation, operation_names, own_manifest, read_manifest
from graph.settings import load_settings
from tests.support.shared_schema import one_schema

SECURE = Path(__file__).parents[2] / "docs" / "operations" / "secure.md"
DOCUMENTS = Path(__file__).parents[2] / "frontend-queries" / "documents"
TEXT = "query Head { head { revision } }"
DIGEST = hashlib.sha256(TEXT.encode()).hexdigest()


def manifest(*entries: Any, **members: Any) -> dict[str, Any]:
    """As @apollo/generate-persisted-query-manifest writes it."""
    return {"format": "apollo-persisted-query-manifest", "version": 1, "operations": [*entries], **members}


def entry(**members: Any) -> dict[str, Any]:
    return {"id": DIGEST, "name": "Head", "type": "query", "body": TEXT, **members}


def written(folder: Path, content: Any, name: str = "manifest.json") -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_the_programs_own_has_every_operation_by_its_sha256() -> None:
    entries = own_manifest()
    assert {entry.text for entry in entries} == {operation(name) for name in operation_names()}
    for each in entries:
        assert each.id == f"sha256:{hashlib.sha256(each.text.encode()).hexdigest()}"


def test_what_was_built_for_others_is_read_like_theirs() -> None:
    """So that servers of the next version, or of the last, can be given the documents of this one."""
    read = {(entry.id, entry.text) for entry in read_manifest(DOCUMENTS / build_documents.PERSISTED)}
    assert read == {(entry.id.removeprefix("sha256:"), entry.text) for entry in own_manifest()}


def test_the_manifest_and_the_settings_of_the_documentation_can_be_used(tmp_path: Path) -> None:
    section = SECURE.read_text().partition("## Trusted documents")[2].partition("\n## ")[0]
    (settings,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    (example,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    (tmp_path / "mesh.toml").write_text(settings)
    assert load_settings(tmp_path / "mesh.toml", {}).trusted_documents == "require"
    entries = read_manifest(written(tmp_path, example))
    assert TrustedDocuments(one_schema().documents, "require", entries).texts["head"] == TEXT


def test_a_document_that_is_not_what_was_built_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"Head": f"sha256:{DIGEST}"}))
    (tmp_path / "Head.graphql").write_text(TEXT + " ")
    monkeypatch.setattr(operations, "folder", lambda: tmp_path)
    operation.cache_clear()
    with pytest.raises(ManifestError, match=r"manifest\.json: Head: the id is not the SHA-256 of the document"):
        own_manifest()


@pytest.mark.parametrize("identity", [DIGEST, f"sha256:{DIGEST}", "x-relay:5", "Head_1.0~a-b"])
def test_a_manifest_is_read(tmp_path: Path, identity: str) -> None:
    (read,) = read_manifest(written(tmp_path, manifest(entry(id=identity, clientName="web"))))
    assert (read.id, read.text) == (identity, TEXT)


def test_of_a_folder_every_manifest_is_read(tmp_path: Path) -> None:
    written(tmp_path, manifest(entry()), "one.json")
    written(tmp_path, manifest(entry(id="two"), entry(id="three")), "two.json")
    written(tmp_path, "no manifest", "README.md")
    assert [each.id for each in read_manifest(tmp_path)] == [DIGEST, "two", "three"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "manifest.json: not JSON"),
        ("[" * 100_000, "manifest.json: not JSON"),
        ([], 'manifest.json: must be an object whose "format" is'),
        ({"Head": DIGEST}, 'manifest.json: must be an object whose "format" is'),
        (manifest(version=2), '"version" must be 1'),
        (manifest(operations={}), '"operations" must be a list'),
        (manifest(entry(), 7), "manifest.json: operations[1] must be an object"),
        (manifest(entry(id=7)), 'manifest.json: operations[0] (Head): "id" must be'),
        (manifest(entry(id="")), 'operations[0] (Head): "id" must be'),
        (manifest(entry(id="md5:abc")), 'operations[0] (Head): "id" must be'),
        (manifest(entry(body=None)), 'operations[0] (Head): "body" must be'),
        (manifest(entry(id="sha256:" + "0" * 64, name=None)), "operations[0]: the id is not the SHA-256"),
    ],
)
def test_what_cannot_be_used_is_named_by_file_and_entry(tmp_path: Path, content: Any, words: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(ManifestError) as refused:
        read_manifest(file)
    assert words in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path))


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nothing\.json: No such file"):
        read_manifest(tmp_path / "nothing.json")
