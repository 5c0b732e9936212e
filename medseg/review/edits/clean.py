"""Loose pieces taken away, holes filled.

In: labels (I, J, K) uint8, a label. Out: new labels. Pieces are those of ``medseg.review.pieces``; what is taken away
becomes background.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.boxes import require_box
from medseg.review.edits.protect import BACKGROUND_ONLY, Limits
from medseg.review.pieces import pieces_of

__all__ = ["fill_holes", "fill_holes_in_slices", "keep_largest", "remove_islands"]


def keep_largest(labels: NDArray[np.uint8], label: int, *, limits: Limits = BACKGROUND_ONLY) -> NDArray[np.uint8]:
    """The label's largest piece alone; of equal ones that which comes first in C order.

    Raises:
        ReviewError: the label is nowhere, or is locked.
    """
    limits.require_unlocked(label)
    box = require_box(labels, label)
    inside = labels[box]
    mask = inside == label
    pieces = pieces_of(mask)
    lost = mask & (pieces.numbers != pieces.order[0])
    return limits.placed(labels, box, np.where(lost, np.uint8(0), inside))


def remove_islands(
    labels: NDArray[np.uint8],
    label: int,
    *,
    smaller_than_ml: float,
    geometry: Geometry,
    limits: Limits = BACKGROUND_ONLY,
) -> NDArray[np.uint8]:
    """The label without its pieces of a volume below ``smaller_than_ml``; all of them may go.

    Raises:
        ReviewError: the label is nowhere, is locked, or the volume is not above 0.
    """
    limits.require_unlocked(label)
    if not (math.isfinite(smaller_than_ml) and smaller_than_ml > 0):
        raise ReviewError(f"islands below {smaller_than_ml:g} mL were asked for: a volume above 0 was expected.")
    box = require_box(labels, label)
    inside = labels[box]
    pieces = pieces_of(inside == label)
    is_small = np.zeros(len(pieces.order) + 1, bool)
    for number, size in zip(pieces.order, pieces.sizes, strict=True):
        is_small[number] = size * geometry.voxel_volume_mm3 / 1000 < smaller_than_ml
    return limits.placed(labels, box, np.where(is_small[pieces.numbers], np.uint8(0), inside))


def fill_holes(labels: NDArray[np.uint8], label: int, *, limits: Limits = BACKGROUND_ONLY) -> NDArray[np.uint8]:
    """The label with its cavities: what no path over voxel faces joins to the outside of its box.

    Only values of ``limits.over`` in a cavity are filled, so that a tumour inside an organ stays. What is open
    towards the end of the scan is no cavity.

    Raises:
        ReviewError: the label is nowhere, or is locked.
    """
    limits.require_unlocked(label)
    box = require_box(labels, label)
    inside = labels[box]
    filled = _without_holes(inside == label)
    return limits.placed(labels, box, np.where(filled & limits.free_for(label, inside), np.uint8(label), inside))


def fill_holes_in_slices(
    labels: NDArray[np.uint8], label: int, *, axis: int, limits: Limits = BACKGROUND_ONLY
) -> NDArray[np.uint8]:
    """The label with the holes of each of its slices across ``axis``, as ``fill_holes`` fills them in 3D.

    Raises:
        ReviewError: the label is nowhere, or is locked.
    """
    limits.require_unlocked(label)
    box = require_box(labels, label)
    inside = labels[box]
    planes = [_without_holes(plane) for plane in np.moveaxis(inside == label, axis, 0)]
    filled = np.moveaxis(np.stack(planes), 0, axis)
    return limits.placed(labels, box, np.where(filled & limits.free_for(label, inside), np.uint8(label), inside))


def _without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask of any dimension with every part of its outside that does not reach the border of its array."""
    outside, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    inner = tuple(slice(1, -1) for _ in range(mask.ndim))
    filled: NDArray[np.bool_] = outside[inner] != outside.flat[0]  # the corner of the frame is outside
    return filled
