"""Outlines of labels at the resolution of the picture.

In: a plane of labels in voxels. Out: an RGBA layer in pixels. An outline runs along the voxels' borders inside its
own label, so neighbours keep their colours side by side; what is thinner than two outlines is filled.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.labels import LabelTable

__all__ = ["outline_layer"]

OUTLINE_PX = 2
FILL_OPACITY = 0.12
"""Enough to say which side of an outline is inside, little enough to see the tissue."""


def outline_layer(labels: NDArray[np.uint8], label_table: LabelTable, *, width: int, height: int) -> NDArray[np.uint8]:
    """An RGBA layer (height, width, 4) for labels (rows, columns): outlines opaque, insides faintly tinted."""
    enlarged = labels[_nearest(labels.shape[0], height)][:, _nearest(labels.shape[1], width)]
    side = 2 * OUTLINE_PX + 1
    lowest = ndimage.minimum_filter(enlarged, size=side, mode="constant", cval=0)  # 0: an edge of the scan is an edge
    highest = ndimage.maximum_filter(enlarged, size=side, mode="constant", cval=0)
    colors = np.zeros((256, 4), dtype=np.uint8)
    for label in label_table:
        colors[label.index] = (*label.color, round(FILL_OPACITY * 255))
    layer: NDArray[np.uint8] = colors[enlarged]
    layer[(enlarged > 0) & (lowest != highest), 3] = 255
    return layer


def _nearest(voxels: int, pixels: int) -> NDArray[np.int64]:
    """For the middle of each pixel the voxel that covers it."""
    covering: NDArray[np.int64] = ((np.arange(pixels) + 0.5) * voxels / pixels).astype(np.int64)
    return covering
