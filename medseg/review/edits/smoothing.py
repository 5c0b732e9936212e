"""A label with a smoother surface.

In: labels (I, J, K) uint8, a label, a width in millimetres. Out: new labels.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.boxes import require_box, widened
from medseg.review.edits.protect import BACKGROUND_ONLY, Limits

__all__ = ["smooth"]

REACH_SIGMAS = 3.0
"""The Gaussian ends here; what lies beyond weighs 0.3 percent along an axis."""


def smooth(
    labels: NDArray[np.uint8], label: int, *, sigma_mm: float, geometry: Geometry, limits: Limits = BACKGROUND_ONLY
) -> NDArray[np.uint8]:
    """The label where its mask, blurred by a Gaussian of ``sigma_mm``, is at least one half.

    Bumps and dents narrower than about ``sigma_mm`` go; a flat surface stays where it is, a ball of radius r loses
    about ``sigma_mm² / r`` of it, and parts thinner than ``sigma_mm`` vanish. Voxels that leave become background, at
    borders with other labels too; voxels that join come from ``limits.over`` only. Beyond the scan its outermost
    voxels go on.

    Raises:
        ReviewError: the label is nowhere, is locked, the width is not above 0, or nothing would be left.
    """
    limits.require_unlocked(label)
    if not (math.isfinite(sigma_mm) and sigma_mm > 0):
        raise ReviewError(f"smoothing by {sigma_mm:g} mm was asked for: a number of millimetres above 0 was expected.")
    sigmas = [sigma_mm / size for size in geometry.spacing_mm]
    i, j, k = (math.ceil(REACH_SIGMAS * sigma) for sigma in sigmas)
    box = widened(require_box(labels, label), labels.shape, (i, j, k))
    inside = labels[box]
    mask = inside == label
    blurred = ndimage.gaussian_filter(mask.astype(np.float32), sigmas, mode="nearest", truncate=REACH_SIGMAS)
    smoothed = blurred >= 0.5
    if not smoothed.any():
        raise ReviewError(f"label {label} is too thin to be smoothed by {sigma_mm:g} mm: choose a smaller width.")
    edited = np.where(mask & ~smoothed, np.uint8(0), inside)
    edited[smoothed & limits.free_for(label, inside)] = label
    return limits.placed(labels, box, edited)
