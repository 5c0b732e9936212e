"""Distances between the surfaces of two masks, in millimetres.

In: two boolean masks (I, J, K) on one grid, neither empty, and the affine of the grid. Out: HD95 in mm, and
the normalised surface Dice at a tolerance in mm.

Published programs disagree on both numbers because they disagree on what a surface is, so each function says
which definition it follows, and every result file repeats ``HD95_DEFINITION`` and ``NSD_DEFINITION``.

Nearest points are found with a k-d tree over the surface points, not with a distance transform over the box
that holds both masks: both are exact, but the tree's cost follows the surfaces, so that one stray predicted
voxel in a far corner does not turn the box into the whole scan; and points in mm stay right on sheared grids.
"""

from functools import lru_cache

import numpy as np
from monai.metrics.utils import get_code_to_measure_table
from numpy.typing import NDArray
from scipy.spatial import KDTree

from medseg.errors import ImageError

__all__ = ["HD95_DEFINITION", "NSD_DEFINITION", "hausdorff95_mm", "normalised_surface_dice"]

HD95_DEFINITION = (
    "maximum of the two directed 95th percentiles of the Euclidean distances in mm from each boundary voxel centre "
    "of one mask to the nearest boundary voxel centre of the other; a boundary voxel has a face neighbour outside "
    "the mask or the image; percentiles are unweighted and interpolated linearly (as MONAI "
    "compute_hausdorff_distance with percentile=95 and spacing in mm)"
)

NSD_DEFINITION = (
    "share of the area of both surfaces that lies within the tolerance in mm of the other surface; a surface is "
    "the marching-cubes elements of every 2×2×2 neighbourhood that the mask enters partly, each weighted by its "
    "area in mm² and placed at the neighbourhood's centre (Nikolov et al. 2021, DeepMind surface-distance; as MONAI "
    "compute_surface_dice with use_subvoxels=True)"
)

TOLERANCE_SLACK_MM = 1e-4
"""A distance this much over the tolerance is within it: headers keep spacings as 32-bit floats, so that one voxel
of 1 mm may be 1.0000001 mm long."""

Mask = NDArray[np.bool_]
Millimetres = NDArray[np.float64]


def hausdorff95_mm(prediction: Mask, reference: Mask, affine: NDArray[np.float64]) -> float:
    """HD95 in mm, after ``HD95_DEFINITION``.

    Args:
        prediction: (I, J, K), at least one voxel; a crop of both masks is enough if it holds all of both.
        reference: (I, J, K) on the same grid, at least one voxel.
        affine: voxel index → mm; only its linear part matters.
    Raises:
        ImageError: a mask is empty, so that there is no surface to measure from.
    """
    _refuse_empty(prediction, reference)
    boundaries = _boundary(prediction), _boundary(reference)
    there = _distances_mm(boundaries[0], boundaries[1], affine)
    back = _distances_mm(boundaries[1], boundaries[0], affine)
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def normalised_surface_dice(
    prediction: Mask, reference: Mask, affine: NDArray[np.float64], *, tolerance_mm: float
) -> float:
    """NSD, 0 to 1, after ``NSD_DEFINITION``.

    Source: Nikolov et al., "Clinically Applicable Segmentation of Head and Neck Anatomy for Radiotherapy",
    Journal of Medical Internet Research 23(7), 2021, section "Performance metric".

    On a sheared grid distances are exact, but an element is weighted as if its voxel were a box with the same
    edges; grids with axes at right angles (oblique ones too) are exact throughout.

    Args:
        prediction: (I, J, K), at least one voxel; a crop of both masks is enough if it holds all of both.
        reference: (I, J, K) on the same grid, at least one voxel.
        affine: voxel index → mm; only its linear part matters.
        tolerance_mm: how far apart two surfaces may lie and still agree.
    Raises:
        ImageError: a mask is empty, so that there is no surface to measure from.
    """
    _refuse_empty(prediction, reference)
    codes = _neighbour_codes(prediction), _neighbour_codes(reference)
    elements = _is_element(codes[0]), _is_element(codes[1])
    spacing_mm = tuple(float(size) for size in np.linalg.norm(affine[:3, :3], axis=0))
    areas_mm2 = _element_areas_mm2(spacing_mm)
    within_mm2 = total_mm2 = 0.0
    for own in (0, 1):
        weights = areas_mm2[codes[own][elements[own]]]
        near = _distances_mm(elements[own], elements[1 - own], affine) <= tolerance_mm + TOLERANCE_SLACK_MM
        within_mm2 += float(weights[near].sum())
        total_mm2 += float(weights.sum())
    return within_mm2 / total_mm2


def _refuse_empty(prediction: Mask, reference: Mask) -> None:
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if not mask.any():
            raise ImageError(
                f"the mask of the {name} is empty: surface distances need a voxel in both masks. "
                "Decide what an empty mask is worth before measuring."
            )


def _boundary(mask: Mask) -> Mask:
    """The voxels of the mask with at least one face neighbour outside it; beyond the array is outside."""
    padded = np.pad(mask, 1)
    inner = slice(1, -1)
    boundary: Mask = mask & ~(
        padded[2:, inner, inner]
        & padded[:-2, inner, inner]
        & padded[inner, 2:, inner]
        & padded[inner, :-2, inner]
        & padded[inner, inner, 2:]
        & padded[inner, inner, :-2]
    )
    return boundary


def _neighbour_codes(mask: Mask) -> NDArray[np.uint8]:
    """For every 2×2×2 neighbourhood its occupancy as one byte, (I + 1, J + 1, K + 1).

    The first voxel (lowest i, j, k) is the highest bit and k changes fastest, as MONAI's table of areas
    expects; a margin of background closes surfaces that reach the border of the array.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    along_k = padded[:, :, :-1] << 1 | padded[:, :, 1:]
    along_jk = along_k[:, :-1] << 2 | along_k[:, 1:]
    return (along_jk[:-1] << 4 | along_jk[1:]).astype(np.uint8, copy=False)


def _is_element(codes: NDArray[np.uint8]) -> Mask:
    """Where a neighbourhood is partly inside the mask, so that the surface runs through it."""
    elements: Mask = (codes != 0) & (codes != 255)
    return elements


@lru_cache(maxsize=64)
def _element_areas_mm2(spacing_mm: tuple[float, ...]) -> Millimetres:
    """The area of the surface element of each of the 256 neighbourhoods."""
    table, _ = get_code_to_measure_table(spacing_mm)
    areas: Millimetres = table.cpu().numpy().astype(np.float64)
    areas.setflags(write=False)
    return areas


def _distances_mm(surface: Mask, other: Mask, affine: NDArray[np.float64]) -> Millimetres:
    """For each point of ``surface``, in memory order, the distance to the nearest point of ``other``."""
    apart = ~other[surface]  # a point of both surfaces is at distance 0 and needs no search
    distances: Millimetres = np.zeros(len(apart), dtype=np.float64)
    if apart.any():
        # on a regular lattice many coordinates are equal: splitting at the median would find no good plane
        tree = KDTree(_points_mm(other, affine), balanced_tree=False, compact_nodes=False)
        distances[apart] = tree.query(_points_mm(surface & ~other, affine))[0]
    return distances


def _points_mm(surface: Mask, affine: NDArray[np.float64]) -> Millimetres:
    """The points of a surface, (N, 3); the origin is left out because distances do not need it."""
    points: Millimetres = np.argwhere(surface) @ affine[:3, :3].T
    return points
