"""Every relative link in a page of the project leads to a file, and to a heading where it names one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.support.operations_book import DOCS, PAGES

ROOT: Final = DOCS.parent
MADE: Final = frozenset({"node_modules", "dist", "__pycache__"})
READ: Final = (".py", ".md", ".toml", ".yaml", ".conf", ".service", "Makefile", "Containerfile", "Caddyfile")


def files(folder: Path) -> Iterator[str]:
    """What is read of the project, by its path in it. What begins with a dot was made: environments, caches, data."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in MADE:
            continue
        if path.is_dir():
            yield from files(path)
        elif path.name.endswith(READ):
            yield path.relative_to(ROOT).as_posix()


FILES: Final = list(files(ROOT))
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


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".md")])
def test_every_relative_link_leads_somewhere(name: str) -> None:
    page = ROOT / name
    text = FENCED.sub("", page.read_text("utf-8"))
    missing = []
    for path, anchor in LINK.findall(text):
        target = page if not path else (page.parent / path).resolve()
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            missing.append(f"{path}#{anchor}")
    assert missing == []


def test_every_page_that_is_named_anywhere_is_there() -> None:
    named = {(name, page) for name in FILES for page in NAMED.findall((ROOT / name).read_text("utf-8"))}
    assert {(name, page) for name, page in named if not (ROOT / page).is_file()} == set()


def test_the_index_of_decisions_has_each_by_its_title() -> None:
    decisions = DOCS / "decisions"
    listed = re.findall(
        r"^\| (\d+) \| \[([^]]+)\]\((\d{4}-[a-z0-9-]+\.md)\) \|",
        (decisions / "README.md").read_text("utf-8"),
        re.MULTILINE,
    )
    titles = {page.name: page.read_text("utf-8").split("\n", 1)[0] for page in decisions.glob("0*.md")}
    assert sorted((name, f"# {number}. {title}") for number, title, name in listed) == sorted(titles.items())


def test_the_index_of_operations_links_to_every_page() -> None:
    assert sorted(PAGES) == sorted(page.stem for page in (DOCS / "operations").glob("*.md"))
