"""Coverage-guided fuzzing of what reads files, tokens and cursors, by atheris: `make fuzz`.

    python -m tests.fuzz.run --runs 100000 [--only "import of CSV"]

Each target runs in a process of its own, as libFuzzer has it. The bytes that reach new code decide what `parsers`
makes of a real input; a fault ends the run with the input that made it. atheris has wheels for Linux alone, so it is
installed apart, in .fuzz, from tests/fuzz/atheris.lock.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Final

_READ: Final = ("graph", "persistence")
"""Whose branches are counted."""

_ROOT: Final = Path(__file__).parents[2]


class _Bytes(Random):
    """A generator whose choices are read from bytes; zeros once they are used up."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data = data
        self._at = 0

    def random(self) -> float:
        return self.getrandbits(53) / 2**53

    def getrandbits(self, k: int, /) -> int:
        size = (k + 7) // 8
        part = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(part, "little") & ((1 << k) - 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000, help="of each target (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="one target, in this process")
    options = parser.parse_args()
    if options.only is not None:
        _fuzz(options.only, options.runs, options.seed)
    from tests.fuzz.parsers import targets  # noqa: PLC0415 - not instrumented here

    for target in targets(Path()):
        given = ("--only", target.name, "--runs", str(options.runs), "--seed", str(options.seed))
        command = (sys.executable, "-m", "tests.fuzz.run", *given)
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        last = next((line for line in reversed(done.stderr.splitlines()) if "DONE" in line), "")
        print(f"{target.name}: {'no fault' if done.returncode == 0 else 'A FAULT'} {last}")  # noqa: T201 - its report
        if done.returncode != 0:
            print(done.stderr, done.stdout)  # noqa: T201 - same
            return 1
    return 0


def _fuzz(name: str, runs: int, seed: int) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris  # type: ignore[import-untyped] # noqa: PLC0415 - installed for this alone

    with atheris.instrument_imports(include=list(_READ)):
        from tests.fuzz.parsers import targets  # noqa: PLC0415 - while imports are instrumented
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        target = next(each for each in targets(Path(folder)) if each.name == name)
        arguments = [
            sys.argv[0],
            f"-runs={runs}",
            f"-seed={seed}",
            "-max_len=256",
            "-len_control=0",
            f"-artifact_prefix={folder}/",
        ]
        atheris.Setup(arguments, lambda data: target.one(_Bytes(data)))
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
