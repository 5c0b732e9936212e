"""How much of each label there is.

In: labels (I, J, K) uint8 and their grid. Out: volumes in mL, areas of slices in mm².
"""

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.label_map import count_values
from medseg.review.boxes import require_box

__all__ = ["areas_mm2", "volumes_ml"]


def volumes_ml(labels: NDArray[np.uint8], *, geometry: Geometry) -> dict[int, float]:
    """The volume of each label that occurs, by its value: voxels times the volume of one. Background is left out."""
    counts = count_values(labels)
    return {
        int(label): float(counts[label] * geometry.voxel_volume_mm3 / 1000)
        for label in np.flatnonzero(counts)
        if label != 0
    }


def areas_mm2(labels: NDArray[np.uint8], label: int, *, axis: int, geometry: Geometry) -> NDArray[np.float64]:
    """The area of the label on each slice across ``axis``, (slices of the scan,): pixels times the area of one.

    Raises:
        ReviewError: the label is nowhere.
    """
    box = require_box(labels, label)
    first, second = (along for along in range(3) if along != axis)
    edges = geometry.affine[:3, :3]
    pixel_mm2 = float(np.linalg.norm(np.cross(edges[:, first], edges[:, second])))
    areas = np.zeros(labels.shape[axis])
    areas[box[axis]] = np.count_nonzero(labels[box] == label, axis=(first, second)) * pixel_mm2
    return areas
