"""One label made two: the patient's left and right.

In: labels (I, J, K) uint8 on the scan's own grid, a label that holds both sides. Out: new labels. World coordinates
are RAS+ millimetres, x grows towards the patient's right::

        patient's left        plane        patient's right
        x < x_mm              x_mm                x > x_mm      (a voxel on the plane goes to the left)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.boxes import Box, require_box
from medseg.review.edits.protect import BACKGROUND_ONLY, Limits
from medseg.review.pieces import pieces_of

__all__ = ["Sides", "middle_x_mm", "split_left_right", "split_pieces_left_right"]

ON_PLANE_MM = 1e-4
"""A voxel centre this close to the plane lies on it: headers keep positions as 32-bit floats."""


@dataclass(frozen=True)
class Sides:
    """The labels of the two sides, and the sagittal plane between them in world coordinates.

    Attributes:
        left: label of the patient's left; may be the label that is split.
        right: label of the patient's right; may be the label that is split.
        x_mm: where the plane lies, from ``middle_x_mm`` or from a click of the reviewer.
    """

    left: int
    right: int
    x_mm: float


def middle_x_mm(labels: NDArray[np.uint8], label: int, *, geometry: Geometry) -> float:
    """World x half way between the label's outermost voxel centres: the patient's middle where both sides are there.

    Raises:
        ReviewError: the label is nowhere.
    """
    box = require_box(labels, label)
    x_mm = _x_mm(box, geometry)[labels[box] == label]
    return float((x_mm.min() + x_mm.max()) / 2)


def split_left_right(
    labels: NDArray[np.uint8], label: int, *, sides: Sides, geometry: Geometry, limits: Limits = BACKGROUND_ONLY
) -> NDArray[np.uint8]:
    """Labels in which every voxel of ``label`` has the label of its side of the plane, even within one piece.

    Raises:
        ReviewError: the label is nowhere, one of the three is locked, or both sides have one label.
    """
    _check(label, sides, limits)
    box = require_box(labels, label)
    inside = labels[box]
    is_right = _x_mm(box, geometry) > sides.x_mm + ON_PLANE_MM
    sided = np.where(is_right, np.uint8(sides.right), np.uint8(sides.left))
    return limits.placed(labels, box, np.where(inside == label, sided, inside))


def split_pieces_left_right(
    labels: NDArray[np.uint8], label: int, *, sides: Sides, geometry: Geometry, limits: Limits = BACKGROUND_ONLY
) -> NDArray[np.uint8]:
    """Labels in which every piece of ``label`` has the label of the side on which its centre of mass lies, whole.

    Raises:
        ReviewError: the label is nowhere, one of the three is locked, or both sides have one label.
    """
    _check(label, sides, limits)
    box = require_box(labels, label)
    inside = labels[box]
    mask = inside == label
    pieces = pieces_of(mask)
    numbers = pieces.numbers[mask]
    sums = np.bincount(numbers, weights=_x_mm(box, geometry)[mask])
    is_right = sums / np.maximum(np.bincount(numbers), 1) > sides.x_mm + ON_PLANE_MM
    edited = inside.copy()
    edited[mask] = np.where(is_right[numbers], np.uint8(sides.right), np.uint8(sides.left))
    return limits.placed(labels, box, edited)


def _x_mm(box: Box, geometry: Geometry) -> NDArray[np.float64]:
    """World x of each voxel centre in the box."""
    i, j, k = np.ogrid[box]
    row = geometry.affine[0]
    x_mm: NDArray[np.float64] = row[0] * i + row[1] * j + row[2] * k + row[3]
    return x_mm


def _check(label: int, sides: Sides, limits: Limits) -> None:
    limits.require_unlocked(label, sides.left, sides.right)
    if sides.left == sides.right:
        raise ReviewError(f"left and right would both be label {sides.left}: two different labels were expected.")
