"""The fixed-point logarithm, held against decimal arithmetic of 60 digits."""

from __future__ import annotations

import math
import random
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest

from strategies.logarithm import negative_log2, score, scores, table

LAST = 2**64 - 1
EDGES = [0, LAST, *(2**bit + step for bit in range(64) for step in (-1, 0, 1)), *(LAST - 2**bit for bit in range(64))]
RANDOM = [random.Random(6).getrandbits(64) for _ in range(300)]
NEAR_THE_TOP = [LAST - random.Random(bits).getrandbits(bits) for bits in range(20, 64)]
HASHES = [*EDGES, *RANDOM, *NEAR_THE_TOP]


def logarithms(count: int) -> list[Decimal]:
    """ln 1 .. ln count after a 0, calling the library for those of primes only: ln(a * b) = ln a + ln b."""
    factor = list(range(count + 1))
    for prime in range(math.isqrt(count), 1, -1):
        factor[prime * prime :: prime] = [prime] * len(factor[prime * prime :: prime])
    result = [Decimal(0), Decimal(0)]
    for number in range(2, count + 1):
        of = factor[number]
        result.append(Decimal(number).ln() if of == number else result[of] + result[number // of])
    return result


def test_every_entry_of_the_table_is_the_logarithm_rounded_down() -> None:
    with localcontext() as context:
        context.prec = 60
        of = logarithms(2**15)
        inner = [int((of[2**14 + i] - of[2**14]) / of[2] * 2**48) for i in range(1, 2**14)]
    assert table() == (0, *inner, 2**48)


def test_the_logarithm_is_never_too_small_and_at_most_a_billionth_too_great() -> None:
    with localcontext() as context:
        context.prec = 60
        for mixed in HASHES:
            exact = -(Decimal(mixed >> 20 | 1) / 2**44).ln() / Decimal(2).ln()
            assert 0 <= negative_log2(mixed) - exact * 2**48 < 2**18, hex(mixed)


def test_dropping_twenty_bits_of_the_hash_changes_it_by_no_more_than_they_hold() -> None:
    for mixed in HASHES:
        assert abs((mixed >> 20 | 1) - mixed / 2**20) <= 1


def test_greater_hashes_never_have_greater_logarithms() -> None:
    steps = [(2**14 + step << 50) + offset for step in range(0, 2**14, 97) for offset in (-(2**20), -1, 0, 1, 2**20)]
    logarithms = [negative_log2(mixed) for mixed in sorted(HASHES + [step % 2**64 for step in steps])]
    assert all(low >= high for low, high in pairwise(logarithms))


def test_it_is_above_zero_and_below_two_to_the_54() -> None:
    assert negative_log2(LAST) == 24
    assert negative_log2(0) == 44 << 48 < 2**54


@pytest.mark.parametrize(
    ("mixed", "weight", "expected"),
    [
        (2**63, 1, 288230376151664640),
        (2**63 - 1, 1, 288230376151759872),
        (2**62, 4, 144115188075832320),
        (0xC000000000000000, 3, 39875471511392256),
        (0x123456789ABCDEF0, 1000, 1099247587441391),
        (LAST, 2**40, 0),
    ],
)
def test_scores_are_these(mixed: int, weight: int, expected: int) -> None:
    assert score(mixed, weight) == expected


def test_columns_of_scores_are_the_scores() -> None:
    chance = random.Random(7)
    weights = [chance.choice([1, 3, 2**20, 2**40, chance.randint(1, 2**20)]) for _ in HASHES]
    column = np.array(HASHES, np.uint64)
    assert scores(column, np.array(weights, np.uint64)).tolist() == list(map(score, HASHES, weights))
    for weight in (1, 7, 2**40):
        assert scores(column, np.uint64(weight)).tolist() == [score(mixed, weight) for mixed in HASHES]
    assert column.tolist() == HASHES
