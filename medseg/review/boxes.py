"""The box that a label lies in: edits and measurements look at it, not at the whole scan.

In: labels (I, J, K) uint8. Out: a box of slices, tight or with a margin.
"""

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ReviewError

__all__ = ["Box", "box_of", "require_box", "widened"]

Box = tuple[slice, slice, slice]


def box_of(labels: NDArray[np.uint8], label: int) -> Box | None:
    """The smallest box that holds every voxel of ``label``; None where there is none."""
    rows = np.zeros(labels.shape[0], bool)
    shadow = np.zeros(labels.shape[1:], bool)
    for row, plane in enumerate(labels):  # plane by plane: a mask of a whole CT would have to be made and read again
        found = plane == label
        rows[row] = found.any()
        if rows[row]:
            shadow |= found
    if not rows.any():
        return None
    return _extent(rows), _extent(shadow.any(axis=1)), _extent(shadow.any(axis=0))


def require_box(labels: NDArray[np.uint8], label: int) -> Box:
    """The smallest box that holds every voxel of ``label``.

    Raises:
        ReviewError: no voxel has this label.
    """
    box = box_of(labels, label)
    if box is None:
        raise ReviewError(f"label {label} is nowhere in this case: choose a label that is, or paint it first.")
    return box


def widened(box: Box, shape: tuple[int, ...], margin: tuple[int, int, int]) -> Box:
    """The box with ``margin`` voxels more at both ends of each axis, as far as the scan reaches."""
    i, j, k = (
        slice(max(0, one.start - more), min(size, one.stop + more))
        for one, size, more in zip(box, shape, margin, strict=True)
    )
    return i, j, k


def _extent(line: NDArray[np.bool_] | np.bool_) -> slice:
    found = np.flatnonzero(line)
    return slice(int(found[0]), int(found[-1]) + 1)
