"""The box around each label, so that every later step looks at the voxels of one label only.

In: labels (I, J, K). Out: boxes as slices, and areas of a mask along its axes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Box", "areas_along", "label_boxes"]

Box = tuple[slice, ...]
"""The voxels along each axis, from the first to before the last; starts and stops are never None."""


def label_boxes(labels: NDArray[np.uint8]) -> dict[int, Box]:
    """The box of every value above 0 that the labels hold, in one pass over them."""
    boxes = enumerate(ndimage.find_objects(labels), start=1)
    return {value: box for value, box in boxes if box is not None}


def areas_along(mask: NDArray[np.bool_], axis: int) -> NDArray[np.int64]:
    """How many voxels of a mask (I, J, K) lie in each slice across ``axis``."""
    others = tuple(other for other in range(mask.ndim) if other != axis)
    areas: NDArray[np.int64] = np.count_nonzero(mask, axis=others)
    return areas
