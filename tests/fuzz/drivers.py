"""Who decides what an input is: Hypothesis, which shrinks what fails, for some; a generator with a seed for the rest.

Hypothesis takes half a millisecond for an input, more than most of these take to be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.length import rounds

_FULL: Final = 45
"""So many times as many under `make soak`."""


def inputs(short: int) -> int:
    """Of one kind: `short` in `make test`."""
    return rounds(short * _FULL, short)


def shrinking(count: int, one: Callable[[Random], object]) -> None:
    """Try that many, and report a small one that fails. Replayable: the same ones every time."""

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def tried(random: Random) -> None:
        one(random)

    tried()


def seeded(count: int, seed: int = 1) -> Iterator[Random]:
    """As many generators: an input that fails is found again by its number alone."""
    return (Random(f"{seed}/{number}") for number in range(count))
