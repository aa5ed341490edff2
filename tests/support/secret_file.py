"""Files that only their owner may read, as programs demand of secrets."""

from __future__ import annotations

import os
from pathlib import Path


def write_secret(path: Path, content: bytes | str) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        path.chmod(0o600)  # of one that was there
        file.write(content.encode() if isinstance(content, str) else content)
    return path
