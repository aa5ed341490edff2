"""The completion scripts, run by the shells that they are for; bash's is in test_forms.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.command_line import omnirelay

_LONGEST: Final = 60
"""Seconds."""

_IN_ZSH: Final = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'source ~/setup.zsh'
zpty -r shell seen '*READY> '
for typed in "$@"; do
    zpty -w -n shell "$typed"$'\\t\\x18'
    zpty -r shell seen '*<*>*'
    print -r -- "${seen##*<}"
    zpty -w -n shell $'\\x15'
done
zpty -d shell
"""
"""Types on a terminal of its own: zsh completes nowhere else. Ctrl-X shows what stands there after a press of Tab."""

_SETUP: Final = """
PS1='READY> '
autoload -Uz compinit
compinit -u -D
show() { print -r -- "<$BUFFER>" }
zle -N show
bindkey '^X' show
source ~/completion.zsh
"""


def run(home: Path, *words: str) -> str:
    """What a shell prints, of a user without files of their own and with our program; nothing goes to stderr."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(  # noqa: S603 - shells, with what we print
        words,
        env={**os.environ, "PATH": path, "HOME": str(home), "ZDOTDIR": str(home), "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LONGEST,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
@pytest.mark.usefixtures("placed")
def test_fish_completes_names_of_the_mesh(tmp_path: Path) -> None:
    script = tmp_path / "omnirelay.fish"
    script.write_text(omnirelay("completion", "fish").out)

    def completed(line: str) -> list[str]:
        asked = f"source {script}; complete --do-complete '{line}'"
        return run(tmp_path, "fish", "--no-config", "--command", asked).splitlines()

    assert completed("omnirelay mesh nodes get node-3") == ["node-3\tACTIVE"]
    assert completed("omnirelay mesh shards get orders/s2") == [f"orders/s{number}" for number in range(20, 30)]
    assert [word.split("\t")[0] for word in completed("omnirelay mesh nodes cor")] == ["cordon"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
@pytest.mark.usefixtures("placed")
def test_zsh_completes_names_of_the_mesh(tmp_path: Path) -> None:
    (tmp_path / "completion.zsh").write_text(omnirelay("completion", "zsh").out)
    (tmp_path / "setup.zsh").write_text(_SETUP)
    typed = ("omnirelay mesh shards get ord", "omnirelay mesh nodes cor", "omnirelay mesh nodes get node-3")
    shown = run(tmp_path, "zsh", "-f", "-c", _IN_ZSH, "zsh", *typed)
    assert [line.partition(">")[0].rstrip() for line in shown.splitlines() if ">" in line] == [
        "omnirelay mesh shards get orders",
        "omnirelay mesh nodes cordon",
        "omnirelay mesh nodes get node-3",
    ]
