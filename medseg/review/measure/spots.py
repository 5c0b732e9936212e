"""Where to look next: spots in which two label maps disagree, or in which the model is uncertain.

In: two label maps, or an uncertainty map, (I, J, K). Out: spots in the order in which they deserve a look, each with a
voxel to jump to. Spots are connected components, as ``medseg.review.pieces`` joins voxels.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ReviewError
from medseg.review.boxes import Box, box_of
from medseg.review.measure.comparison import require_same_shape
from medseg.review.pieces import pieces_of

__all__ = ["Spot", "disagreement_spots", "uncertain_spots"]


@dataclass(frozen=True)
class Spot:
    """A place to look at.

    Attributes:
        centre: voxel (i, j, k) of the spot that lies nearest to its centre of mass, counted in voxels.
        n_voxels: its size.
        weight: what it is ranked by: its size, or the sum of its uncertainty.
        box: the smallest box that holds it.
    """

    centre: tuple[int, int, int]
    n_voxels: int
    weight: float
    box: Box


def disagreement_spots(
    first: NDArray[np.uint8], second: NDArray[np.uint8], *, at_least_voxels: int = 1
) -> tuple[Spot, ...]:
    """Connected voxels on which two label maps disagree, whichever their labels, the largest spot first.

    Raises:
        GeometryError: the two have different shapes.
    """
    require_same_shape(first, second)
    return _spots(first != second, None, at_least_voxels)


def uncertain_spots(
    uncertainty: NDArray[np.float32], *, threshold: float, at_least_voxels: int = 1
) -> tuple[Spot, ...]:
    """Connected voxels whose uncertainty exceeds ``threshold``, the spot with the largest sum of it first.

    Args:
        uncertainty: (I, J, K), such as ``Uncertainty.entropy`` from 0 to 1; a voxel without a value is in no spot.
    Raises:
        ReviewError: the threshold is below 0 or no number: certain voxels would be spots.
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        raise ReviewError(f"an uncertainty above {threshold:g} was asked for: a threshold from 0 on was expected.")
    return _spots(uncertainty > threshold, uncertainty, at_least_voxels)


def _spots(mask: NDArray[np.bool_], weights: NDArray[np.float32] | None, at_least_voxels: int) -> tuple[Spot, ...]:
    """The pieces of a mask by falling weight; without weights each voxel weighs 1."""
    box = box_of(mask.view(np.uint8), 1)
    if box is None:
        return ()
    pieces = pieces_of(mask[box])
    spots = []
    for number, size, inner in zip(pieces.order, pieces.sizes, pieces.boxes, strict=True):
        if size < at_least_voxels:
            break
        i, j, k = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(box, inner, strict=True))
        piece = pieces.numbers[inner] == number
        weight = float(size) if weights is None else float(weights[i, j, k][piece].sum(dtype=np.float64))
        spots.append(Spot(_nearest_to_middle(piece, (i, j, k)), size, weight, (i, j, k)))
    return tuple(sorted(spots, key=lambda spot: -spot.weight))


def _nearest_to_middle(piece: NDArray[np.bool_], box: Box) -> tuple[int, int, int]:
    points = np.argwhere(piece)
    nearest = points[((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    i, j, k = (int(value) + side.start for value, side in zip(nearest, box, strict=True))
    return i, j, k
