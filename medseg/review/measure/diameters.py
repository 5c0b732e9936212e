"""Diameters of a lesion, as RECIST 1.1 asks for them, and in 3D.

In: labels (I, J, K) uint8 and their grid. Out: lengths in mm with their end points.

RECIST 1.1 (Eisenhauer et al. 2009, "New response evaluation criteria in solid tumours", European Journal of Cancer
45, 228 to 247): tumours are measured by the longest diameter in the plane of acquisition, nodes by the short axis, the
longest diameter perpendicular to it. Here the plane is that of the array's slices across the axis nearest to the
patient's head and feet, also where they are tilted; lengths are taken in mm between the points of
``medseg.review.measure.outline``. Both lines go from outline to outline and may cross what lies between: the necrotic
middle of a ring, the inlet of a crescent, the gap between the parts in which a slice shows a lesion.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.review.boxes import Box, box_of, require_box
from medseg.review.measure.outline import farthest_pair, hull_points, outline_segments, surface_points, to_mm
from medseg.review.pieces import pieces_of

__all__ = [
    "Diameter",
    "LabelSize",
    "Lesion",
    "Recist",
    "axial_axis",
    "longest_diameter_3d",
    "measure_label",
    "measure_lesions",
    "recist",
]

Point = tuple[float, float, float]

EQUAL_MM = 1e-6
"""Lengths this close are equal: they differ by rounding."""

FEW_POINTS: Final = 2000
"""So many are compared pair by pair sooner than their hull is found, which may be flat."""

DIRECTIONS: Final = np.array([way for way in product((-1, 0, 1), repeat=3) if way > (0, 0, 0)], np.float64)
"""The thirteen lines through the neighbours of a voxel."""


@dataclass(frozen=True)
class Diameter:
    """A length between two points.

    Attributes:
        length_mm: the distance of the two.
        voxels: the points in voxel coordinates (i, j, k) of the scan: on or between faces of voxels.
        points_mm: the points in RAS+ mm.
    """

    length_mm: float
    voxels: tuple[Point, Point]
    points_mm: tuple[Point, Point]


@dataclass(frozen=True)
class Recist:
    """The two diameters in the slice with the longest one.

    Attributes:
        axis: of the array that the slices lie across.
        slice_index: the slice; the lowest of equal ones.
        longest: the longest diameter.
        short: the longest line perpendicular to it in the same slice, between two points of the outline.
    """

    axis: int
    slice_index: int
    longest: Diameter
    short: Diameter


@dataclass(frozen=True)
class LabelSize:
    """How large a label is, all its pieces taken together: voxels times the volume of one, and its diameters."""

    volume_ml: float
    recist: Recist
    longest_3d: Diameter


@dataclass(frozen=True)
class Lesion:
    """One piece of a label, and its size.

    Attributes:
        box: the smallest box that holds it.
        volume_ml: voxels times the volume of one.
        recist: its diameters in the axial plane.
        longest_3d: its longest diameter in any direction.
    """

    box: Box
    volume_ml: float
    recist: Recist
    longest_3d: Diameter


def axial_axis(geometry: Geometry) -> int:
    """The axis of the array nearest to the patient's head and feet: axial slices lie across it."""
    return next(axis for axis, code in enumerate(geometry.axcodes) if code in "SI")


def recist(labels: NDArray[np.uint8], label: int, *, geometry: Geometry) -> Recist:
    """The RECIST diameters of a label, all its pieces taken together; ``measure_lesions`` takes them one by one.

    Raises:
        ReviewError: the label is nowhere.
    """
    box = require_box(labels, label)
    return _recist(labels[box] == label, box, geometry)


def longest_diameter_3d(labels: NDArray[np.uint8], label: int, *, geometry: Geometry) -> Diameter:
    """The longest distance in any direction between two surface points of a label, all its pieces taken together.

    Raises:
        ReviewError: the label is nowhere.
    """
    box = require_box(labels, label)
    return _longest_3d(labels[box] == label, box, geometry)


def measure_label(
    labels: NDArray[np.uint8], label: int, *, geometry: Geometry, on_step: Callable[[], object] = lambda: None
) -> LabelSize | None:
    """Volume and all diameters at once, or None where the label is nowhere; the labels are read once, at the start.

    Args:
        labels: (I, J, K); may be edited while this runs, in another thread.
        label: its value.
        geometry: the grid.
        on_step: called now and then; what it raises ends the measurement.
    """
    box = box_of(labels, label)
    if box is None:
        return None
    on_step()
    mask = labels[box] == label
    if not mask.any():  # erased since the box was found
        return None
    in_plane = _recist(mask, box, geometry)
    on_step()
    volume_ml = np.count_nonzero(mask) * geometry.voxel_volume_mm3 / 1000
    return LabelSize(volume_ml, in_plane, _longest_3d(mask, box, geometry))


def measure_lesions(
    labels: NDArray[np.uint8], label: int, *, geometry: Geometry, smallest_ml: float = 0.0
) -> tuple[Lesion, ...]:
    """Every piece of a label of at least ``smallest_ml``, the one with the most voxels first.

    Raises:
        ReviewError: the label is nowhere.
    """
    box = require_box(labels, label)
    pieces = pieces_of(labels[box] == label)
    voxel_ml = geometry.voxel_volume_mm3 / 1000
    lesions = []
    for number, size, inner in zip(pieces.order, pieces.sizes, pieces.boxes, strict=True):
        if size * voxel_ml < smallest_ml:
            break
        mask = pieces.numbers[inner] == number
        i, j, k = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(box, inner, strict=True))
        place = (i, j, k)
        lesions.append(
            Lesion(place, size * voxel_ml, _recist(mask, place, geometry), _longest_3d(mask, place, geometry))
        )
    return tuple(lesions)


def _recist(mask: NDArray[np.bool_], box: Box, geometry: Geometry) -> Recist:
    axis = axial_axis(geometry)
    first, second = (along for along in range(3) if along != axis)
    points = surface_points(mask, axes=(first, second))
    order = np.argsort(points[:, axis], kind="stable")
    points = points[order] + [side.start for side in box]
    slices, starts = np.unique(points[:, axis], return_index=True)
    outlines = np.split(points, starts[1:])
    frame = _plane_frame(geometry, first, second)
    bounds = np.array([_bound_mm(outline, geometry) for outline in outlines])
    best: tuple[float, int, NDArray[np.intp]] = (-1.0, 0, np.zeros(2, np.intp))
    for number in np.argsort(-bounds, kind="stable"):
        if bounds[number] < best[0] - EQUAL_MM:
            break  # no later slice is wide enough
        flat = to_mm(outlines[number], geometry.affine) @ frame
        corners = hull_points(flat)
        one, other, length = farthest_pair(flat[corners])
        if length > best[0] + EQUAL_MM or (length > best[0] - EQUAL_MM and number < best[1]):
            best = (length, int(number), corners[[one, other]])
    ends = outlines[best[1]][best[2]]
    index = int(slices[best[1]])
    segments = outline_segments(mask, axis=axis, index=index - box[axis].start) + [side.start for side in box]
    return Recist(
        axis=axis,
        slice_index=index,
        longest=_diameter(ends, geometry),
        short=_diameter(_widest_across(segments, ends, frame, geometry), geometry),
    )


def _widest_across(
    segments: NDArray[np.float64], ends: NDArray[np.float64], frame: NDArray[np.float64], geometry: Geometry
) -> NDArray[np.float64]:
    """The ends (2, 3), in voxels, of the longest line across the diameter between two points of the outline.

    Along the diameter the distance between the outermost crossings changes linearly from corner to corner of the
    outline, so the longest line goes through a corner.

    Args:
        segments: (S, 2, 3) in voxels, the outline.
        ends: (2, 3) in voxels, the diameter.
    """
    start, stop = to_mm(ends, geometry.affine) @ frame
    along = (stop - start) / np.linalg.norm(stop - start)
    flat = to_mm(segments.reshape(-1, 3), geometry.affine).reshape(-1, 2, 3) @ frame
    t, u = flat @ along, flat @ np.array([-along[1], along[0]])
    best = (-1.0, ends)
    for place in np.unique(t):
        met = np.flatnonzero((t.min(axis=1) <= place) & (t.max(axis=1) >= place))
        length = t[met, 1] - t[met, 0]
        shares = np.divide(place - t[met, 0], length, out=np.zeros(len(met)), where=length != 0)
        crossings = u[met, 0] + shares * (u[met, 1] - u[met, 0])
        pair = [int(crossings.argmin()), int(crossings.argmax())]
        if crossings[pair[1]] - crossings[pair[0]] > best[0] + EQUAL_MM:
            origin, target = segments[met[pair], 0], segments[met[pair], 1]
            best = (float(np.ptp(crossings)), origin + shares[pair, None] * (target - origin))
    return best[1]


def _longest_3d(mask: NDArray[np.bool_], box: Box, geometry: Geometry) -> Diameter:
    points = surface_points(mask, axes=(0, 1, 2)) + [side.start for side in box]
    placed = to_mm(points, geometry.affine)
    far = _far_out(placed)
    corners = far if len(far) <= FEW_POINTS else far[hull_points(placed[far])]
    one, other, _ = farthest_pair(placed[corners])
    return _diameter(points[corners[[one, other]]], geometry)


def _far_out(placed: NDArray[np.float64]) -> NDArray[np.intp]:
    """Which of the points (N, 3) can be ends of their longest distance; all of them where the rest are flat.

    Some pair is L apart, and no point is farther than R from its middle: then the ends of a pair that is at least as
    far apart are at least L − R from there. Of a ball that leaves all points, of a long or a flat shape its tips.
    """
    along = placed @ DIRECTIONS.T
    extremes = np.unique(np.concatenate([along.argmin(axis=0), along.argmax(axis=0)]))
    one, other, length = farthest_pair(placed[extremes])
    away = np.linalg.norm(placed - placed[extremes[[one, other]]].mean(axis=0), axis=1)
    far = np.flatnonzero(away >= length - away.max() - EQUAL_MM)
    is_solid = len(far) <= FEW_POINTS or np.linalg.matrix_rank(placed[far] - placed[far[0]]) == 3
    return far if is_solid else np.arange(len(placed))


def _plane_frame(geometry: Geometry, first: int, second: int) -> NDArray[np.float64]:
    """Two perpendicular unit vectors (3, 2) in the plane of two axes of the array: lengths in it are lengths in mm."""
    edges = geometry.affine[:3, [first, second]]
    frame: NDArray[np.float64] = np.linalg.qr(edges)[0]
    return frame


def _bound_mm(outline: NDArray[np.float64], geometry: Geometry) -> float:
    """No diameter of the outline is longer: the sum of its extents along the axes, which holds on sheared grids too."""
    return float(np.ptp(outline, axis=0) @ np.array(geometry.spacing_mm))


def _diameter(ends: NDArray[np.float64], geometry: Geometry) -> Diameter:
    placed = to_mm(ends, geometry.affine)
    length = float(np.linalg.norm(placed[1] - placed[0]))
    (a, b), (c, d) = ((_point(one) for one in pair) for pair in (ends, placed))
    return Diameter(length, (a, b), (c, d))


def _point(values: NDArray[np.float64]) -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z
