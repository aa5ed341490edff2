"""JSON is JSON in whatever encoding the output has."""

from __future__ import annotations

import io
import json
import sys

import pytest

from graph.cli.output import print_json, print_json_text

DOCUMENT = {"reason": "größer → 😀 \udcff", "plain": "text"}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "cp037"])
def test_a_document_is_the_same_in_every_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    print_json(DOCUMENT)
    print_json_text(json.dumps(DOCUMENT, ensure_ascii=False))
    sys.stdout.flush()
    first, second = written.getvalue().decode(encoding).splitlines()
    assert json.loads(first) == json.loads(second) == DOCUMENT


def test_what_the_encoding_has_is_written_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8"))
    print_json({"reason": "größer"})
    sys.stdout.flush()
    assert written.getvalue().decode() == '{"reason":"größer"}\n'
