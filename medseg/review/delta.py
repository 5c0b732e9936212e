"""One edit of a label map as what it changed: small to keep, exact to undo.

In: label arrays before and after, or the voxels that a brush reported. Out: a ``Delta`` that can be applied,
reverted, kept in a history and written to a disk.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError

__all__ = ["Delta", "delta_between"]

ROWS_AT_A_TIME = 16
"""Planes compared at once: the comparison of a large CT then needs no mask of the whole volume."""


@dataclass(frozen=True, eq=False)
class Delta:
    """The voxels that an edit changed, and what they held before and after.

    Attributes:
        positions: (N,) int64, flat indices in C order into labels of ``shape``; each stands once.
        before: (N,) uint8.
        after: (N,) uint8.
        shape: of the label map (I, J, K).
        name: what was done, for a person: ``"paint"``, ``"grow 2 mm"``.
    """

    positions: NDArray[np.int64]
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    shape: tuple[int, int, int]
    name: str

    def __len__(self) -> int:
        return len(self.positions)

    def applied_to(self, labels: NDArray[np.uint8]) -> None:
        """Put the values after the edit into ``labels``, in place: a copy of a large CT takes longer than a stroke.

        Raises:
            GeometryError: the labels have another shape.
        """
        self._flat(labels)[self.positions] = self.after

    def taken_from(self, labels: NDArray[np.uint8]) -> None:
        """Put the values before the edit back into ``labels``, in place.

        Raises:
            GeometryError: the labels have another shape.
        """
        self._flat(labels)[self.positions] = self.before

    def box(self) -> tuple[slice, slice, slice]:
        """The smallest box (I, J, K) that holds every changed voxel; empty slices where nothing changed."""
        if not len(self):
            return slice(0, 0), slice(0, 0), slice(0, 0)
        axes = np.unravel_index(self.positions, self.shape)
        i, j, k = (slice(int(axis.min()), int(axis.max()) + 1) for axis in axes)
        return i, j, k

    def _flat(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if labels.shape != self.shape or not labels.flags.c_contiguous:
            raise GeometryError(
                f"an edit of labels of shape {self.shape} was to change an array of shape {labels.shape}: "
                "the same label map, in C order, was expected. Open the case again."
            )
        return labels.reshape(-1)


def delta_between(before: NDArray[np.uint8], after: NDArray[np.uint8], *, name: str) -> Delta:
    """What changed from ``before`` to ``after``, both (I, J, K) uint8.

    Raises:
        GeometryError: the two have different shapes.
    """
    if before.shape != after.shape:
        raise GeometryError(f"an edit changed the shape of the labels from {before.shape} to {after.shape}.")
    i, j, k = before.shape
    plane = j * k
    found = []
    for start in range(0, i, ROWS_AT_A_TIME):
        stop = start + ROWS_AT_A_TIME
        changed = np.flatnonzero(before[start:stop] != after[start:stop])
        found.append(changed.astype(np.int64) + start * plane)
    positions = np.concatenate(found)
    axes = np.unravel_index(positions, before.shape)
    return Delta(positions, before[axes], after[axes], (i, j, k), name)
