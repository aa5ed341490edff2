"""Of what servers wrote, tracebacks are shown with a run that failed."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.logs import tracebacks

_ONE = """\
INFO Ready
ERROR an operation failed, request 7
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    raise ValueError
ValueError: no
INFO Stopped
"""


def test_a_traceback_comes_with_the_line_before_and_its_error(tmp_path: Path) -> None:
    log = tmp_path / "server-0.log"
    log.write_text(_ONE * 5)
    (found, *others) = tracebacks([log, tmp_path / "server-1.log"])
    assert found.splitlines() == ["server-0.log: ERROR an operation failed, request 7", *_ONE.splitlines()[2:6]]
    assert len(others) == 2


def test_a_log_without_one_shows_nothing(tmp_path: Path) -> None:
    log = tmp_path / "server-0.log"
    log.write_text("INFO Ready\n")
    assert tracebacks([log]) == []
