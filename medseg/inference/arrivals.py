"""What of a scan can be restored as the network's planes arrive."""

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import EDGE_VOXELS

__all__ = ["Arrivals"]


class Arrivals:
    """Which planes of the scan can be restored as the network's planes arrive; mutable.

    Args:
        positions: where each plane of the scan lies among the network's.
        n_planes: of the network's grid.
        together: planes of the scan that are restored together, counted from the first.
    """

    def __init__(self, positions: NDArray[np.float64], *, n_planes: int, together: int | None = None) -> None:
        self.first = 0
        """The first of the network's planes that is held."""
        self._positions = positions
        self._last = n_planes - 1
        self._lower = np.floor(np.clip(positions, 0, self._last)).astype(int)
        self._upper = np.ceil(np.clip(positions, 0, self._last)).astype(int)
        if together is not None:
            groups = np.arange(len(positions)) // together
            self._lower = np.array([self._lower[groups == group].min() for group in groups])
            self._upper = np.array([self._upper[groups == group].max() for group in groups])
        self._is_open = np.ones(len(positions), dtype=bool)
        self._end = 0

    def ready(self, n_held: int) -> NDArray[np.intp]:
        """The planes of the scan, not given before, that lie among the planes held, from the first on so many."""
        self._end = self.first + n_held
        found = np.flatnonzero(self._is_open & (self._upper < self._end))
        self._is_open[found] = False
        return found

    def seen(self, planes: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of the scan's planes that the network saw."""
        positions = self._positions[planes]
        return planes[(positions >= -EDGE_VOXELS) & (positions <= self._last + EDGE_VOXELS)]

    def span(self, planes: NDArray[np.intp]) -> tuple[int, int]:
        """The first of the network's planes that these planes of the scan lie among, and how many they are."""
        begin = int(self._lower[planes].min())
        return begin, int(self._upper[planes].max()) - begin + 1

    def advance(self) -> int:
        """Drop what no open plane needs: how many of the planes held."""
        needed = int(self._lower[self._is_open].min()) if self._is_open.any() else self._end
        drop = min(max(needed, self.first), self._end) - self.first
        self.first += drop
        return drop
