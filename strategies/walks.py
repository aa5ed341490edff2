"""Ranks that are walks over nodes: the first one met comes first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain


def onwards(circle: Sequence[int], start: int) -> Iterator[int]:
    """Every item once, from the one at `start` to the last and then from the first."""
    return map(circle.__getitem__, chain(range(start, len(circle)), range(start)))


def first_met(walk: Iterable[int], enough: int) -> list[int]:
    """The distinct values of `walk` in order of first appearance, `enough` of them at most."""
    met: dict[int, None] = {}
    for value in walk:
        if value not in met:
            met[value] = None
            if len(met) == enough:
                break
    return list(met)
