"""Points on the circle of 64-bit values, for many positions at once: which point comes next, and what lies in arcs."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from strategies.model import Keys

# Four million sections, and four bytes for each, are enough for the largest ring.
_MAX_SECTION_BITS: Final = 22
# Points that are hashes are even enough to be found in so many steps, but for few. A search finds the others.
_STEPS: Final = 3


class Circle:
    """`points` ascend and are one at least; equal ones are kept, and the first of them is the one that is found.

    The circle is cut into sections of equal length, two or more for each point. As points are even, a section's first
    point is the one that is sought, or next to it.
    """

    def __init__(self, points: Keys) -> None:
        section_bits = min(len(points).bit_length() + 1, _MAX_SECTION_BITS)
        self._shift = np.uint64(64 - section_bits)
        self._sections = 1 << section_bits
        starts = np.arange(self._sections, dtype=np.uint64) << self._shift
        self._first = np.searchsorted(points, starts).astype(np.int32)
        # Nothing lies beyond the greatest value, so a search that steps past the last point stays there.
        self._fenced = np.append(points, ~np.uint64(0))
        self._points = self._fenced[:-1]

    @property
    def points(self) -> Keys:
        return self._points

    def successors(self, positions: Keys) -> NDArray[np.int32]:
        """For each position the index of the first point that is not before it, round the circle."""
        found: NDArray[np.int32] = self._first[self._section(positions)]
        short = np.flatnonzero(self._fenced[found] < positions)
        for _ in range(_STEPS):
            found[short] += 1
            short = short[self._fenced[found[short]] < positions[short]]
        found[short] = np.searchsorted(self._points, positions[short])
        found[found == len(self._points)] = 0
        return found

    def arcs_to(self, points: Keys) -> tuple[Keys, Keys]:
        """(from, to]: the arcs whose positions have one of these points of the circle as successor.

        Where that is the whole circle, both ends are the same.
        """
        return self._points[self.successors(points) - 1], points

    def among(self, positions: Keys, starts: Keys, ends: Keys) -> NDArray[np.intp]:
        """Indexes of all positions in any of these arcs, and of a few that lie near."""
        first, last = self._section(starts), self._section(ends)
        steps = np.zeros(self._sections + 1, np.int32)
        np.add.at(steps, first, 1)
        np.subtract.at(steps, last + 1, 1)
        steps[0] += np.count_nonzero(starts >= ends)  # they go round, and so begin again at 0
        return np.flatnonzero((np.cumsum(steps) > 0)[self._section(positions)])

    def _section(self, positions: Keys) -> NDArray[np.intp]:
        return (positions >> self._shift).astype(np.intp)
