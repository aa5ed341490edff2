"""docs/operations/: the pages in the order of docs/operations.md, and what they print to be typed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGES: Final = tuple(
    dict.fromkeys(re.findall(r"\]\(operations/([a-z-]+)\.md\)", (DOCS / "operations.md").read_text("utf-8")))
)
"""Names of the pages, as the index links to them first."""


def page(name: str) -> str:
    return (DOCS / "operations" / f"{name}.md").read_text("utf-8")


def book() -> str:
    return "\n".join(map(page, PAGES))


def blocks(text: str, language: str = "sh") -> Mapping[str, Sequence[str]]:
    """Fenced blocks in the language, by the heading above them; only headings with one."""
    found: dict[str, list[str]] = {}
    heading = ""
    for title, block, written in re.findall(r"^#+ ([^\n]+)$|^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if title:
            heading = title
        elif block == language:
            found.setdefault(heading, []).append(written)
    return found
