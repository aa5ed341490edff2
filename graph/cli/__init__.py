"""The command line: `omnirelay`. Everything under `mesh` is a client of the GraphQL API and of nothing else."""

import sys
from io import TextIOWrapper
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    from graph.cli.program import run  # noqa: PLC0415 - the package is imported for its parts, too

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A reason with a letter that the locale cannot write is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))
