"""What a label map holds: how many voxels of each value, and where they lie.

In: labels (I, J, K). Out: counts and boxes as slices, so that every later step looks at the voxels of one label only.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Box", "areas_along", "box_around", "count_values", "label_boxes"]

Box = tuple[slice, ...]
"""The voxels along each axis, from the first to before the last; starts and stops are never None."""


def label_boxes(labels: NDArray[Any]) -> dict[int, Box]:
    """The box of every value above 0 that the labels hold, in one pass over them."""
    boxes = enumerate(ndimage.find_objects(labels), start=1)
    return {value: box for value, box in boxes if box is not None}


def box_around(boxes: Iterable[Box]) -> Box:
    """The smallest box that holds all ``boxes``, of which there is one at least."""
    sides = zip(*boxes, strict=True)
    return tuple(slice(min(one.start for one in side), max(one.stop for one in side)) for side in sides)


def count_values(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each of the 256 values occurs, (256,)."""
    counts = np.zeros(256, np.int64)
    for plane in labels:  # numpy counts in 64-bit integers: eight times the scan, were it given whole
        counts += np.bincount(plane.reshape(-1), minlength=256)
    return counts


def areas_along(mask: NDArray[np.bool_], axis: int) -> NDArray[np.int64]:
    """How many voxels of a mask (I, J, K) lie in each slice across ``axis``."""
    others = tuple(other for other in range(mask.ndim) if other != axis)
    areas: NDArray[np.int64] = np.count_nonzero(mask, axis=others)
    return areas
