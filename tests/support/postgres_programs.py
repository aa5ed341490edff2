"""PostgreSQL's own programs, those of the embedded server: pg_dump, pg_restore, createdb."""

from __future__ import annotations

import asyncio
from typing import Final

from graph.embedded_postgres.server import find_binaries

_NOTHING_TO_SAY: Final = b""


async def postgres_program(name: str, *arguments: object) -> None:
    """Run it; it must end with exit code 0 and have nothing to warn of."""
    program = await asyncio.create_subprocess_exec(
        find_binaries() / name, *map(str, arguments), stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, complaints = await program.communicate()
    assert (program.returncode, complaints) == (0, _NOTHING_TO_SAY), complaints.decode()
