"""The command line: `omnirelay`. Commands under `mesh` are clients of the GraphQL API and need nothing of the server.

All but `mesh audit`: that opens the database, as `db` does, so that an audit does not depend on a server.
"""

import sys
from io import TextIOWrapper
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    from graph.cli.program import run  # noqa: PLC0415 - the package is imported for its parts, too

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A letter of some reason that the locale cannot encode must not end the command.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))
