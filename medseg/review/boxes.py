"""The box that a label lies in: edits and measurements look at it, not at the whole scan.

In: labels (I, J, K) uint8. Out: a box of slices, tight or with a margin.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ReviewError

__all__ = ["Box", "box_of", "require_box", "stroke_box", "widened"]

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


def stroke_box(keys: Sequence[tuple[Any, ...]]) -> Box:
    """The box around all parts of a stroke, each given by slices or by the indices of its voxels."""
    spans = [
        [
            (part.start, part.stop) if isinstance(part, slice) else (int(np.min(part)), int(np.max(part)) + 1)
            for part in key
        ]
        for key in keys
    ]
    first, second, third = (
        slice(min(one[0] for one in axis), max(one[1] for one in axis)) for axis in zip(*spans, strict=True)
    )
    return first, second, third


def _extent(line: NDArray[np.bool_] | np.bool_) -> slice:
    found = np.flatnonzero(line)
    return slice(int(found[0]), int(found[-1]) + 1)
