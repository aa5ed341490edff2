"""Every relative link in a page of the project leads to a file, and to a heading where it names one."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.support.operations_book import DOCS, PAGES

ROOT: Final = DOCS.parent
WITHOUT: Final = frozenset({".venv", "node_modules", ".git", ".failover", ".omnirelay"})
LINKED: Final = sorted(
    page.relative_to(ROOT).as_posix() for page in ROOT.rglob("*.md") if WITHOUT.isdisjoint(page.relative_to(ROOT).parts)
)
FENCED: Final = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\]\((?![a-z]+:)([^)\s#]*)(?:#([^)\s]*))?\)")
NAMED: Final = re.compile(r"\bdocs/[\w/-]+\.md\b")
"""How programs, tests and comments refer to pages."""


@cache
def anchors(page: Path) -> frozenset[str]:
    """Of its headings, as GitHub makes them: a second one of the same text ends in `-1`."""
    seen: Counter[str] = Counter()
    found = set(re.findall(r'<a (?:id|name)="([^"]+)"', page.read_text("utf-8")))
    for heading in re.findall(r"^#{1,6} (.+?)\s*$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


@pytest.mark.parametrize("name", LINKED)
def test_every_relative_link_leads_somewhere(name: str) -> None:
    page = ROOT / name
    text = FENCED.sub("", page.read_text("utf-8"))
    missing = []
    for path, anchor in LINK.findall(text):
        target = page if not path else (page.parent / path).resolve()
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            missing.append(f"{path}#{anchor}")
    assert missing == []


def test_every_page_that_code_names_is_there() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 - of this clone
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    missing = set()
    for name in tracked:
        if name.endswith((".py", ".md", ".toml", ".yaml", ".conf", ".service", "Makefile", "Containerfile")):
            file = ROOT / name
            text = file.read_text("utf-8") if file.is_file() else ""
            missing |= {(name, page) for page in NAMED.findall(text) if not (ROOT / page).is_file()}
    assert missing == set()


def test_the_index_of_operations_links_to_every_page_and_every_page_back() -> None:
    assert sorted(PAGES) == sorted(page.stem for page in (DOCS / "operations").glob("*.md"))
