"""Progress is shown on a terminal, and not to a program."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

import pytest

from graph.cli.progress import progress_bar, waiting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("Planning"), progress_bar("Writing", 3) as advance:
        advance(1)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_it_is_said_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with redirect_stderr(Terminal()) as terminal, waiting("Planning"):
        pass
    assert "Planning" in terminal.getvalue()
