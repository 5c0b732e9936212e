"""A label made larger or smaller by a margin in millimetres.

In: labels (I, J, K) uint8 on the scan's own grid, a label, a margin. Out: new labels. Distances are Euclidean, from
voxel centre to voxel centre, with the voxel size of each axis (``scipy.ndimage.distance_transform_edt``; the three
axes are taken to be perpendicular, as they are but for CT series with an uncorrected gantry tilt).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.boxes import require_box, widened
from medseg.review.edits.protect import BACKGROUND_ONLY, Limits

__all__ = ["grow", "shrink"]

SLACK_MM = 1e-4
"""A centre this much farther away is still within the margin: headers keep spacings as 32-bit floats."""


def grow(
    labels: NDArray[np.uint8], label: int, *, by_mm: float, geometry: Geometry, limits: Limits = BACKGROUND_ONLY
) -> NDArray[np.uint8]:
    """The label with every voxel whose centre lies within ``by_mm`` of the centre of one of its voxels.

    It grows into the values of ``limits.over`` only. Distances run through other labels, not around them.

    Raises:
        ReviewError: the label is nowhere, is locked, or the margin is not above 0.
    """
    limits.require_unlocked(label)
    _check_margin(by_mm)
    box = widened(require_box(labels, label), labels.shape, _margin_voxels(by_mm, geometry))
    inside = labels[box]
    near = within_mm(inside == label, by_mm, geometry)
    return limits.placed(labels, box, np.where(near & limits.free_for(label, inside), np.uint8(label), inside))


def shrink(
    labels: NDArray[np.uint8], label: int, *, by_mm: float, geometry: Geometry, limits: Limits = BACKGROUND_ONLY
) -> NDArray[np.uint8]:
    """The label without every voxel whose centre lies within ``by_mm`` of the centre of a voxel outside it.

    What it leaves becomes background, at its borders with other labels too. The end of the scan is no border: an
    organ that is cut off there does not draw back from it.

    Raises:
        ReviewError: the label is nowhere, is locked, or the margin is not above 0, or nothing would be left.
    """
    limits.require_unlocked(label)
    _check_margin(by_mm)
    box = widened(require_box(labels, label), labels.shape, (1, 1, 1))  # its nearest outside is within one voxel
    inside = labels[box]
    mask = inside == label
    lost = mask & within_mm(~mask, by_mm, geometry)
    if lost.sum() == mask.sum():
        raise ReviewError(f"nothing would be left of label {label} {by_mm:g} mm smaller: choose a smaller margin.")
    return limits.placed(labels, box, np.where(lost, np.uint8(0), inside))


def within_mm(mask: NDArray[np.bool_], distance_mm: float, geometry: Geometry) -> NDArray[np.bool_]:
    """Where a voxel's centre lies within ``distance_mm`` of the centre of a voxel of the mask (I, J, K)."""
    if not mask.any():
        return np.zeros(mask.shape, bool)
    distances = ndimage.distance_transform_edt(~mask, sampling=geometry.spacing_mm)
    near: NDArray[np.bool_] = distances <= distance_mm + SLACK_MM
    return near


def _margin_voxels(by_mm: float, geometry: Geometry) -> tuple[int, int, int]:
    i, j, k = (math.floor((by_mm + SLACK_MM) / size) for size in geometry.spacing_mm)
    return i, j, k


def _check_margin(by_mm: float) -> None:
    if not (math.isfinite(by_mm) and by_mm > 0):
        raise ReviewError(f"a margin of {by_mm:g} mm was asked for: a number of millimetres above 0 was expected.")
