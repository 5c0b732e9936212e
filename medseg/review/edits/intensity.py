"""Painting limited to a range of intensities.

In: the image under a stroke, a range. Out: where the stroke may paint.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ReviewError

__all__ = ["allowed_by_intensity"]


def allowed_by_intensity(image: NDArray[np.number[Any]], *, lowest: float, highest: float) -> NDArray[np.bool_]:
    """Where the image lies in the range, both ends included; a voxel without a value (NaN) never does.

    Args:
        image: any shape: the scan, a box of it or the voxels of a stroke; the units are the image's own (HU for CT).
    Raises:
        ReviewError: the range is empty.
    """
    if not lowest <= highest:
        raise ReviewError(f"the range from {lowest:g} to {highest:g} is empty: the lowest intensity comes first.")
    allowed: NDArray[np.bool_] = (image >= lowest) & (image <= highest)
    return allowed
