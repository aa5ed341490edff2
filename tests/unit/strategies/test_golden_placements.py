"""The library against a file of placements that a second implementation, in another language, made."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from strategies.registry import BUILT_IN
from tests.support.golden_placements import (
    DOCUMENT,
    check_case,
    check_keeping,
    check_keys,
    check_scores,
    check_sequence,
)

ROOT = Path(__file__).parents[3]


def named(row: Mapping[str, Any]) -> str:
    return "-".join([row["algorithm"], row.get("about", str(row["parameters"]))])


def test_keys_are_those_of_the_file() -> None:
    check_keys()


def test_scores_are_those_of_the_file() -> None:
    check_scores()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("case", DOCUMENT["cases"], ids=named)
def test_every_placement_is_that_of_the_file_in_any_order(case: Mapping[str, Any], seed: int) -> None:
    check_case(case, Random(seed))


@pytest.mark.parametrize("sequence", DOCUMENT["sequences"], ids=named)
def test_changes_of_the_nodes_lead_where_the_file_says(sequence: Mapping[str, Any]) -> None:
    check_sequence(sequence, Random(3))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("case", DOCUMENT["keeping"], ids=lambda case: case["about"])
def test_what_becomes_of_present_owners_is_what_the_file_says_in_any_order(case: Mapping[str, Any], seed: int) -> None:
    check_keeping(case, Random(seed))


@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_the_seed_of_pythons_hashes_changes_nothing(hash_seed: str) -> None:
    program = [sys.executable, "-W", "error", "-m", "tests.support.golden_placements"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    run = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - this interpreter, these tests
    assert run.returncode == 0, run.stderr


def test_the_file_has_cases_of_every_strategy_and_placements_of_many_shards() -> None:
    rows = Counter[str]()
    for case in DOCUMENT["cases"]:
        rows[case["algorithm"]] += len(case["shards"])
    assert rows.keys() == {strategy.name for strategy in BUILT_IN}
    assert min(rows.values()) >= 200
    assert {sequence["algorithm"] for sequence in DOCUMENT["sequences"]} == rows.keys()
