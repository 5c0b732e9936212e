"""A label made larger or smaller by a margin in millimetres.

In: labels (I, J, K) uint8 on the scan's own grid, a label, a margin. Out: new labels. Distances are Euclidean, from
voxel centre to voxel centre, with the voxel size of each axis; the three axes are taken to be perpendicular, as they
are but for CT series with an uncorrected gantry tilt.
"""

import math

import numpy as np
from numpy.typing import NDArray

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
    """Where a voxel's centre lies within ``distance_mm`` of the centre of a voxel of the mask (I, J, K).

    The squared distance is made axis by axis, as in Felzenszwalb and Huttenlocher 2012, "Distance transforms of
    sampled functions" (Theory of Computing 8(19)), but looked for no farther than the margin: for the margins of an
    edit that is several times quicker than a whole distance transform, and gives the same.
    """
    squared = np.where(mask, np.float32(0), np.float32(np.inf))
    for axis, (steps, size) in enumerate(zip(_margin_voxels(distance_mm, geometry), geometry.spacing_mm, strict=True)):
        nearest = squared.copy()
        source, target = np.moveaxis(squared, axis, 0), np.moveaxis(nearest, axis, 0)
        for step in range(1, min(steps, len(source) - 1) + 1):
            farther = np.float32((step * size) ** 2)
            np.minimum(target[step:], source[:-step] + farther, out=target[step:])
            np.minimum(target[:-step], source[step:] + farther, out=target[:-step])
        squared = nearest
    near: NDArray[np.bool_] = squared <= np.float32((distance_mm + SLACK_MM) ** 2)
    return near


def _margin_voxels(by_mm: float, geometry: Geometry) -> tuple[int, int, int]:
    i, j, k = (math.floor((by_mm + SLACK_MM) / size) for size in geometry.spacing_mm)
    return i, j, k


def _check_margin(by_mm: float) -> None:
    if not (math.isfinite(by_mm) and by_mm > 0):
        raise ReviewError(f"a margin of {by_mm:g} mm was asked for: a number of millimetres above 0 was expected.")
