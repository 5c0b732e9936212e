"""From slice to slice: outlines between painted slices, and a slice copied to another.

In: labels (I, J, K) uint8, a label, an axis of the array: slices lie across it. Out: new labels.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.boxes import Box, require_box
from medseg.review.edits.protect import BACKGROUND_ONLY, Limits

__all__ = ["copy_slice", "interpolate_slices"]

Slice = NDArray[np.bool_]

TIE_MM = 1e-6
"""On the outline, up to rounding: such a voxel stays outside."""


def interpolate_slices(
    labels: NDArray[np.uint8], label: int, *, axis: int, geometry: Geometry, limits: Limits = BACKGROUND_ONLY
) -> NDArray[np.uint8]:
    """The label with its gaps across ``axis`` filled: slices without it that lie between two with it.

    Shape-based interpolation (Raya and Udupa 1990, "Shape-based interpolation of multidimensional objects", IEEE
    Transactions on Medical Imaging 9(1)): each painted slice becomes a map of signed distances in mm to its outline,
    positive inside; in between, the maps are mixed linearly, and the label is where the mixture is above 0. Painted
    slices stay as they are; what is filled takes the values of ``limits.over`` only.

    Raises:
        ReviewError: the label is nowhere, is locked, has fewer than two painted slices or no gap between them, or the
            outlines on both sides of a gap do not overlap, so that nothing would lie half way.
    """
    limits.require_unlocked(label)
    box = require_box(labels, label)
    planes = np.moveaxis(labels[box] == label, axis, 0)
    painted = np.flatnonzero(planes.any(axis=(1, 2)))
    gaps = [(int(low), int(high)) for low, high in pairwise(painted) if high - low > 1]
    if not gaps:
        found = f"label {label} is painted on {len(painted)} slices" + (" without a gap" if len(painted) > 1 else "")
        raise ReviewError(f"{found}: two painted slices with unpainted ones between them were expected.")
    spacing = tuple(size for along, size in enumerate(geometry.spacing_mm) if along != axis)
    filled = planes.copy()
    for low, high in gaps:
        if not (planes[low] & planes[high]).any():
            first = box[axis].start
            raise ReviewError(
                f"the outlines of label {label} on slices {first + low} and {first + high} do not overlap: "
                "paint one more slice between them."
            )
        filled[low + 1 : high] = _between(planes[low], planes[high], high - low - 1, spacing)
    inside = labels[box]
    joins = np.moveaxis(filled, 0, axis) & limits.free_for(label, inside)
    return limits.placed(labels, box, np.where(joins, np.uint8(label), inside))


def copy_slice(
    labels: NDArray[np.uint8], label: int, *, axis: int, source: int, target: int, limits: Limits = BACKGROUND_ONLY
) -> NDArray[np.uint8]:
    """The label's outline on slice ``source`` across ``axis``, put on slice ``target`` in the place of the one there.

    Voxels that join come from ``limits.over`` only; voxels that the label leaves become background.

    Raises:
        ReviewError: the label is not on the source, is locked, or a slice is not in the scan.
    """
    limits.require_unlocked(label)
    count = labels.shape[axis]
    for index in (source, target):
        if not 0 <= index < count:
            raise ReviewError(f"slice {index} is outside the scan, which has slices 0 to {count - 1} across this axis.")
    outline = np.take(labels, [source], axis) == label
    if not outline.any():
        raise ReviewError(f"label {label} is not on slice {source}: copy from a slice that has it.")
    box = _one_slice(labels.shape, axis, target)
    there = labels[box]
    edited = np.where(there == label, np.uint8(0), there)
    edited[outline & limits.free_for(label, there)] = label
    return limits.placed(labels, box, edited)


def _between(low: Slice, high: Slice, count: int, spacing: tuple[float, ...]) -> NDArray[np.bool_]:
    """``count`` outlines at equal steps between two (A, B) → (count, A, B)."""
    start, stop = _signed_distance_mm(low, spacing), _signed_distance_mm(high, spacing)
    shares = np.arange(1, count + 1) / (count + 1)
    return np.stack([(1 - share) * start + share * stop > TIE_MM for share in shares])


def _signed_distance_mm(outline: Slice, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Distance in mm to the nearest voxel of the other kind, positive inside; beyond its box the slice is empty."""
    padded = np.pad(outline, 1)
    inner = ndimage.distance_transform_edt(padded, sampling=spacing)
    outer = ndimage.distance_transform_edt(~padded, sampling=spacing)
    signed: NDArray[np.float64] = (inner - outer)[1:-1, 1:-1]
    return signed


def _one_slice(shape: tuple[int, ...], axis: int, index: int) -> Box:
    i, j, k = (slice(index, index + 1) if along == axis else slice(0, size) for along, size in enumerate(shape))
    return i, j, k
