"""The score that weighted rendezvous compares: -log2 of a hash over a weight, in integers.

With u uniform in (0, 1], if the least -log(u) / w wins then a node of weight w wins its share w / W (Schindelhauer and
Schomaker, "Weighted distributed hash tables", SPAA 2005). Logarithms of floating-point libraries differ in the last bit
between machines, and with it owners would; a table in fixed point does not, as in Ceph's straw2 (`crush_ln`).
docs/strategies.md has the same definitions for other languages.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from strategies.model import Keys

# A hash's leading 44 bits go into the logarithm, made odd so that they are never 0. It comes in units of 2^-48; the
# table has a step for each value of the 14 bits after the leading one, the line between two steps covers the other 29.
_DROPPED: Final = 20
_BITS: Final = 44
_UNIT: Final = 48
_STEP_BITS: Final = 14
_LINE_BITS: Final = 29
_LINE: Final = (1 << _LINE_BITS) - 1

# Scores keep ten bits below the logarithm's unit, so that dividing by a weight seldom makes two of them equal.
_SCALE: Final = 10

_GUARD_BITS: Final = 128
_DOUBLE_FRACTION: Final = 52
_DOUBLE_BIAS: Final = 1023


@cache
def table() -> tuple[int, ...]:
    """floor(2^48 * log2(1 + i / 2^14)) for i = 0 .. 2^14.

    ln(1 + i / n) is a sum of ln(k / (k - 1)) = 2 artanh(1 / (2k - 1)), and the whole sum is ln 2. With 128 bits entries
    are off by less than 2^-60, while none but the two that are whole is nearer to a whole number than 2^-14: the floor
    is exact.
    """
    steps = 1 << _STEP_BITS
    sums = [0]
    for k in range(steps + 1, 2 * steps + 1):
        odd = 2 * k - 1
        term, divisor, total = (1 << _GUARD_BITS) // odd, 1, 0
        while term:
            total += term // divisor
            term, divisor = term // (odd * odd), divisor + 2
        sums.append(sums[-1] + total)
    return tuple((part << _UNIT) // sums[-1] for part in sums)


def negative_log2(mixed: int) -> int:
    """About -log2(mixed / 2^64) * 2^48, never less than it, less than 2^54, above 0; greater hashes give no more."""
    kept = mixed >> _DROPPED | 1
    exponent = kept.bit_length() - 1
    mantissa = (kept << (_BITS - 1 - exponent)) - (1 << (_BITS - 1))
    step, line = mantissa >> _LINE_BITS, mantissa & _LINE
    low, high = table()[step : step + 2]
    return (_BITS << _UNIT) - (exponent << _UNIT) - low - ((high - low) * line >> _LINE_BITS)


def score(mixed: int, weight: int) -> int:
    """Of a node whose hash with a shard is `mixed` (64 bits): least wins. `weight` is 1 or more; 64 bits."""
    return (negative_log2(mixed) << _SCALE) // weight


def scores(mixed: Keys, weights: np.uint64 | NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`score` of each, with one weight for all or a weight for each."""
    low, rise = _columns()
    kept = mixed >> np.uint64(_DROPPED)
    kept |= np.uint64(1)
    # A double holds 44 bits exactly, so its bit pattern has the exponent and the mantissa, without any rounding.
    bits = kept.view(np.int64).astype(np.float64).view(np.uint64)
    steps = (bits >> np.uint64(_DOUBLE_FRACTION - _STEP_BITS) & np.uint64((1 << _STEP_BITS) - 1)).view(np.int64)
    line = bits >> np.uint64(_DOUBLE_FRACTION - _STEP_BITS - _LINE_BITS)
    line &= np.uint64(_LINE)
    line *= rise.take(steps)
    line >>= np.uint64(_LINE_BITS)
    line += low.take(steps)
    bits >>= np.uint64(_DOUBLE_FRACTION)
    bits <<= np.uint64(_UNIT)
    bits += line
    result: NDArray[np.uint64] = np.uint64(_BITS + _DOUBLE_BIAS << _UNIT) - bits
    result <<= np.uint64(_SCALE)
    return np.floor_divide(result, weights, out=result)


@cache
def _columns() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The table's entries but the last, and how far it is from each to the next."""
    entries = np.array(table(), np.uint64)
    return entries[:-1], np.diff(entries)
