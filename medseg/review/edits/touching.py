"""Structures that touch and share one label, taken apart where the reviewer points.

In: labels (I, J, K) uint8, a label, a point in each structure. Out: new labels.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.boxes import require_box
from medseg.review.edits.protect import BACKGROUND_ONLY, Limits

__all__ = ["split_at_seeds"]

Voxel = tuple[int, int, int]


def split_at_seeds(
    labels: NDArray[np.uint8],
    label: int,
    *,
    seeds: Mapping[int, Voxel],
    geometry: Geometry,
    limits: Limits = BACKGROUND_ONLY,
) -> NDArray[np.uint8]:
    """Labels in which each part of ``label`` has the label of the seed that it belongs to; the cut runs at the necks.

    A watershed (Meyer 1994; ``skimage.segmentation.watershed``) floods the distance in mm to the label's outside from
    the seeds, the deepest voxels first, over voxel faces. Pieces without a seed keep the label.

    Args:
        seeds: for each label to give, a voxel (i, j, k) of ``label``; one may give ``label`` itself.
    Raises:
        ReviewError: the label is nowhere or one is locked, there are fewer than two seeds, or a seed is not on the
            label, or two are in one place.
    """
    limits.require_unlocked(label, *seeds)
    if len(seeds) < 2 or len(set(seeds.values())) < len(seeds):
        raise ReviewError(
            f"{len(set(seeds.values()))} places to split at were given: two different ones were expected."
        )
    box = require_box(labels, label)
    for seed in seeds.values():
        is_inside = all(0 <= at < size for at, size in zip(seed, labels.shape, strict=True))
        if not is_inside or labels[seed] != label:
            raise ReviewError(f"voxel {seed} is not of label {label}: choose a point inside it.")
    inside = labels[box]
    mask = inside == label
    depth_mm = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=geometry.spacing_mm)[1:-1, 1:-1, 1:-1]
    markers = np.zeros(mask.shape, np.int32)
    for new, seed in seeds.items():
        markers[tuple(at - side.start for at, side in zip(seed, box, strict=True))] = new
    parts = watershed(-depth_mm, markers, mask=mask)
    return limits.placed(labels, box, np.where(parts > 0, parts, inside).astype(np.uint8))
