"""What `make upgrade-check` prints where it cannot be run. The run itself is no test: it builds a release."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.upgrades.run import ROOT, NotCheckable, build


def test_a_release_that_the_clone_does_not_have_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(NotCheckable, match=r"v0\.0\.0-none is not in this clone: fetch its history") as told:
        build("v0.0.0-none", tmp_path)
    assert "\n" not in str(told.value)


def test_what_could_not_be_checked_is_no_success() -> None:
    command = [sys.executable, "-m", "tests.upgrades.run", "--release", "v0.0.0-none"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("not checked: v0.0.0-none is not in this clone")
