"""Files, tokens and cursors that are nearly right are read, or refused with an error of their own, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fuzz.drivers import inputs, seeded, shrinking
from tests.fuzz.parsers import SEEDS, Target, targets
from tests.support.command_line import omnirelay

NAMES = [target.name for target in targets(Path())]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return {target.name: target for target in targets(tmp_path_factory.mktemp("given"))}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_nearly_right_is_read_or_refused(name: str, known: dict[str, Target]) -> None:
    target = known[name]
    shrinking(inputs(25), target.one)
    for random in seeded(inputs(125)):
        target.one(random)


def _found(name: str) -> Sequence[bytes]:
    """What once was a fault."""
    header, *rest = (SEEDS / "whole.jsonl").read_bytes().splitlines(keepends=True)
    change = next(line for line in rest if b'"configuration":"{' in line)
    row = next(line for line in rest if b'"type":"row"' in line)
    checkpoint = b'{"format": "omnirelay.audit.anchor.v1", "hash": "00", "refusalId": "0", "refusalHash": "00", '
    found = {
        "settings": [b"log_level = " + b"[" * 3_000, b"port = " + b"1" * 5_000],
        "declared namespaces": [b"a = " + b"{a = " * 3_000, b"[namespaces.a]\nparameters.b = " + b"1" * 5_000],
        "checkpoint": [
            checkpoint + b'"changeId": Infinity, "revision": "0"}',
            checkpoint + b'"changeId": ' + b"[" * 9_999,
        ],
        "export of the audit log": [
            header.replace(b'"start":"', b'"start":["').replace(b'","filter"', b'"],"filter"'),
            header.replace(b'"floor":0', b'"floor":1e999'),
            header + row.replace(b'"revision":', b'"revision":9223372036854775808'),
            header + row.replace(b'"createdAt":"', b'"createdAt":"2026-01-01","was":"'),
            header
            + row.replace(b'"current":"', b'"current":"[]","was":"').replace(b'"previous":null', b'"previous":"[]"'),
            header + change.replace(b'"configuration":"{', b'"configuration":"[{'),
            header + change.replace(b'"namespaces":[', b'"namespaces":[{},'),
            header + change.replace(b'"kind":"', b'"kind":"COMPACT_HISTORY","was":"'),
        ],
    }
    return found.get(name, [])


@pytest.mark.parametrize("name", [name for name in NAMES if _found(name)])
def test_what_once_was_a_fault_is_refused(name: str, known: dict[str, Target]) -> None:
    for data in _found(name):
        known[name].take(data)


def test_commands_end_with_a_code_for_whatever_file_they_are_given(
    known: dict[str, Target], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    nowhere = ("--server", "http://127.0.0.1:9", "--reason", "a test")
    commands = {
        "import of CSV": ("mesh", "shards", "import", "FILE", "--format", "csv", *nowhere),
        "import of JSON Lines": ("mesh", "shards", "import", "FILE", "--format", "jsonl", "--dry-run", *nowhere),
        "declared namespaces": ("mesh", "namespaces", "apply", "FILE", *nowhere),
        "plan in a file": ("mesh", "rebalance", "apply", "FILE", *nowhere),
        "export of the audit log": ("mesh", "audit", "verify", "--file", "FILE"),
        "checkpoint": (
            "mesh",
            "audit",
            "verify",
            "--since",
            "FILE",
            "--database-url",
            "postgresql://nobody@127.0.0.1:9/x",
        ),
    }
    file = tmp_path / "given"
    for name, command in commands.items():
        target = known[name]
        for random in seeded(inputs(8), seed=2):
            file.write_bytes(target.mutate(random, random.choice(target.seeds)))
            answer = omnirelay(*(file if each == "FILE" else each for each in command))
            assert answer.exit in (0, 1, 2, 5), (answer, file.read_bytes())
            assert "Traceback" not in answer.err
    assert not caplog.records
