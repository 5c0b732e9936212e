"""Back to the scan: logits on the network's grid → labels on the scan's own grid.

The affine is the undo record: one resampling between two affines brings each class home, and a running
arg-max keeps the best class so far, so that memory does not grow with the number of classes.
"""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep

from medseg.errors import ImageError
from medseg.geometry import Geometry, geometry_of
from medseg.inference.scan_parts import ScanPart, parts_of

__all__ = [
    "RestoreLabelsd",
    "border_logit",
    "check_classes",
    "labels_on",
    "regions_on",
    "restore_labels",
    "restore_regions",
    "scan_geometry",
]

MOST_CLASSES = 256
"""What a uint8 label map can name, background among them."""

OUTSIDE_LOGIT = -1e4
"""Beyond what the network saw every label is this unlikely; background is left to win."""


def restore_labels(logits: MetaTensor, target: Geometry) -> torch.Tensor:
    """The most likely label of every voxel of the scan, (I, J, K) uint8 on the device of the logits.

    Args:
        logits: (L, I, J, K) on the network's grid; channel 0 is background, channel n is label n.
        target: the scan's own grid. Voxels the network did not see become background.
    Raises:
        ImageError: more channels than a uint8 label map can name.
    """
    return labels_on(logits.as_tensor(), geometry_of(logits), target)


def labels_on(values: torch.Tensor, source: Geometry, target: Geometry) -> torch.Tensor:
    """The same of logits (L, I, J, K) that lie on ``source``."""
    check_classes(len(values))
    labels = torch.zeros(target.shape, dtype=torch.uint8, device=values.device)
    for part in parts_of(target, seen_on=source):
        _choose(part.seen(values).float(), part, labels[part.place])
    return labels


def check_classes(count: int) -> None:
    """Nothing, if a uint8 label map can name so many classes, background among them.

    Raises:
        ImageError: it cannot.
    """
    if count > MOST_CLASSES:
        raise ImageError(f"{count} classes found: a uint8 label map holds {MOST_CLASSES} at most.")


def _choose(values: torch.Tensor, part: ScanPart, labels: torch.Tensor) -> None:
    """Write the most likely label of each voxel of a part into ``labels``, which are 0 so far.

    A label can win only where it is above the background at one of the voxels around, so that most labels need a look
    at a small box only, and most parts of a scan none.
    """
    boxes = [part.box_around(channel > values[0]) for channel in values[1:]]
    best: torch.Tensor | None = None
    for index, box in enumerate(boxes, 1):
        if box is None:
            continue
        if best is None:
            best = part.sampled(values[0], outside=0.0)
        score = part.sampled(values[index], box=box, outside=OUTSIDE_LOGIT)
        won = (score > best[box]).view(torch.uint8)
        torch.maximum(labels[box], won * index, out=labels[box])  # later labels are greater; ten times a masked fill
        torch.maximum(best[box], score, out=best[box])


def restore_regions(logits: MetaTensor, target: Geometry, *, threshold: float) -> torch.Tensor:
    """Regions that may overlap, each where its probability exceeds ``threshold``: (L, I, J, K) float32 of 0 and 1.

    Args:
        logits: (L, I, J, K) on the network's grid, one channel a region; the sigmoid makes probabilities of them.
        target: the scan's own grid. Voxels the network did not see are in no region.
    """
    return regions_on(logits.as_tensor(), geometry_of(logits), target, threshold=threshold)


def regions_on(values: torch.Tensor, source: Geometry, target: Geometry, *, threshold: float) -> torch.Tensor:
    """The same of logits (L, I, J, K) that lie on ``source``."""
    regions = torch.zeros((values.shape[0], *target.shape), device=values.device)
    border = border_logit(threshold)
    for part in parts_of(target, seen_on=source):
        for region, score in zip(regions, part.seen(values).float(), strict=True):
            box = part.box_around(score > border)
            if box is not None:
                found = part.sampled(score, box=box, outside=OUTSIDE_LOGIT)
                region[part.place][box].copy_(found > border)
    return regions


def border_logit(threshold: float) -> float:
    """The logit that belongs to a probability between 0 and 1."""
    return math.log(threshold / (1 - threshold))


def scan_geometry(image: MetaTensor) -> Geometry:
    """The grid of the file that a preprocessed image was read from, as MONAI's readers note it.

    Raises:
        ImageError: the image does not carry that note.
    """
    try:
        shape = tuple(int(size) for size in np.asarray(image.meta["spatial_shape"]).ravel()[:3])
        affine = np.asarray(image.meta["original_affine"], dtype=np.float64)
    except KeyError as error:
        raise ImageError(f"the image carries no {error}: read it with medseg.io or MONAI's LoadImage.") from error
    return Geometry((shape[0], shape[1], shape[2]), affine)


class RestoreLabelsd(MapTransform):
    """MONAI transform: logits (L, I, J, K) → labels (1, I, J, K) uint8 on the grid of the file behind the image.

    It takes the place of ``Activationsd``, ``Invertd`` and ``AsDiscreted`` in a bundle's postprocessing.
    """

    def __init__(self, keys: KeysCollection, reference_key: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.reference_keys = ensure_tuple_rep(reference_key, len(self.keys))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with each key restored; the reference image must still carry its reader's notes."""
        result = dict(data)
        for key, reference in self.key_iterator(result, self.reference_keys):
            image = result[reference]
            values = result[key]
            logits = MetaTensor(values.as_tensor() if isinstance(values, MetaTensor) else values, affine=image.affine)
            target = scan_geometry(image)
            labels = restore_labels(logits, target)[None]
            placed = MetaTensor(labels, meta=dict(image.meta))
            placed.affine = torch.from_numpy(target.affine.copy())
            result[key] = placed
        return result
