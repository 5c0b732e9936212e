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

__all__ = ["copy_slice", "interpolate_slices", "replace_between"]

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
    spacing = _spacing_in_slice(geometry, axis)
    filled = planes.copy()
    for low, high in gaps:
        _require_overlap(planes[low], planes[high], label, (box[axis].start + low, box[axis].start + high))
        filled[low + 1 : high] = _between(planes[low], planes[high], high - low - 1, spacing)
    inside = labels[box]
    joins = np.moveaxis(filled, 0, axis) & limits.free_for(label, inside)
    return limits.placed(labels, box, np.where(joins, np.uint8(label), inside))


def replace_between(
    labels: NDArray[np.uint8],
    label: int,
    *,
    axis: int,
    slices: tuple[int, int],
    geometry: Geometry,
    limits: Limits = BACKGROUND_ONLY,
) -> NDArray[np.uint8]:
    """The label with its outlines between two slices replaced by those that ``interpolate_slices`` would put there.

    For a reviewer who has corrected the two ends of a stretch that is wrong. Voxels that join come from
    ``limits.over`` only; voxels that the label leaves become background.

    Raises:
        ReviewError: the label is locked or not on both slices, no slice lies between them, one is outside the scan, or
            the two outlines do not overlap.
    """
    limits.require_unlocked(label)
    low, high = sorted(slices)
    _require_slices(labels.shape, axis, low, high)
    if high - low < 2:
        raise ReviewError(f"no slice lies between slices {low} and {high}: choose two that are farther apart.")
    box = _some_slices(labels.shape, axis, low, high + 1)
    inside = labels[box]
    planes = np.moveaxis(inside == label, axis, 0)
    for index, plane in ((low, planes[0]), (high, planes[-1])):
        if not plane.any():
            raise ReviewError(f"label {label} is not on slice {index}: paint it there first.")
    _require_overlap(planes[0], planes[-1], label, (low, high))
    filled = planes.copy()
    filled[1:-1] = _between(planes[0], planes[-1], high - low - 1, _spacing_in_slice(geometry, axis))
    outlines = np.moveaxis(filled, 0, axis)
    edited = np.where(inside == label, np.uint8(0), inside)
    edited[outlines & limits.free_for(label, inside)] = label
    return limits.placed(labels, box, edited)


def copy_slice(
    labels: NDArray[np.uint8], label: int, *, axis: int, source: int, target: int, limits: Limits = BACKGROUND_ONLY
) -> NDArray[np.uint8]:
    """The label's outline on slice ``source`` across ``axis``, put on slice ``target`` in the place of the one there.

    Voxels that join come from ``limits.over`` only; voxels that the label leaves become background.

    Raises:
        ReviewError: the label is not on the source, is locked, or a slice is not in the scan.
    """
    limits.require_unlocked(label)
    _require_slices(labels.shape, axis, source, target)
    outline = np.take(labels, [source], axis) == label
    if not outline.any():
        raise ReviewError(f"label {label} is not on slice {source}: copy from a slice that has it.")
    box = _some_slices(labels.shape, axis, target, target + 1)
    there = labels[box]
    edited = np.where(there == label, np.uint8(0), there)
    edited[outline & limits.free_for(label, there)] = label
    return limits.placed(labels, box, edited)


def _between(low: Slice, high: Slice, count: int, spacing: tuple[float, ...]) -> NDArray[np.bool_]:
    """``count`` outlines at equal steps between two (A, B) → (count, A, B)."""
    both = low | high
    rows, columns = (np.flatnonzero(both.any(axis=other)) for other in (1, 0))
    place = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # nothing in between lies outside both
    start, stop = _signed_distance_mm(low[place], spacing), _signed_distance_mm(high[place], spacing)
    outlines = np.zeros((count, *low.shape), bool)
    for step in range(count):
        share = (step + 1) / (count + 1)
        outlines[step][place] = (1 - share) * start + share * stop > TIE_MM
    return outlines


def _signed_distance_mm(outline: Slice, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Distance in mm to the nearest voxel of the other kind, positive inside; beyond its box the slice is empty."""
    padded = np.pad(outline, 1)
    inner = ndimage.distance_transform_edt(padded, sampling=spacing)
    outer = ndimage.distance_transform_edt(~padded, sampling=spacing)
    signed: NDArray[np.float64] = (inner - outer)[1:-1, 1:-1]
    return signed


def _require_overlap(low: Slice, high: Slice, label: int, slices: tuple[int, int]) -> None:
    if not (low & high).any():
        raise ReviewError(
            f"the outlines of label {label} on slices {slices[0]} and {slices[1]} do not overlap: "
            "paint one more slice between them."
        )


def _require_slices(shape: tuple[int, ...], axis: int, *slices: int) -> None:
    for index in slices:
        if not 0 <= index < shape[axis]:
            raise ReviewError(
                f"slice {index} is outside the scan, which has slices 0 to {shape[axis] - 1} across this axis."
            )


def _spacing_in_slice(geometry: Geometry, axis: int) -> tuple[float, ...]:
    return tuple(size for along, size in enumerate(geometry.spacing_mm) if along != axis)


def _some_slices(shape: tuple[int, ...], axis: int, start: int, stop: int) -> Box:
    i, j, k = (slice(start, stop) if along == axis else slice(0, size) for along, size in enumerate(shape))
    return i, j, k
