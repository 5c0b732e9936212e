"""How large a structure is in each slice: a hole or a jump in this curve is a slice worth looking at.

In: labels in the screen's order (z, y, x). Out: one area a slice, in square millimetres.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["slice_areas"]


def slice_areas(labels: NDArray[Any], index: int, *, axis: int, scale_mm: Sequence[float]) -> NDArray[np.float64]:
    """The area of label ``index`` in each slice across ``axis``, in mm², for voxels of ``scale_mm``."""
    slices = np.moveaxis(labels, axis, 0)
    counts = np.array([np.count_nonzero(one == index) for one in slices], dtype=np.float64)
    first, second = (scale_mm[other] for other in range(3) if other != axis)
    return counts * first * second
