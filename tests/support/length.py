"""How long the long tests are: `make test` runs some of them shorter, to stay within minutes, `make soak` at length."""

from __future__ import annotations

import os
from typing import Final

_AT_LENGTH: Final = os.environ.get("TESTS_AT_LENGTH") == "1"


def rounds(full: int, short: int) -> int:
    """`full` under `make soak`, else `short`."""
    return full if _AT_LENGTH else short
