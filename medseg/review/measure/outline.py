"""The points that a mask's extent is measured between.

In: a mask in its box, and the affine. Out: points on its surface in voxel coordinates and in mm.

Extent of a voxel: a surface point is the centre of a voxel face (in a slice: of a pixel edge) between a voxel of the
mask and one outside it, half way between the two centres. These are the corners of a marching-cubes surface at one
half, between which the Image Biomarker Standardisation Initiative (Zwanenburg et al. 2020, Radiology 295(2)) and
PyRadiomics measure. A row of n voxels is then n voxels long, edge to edge, and one voxel is one voxel long; a disc or a
ball reads half a voxel to one voxel longer than the round shape that it was drawn from, since the farthest of many
points are those that stick out; the diagonal of a box reads half a voxel shorter. From centre to centre a disc would
read up to half a voxel short, and a row of n voxels one voxel.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from skimage.measure import find_contours

__all__ = ["farthest_pair", "hull_points", "outline_segments", "surface_points", "to_mm"]

PAIRS_AT_ONCE = 4_000_000
"""Distances computed together: 32 MB."""


def surface_points(mask: NDArray[np.bool_], *, axes: tuple[int, ...]) -> NDArray[np.float64]:
    """Centres of the faces across ``axes`` that separate the mask from its outside, (N, 3) in voxels of the mask.

    Args:
        mask: (I, J, K); beyond the array is outside.
        axes: all three for a surface, the two within a slice for its outline.
    """
    found = []
    for axis in axes:
        pad = [(1, 1) if along == axis else (0, 0) for along in range(3)]
        padded = np.pad(mask, pad)
        low = tuple(slice(0, -1) if along == axis else slice(None) for along in range(3))
        high = tuple(slice(1, None) if along == axis else slice(None) for along in range(3))
        points = np.argwhere(padded[low] != padded[high]).astype(np.float64)
        points[:, axis] -= 0.5  # face n of the padded axis lies below voxel n
        found.append(points)
    return np.concatenate(found)


def outline_segments(mask: NDArray[np.bool_], *, axis: int, index: int) -> NDArray[np.float64]:
    """The outline of slice ``index`` of a mask (I, J, K) as lines between its surface points, (S, 2, 3) in voxels.

    Holes have an outline too.
    """
    padded = np.pad(np.take(mask, index, axis), 1).astype(np.float32)
    lines = [np.stack([line[:-1], line[1:]], axis=1) - 1.0 for line in find_contours(padded, 0.5)]
    return np.insert(np.concatenate(lines), axis, float(index), axis=2)


def to_mm(points: NDArray[np.float64], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Voxel coordinates (N, 3) → RAS+ mm (N, 3)."""
    placed: NDArray[np.float64] = points @ affine[:3, :3].T + affine[:3, 3]
    return placed


def hull_points(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of the points (N, D) on the corners of their convex hull, in order around it where D is 2."""
    hull: NDArray[np.intp] = ConvexHull(points).vertices.astype(np.intp)
    return hull


def farthest_pair(points: NDArray[np.float64]) -> tuple[int, int, float]:
    """The two points (N, D) that are farthest apart, and their distance; of equal pairs the first."""
    squares = (points**2).sum(axis=1)
    step = max(1, PAIRS_AT_ONCE // len(points))
    best = (0, 0, -1.0)
    for start in range(0, len(points), step):
        block = points[start : start + step]
        apart = squares[start : start + step, None] + squares - 2 * block @ points.T
        row, column = divmod(int(apart.argmax()), len(points))
        distance = float(np.linalg.norm(block[row] - points[column]))
        if distance > best[2]:
            best = (start + row, column, distance)
    return best
