"""The key that signs manifests of exports."""

from pathlib import Path
from typing import Final

from graph.cli.exits import Exit, Failure

SHORTEST: Final = 16
"""Bytes."""


def read_key(path: Path | None) -> bytes | None:
    """What stands in the file, without white space around it. Raises Failure."""
    if path is None:
        return None
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise Failure(Exit.INVALID, f"The key cannot be read: {error}.") from error
    if len(key) < SHORTEST:
        raise Failure(Exit.INVALID, f"{path} holds {len(key)} bytes: a key has {SHORTEST} or more.")
    return key
