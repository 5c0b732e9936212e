"""Back to the scan: logits on the network's grid → labels on the scan's own grid.

The affine is the undo record: one resampling between two affines brings each class home, and a running
arg-max keeps the best class so far, so that memory does not grow with the number of classes.
"""

import math
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep

from medseg.errors import ImageError
from medseg.geometry import EDGE_VOXELS, Geometry, Interpolation, geometry_of, plane_positions, resample_volume
from medseg.inference.blocks import Blocks

__all__ = ["RestoreLabelsd", "restore_blocks", "restore_labels", "restore_regions", "scan_geometry"]

PLANES_AT_ONCE = 32
"""Planes of the scan that are restored together: enough to keep a processor busy, little beside the scan."""

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
    return _labels_of(logits.as_tensor(), geometry_of(logits), target)


def _labels_of(values: torch.Tensor, source: Geometry, target: Geometry) -> torch.Tensor:
    if values.shape[0] > 256:
        raise ImageError(f"{values.shape[0]} classes found: a uint8 label map holds 256 at most.")
    values = values.float()
    labels = torch.zeros(target.shape, dtype=torch.uint8, device=values.device)
    best = resample_volume(values[0], source, target, interpolation=Interpolation.LINEAR, outside=0.0)
    for index in range(1, values.shape[0]):
        score = resample_volume(
            values[index], source, target, interpolation=Interpolation.LINEAR, outside=OUTSIDE_LOGIT
        )
        better = score > best
        labels[better] = index
        best = torch.where(better, score, best)
    return labels


def restore_regions(logits: MetaTensor, target: Geometry, *, threshold: float) -> torch.Tensor:
    """Regions that may overlap, each where its probability exceeds ``threshold``: (L, I, J, K) float32 of 0 and 1.

    Args:
        logits: (L, I, J, K) on the network's grid, one channel a region; the sigmoid makes probabilities of them.
        target: the scan's own grid. Voxels the network did not see are in no region.
    """
    return _regions_of(logits.as_tensor(), geometry_of(logits), target, threshold=threshold)


def _regions_of(values: torch.Tensor, source: Geometry, target: Geometry, *, threshold: float) -> torch.Tensor:
    values = values.float()
    regions = torch.zeros((values.shape[0], *target.shape), device=values.device)
    border = math.log(threshold / (1 - threshold))
    for region, score in zip(regions, values, strict=True):
        found = resample_volume(score, source, target, interpolation=Interpolation.LINEAR, outside=OUTSIDE_LOGIT)
        region.copy_(found > border)
    return regions


def restore_blocks(
    blocks: Blocks,
    source: Geometry,
    target: Geometry,
    *,
    threshold: float | None = None,
    timed: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> torch.Tensor:
    """Labels (1, I, J, K) uint8, or regions (L, I, J, K), of logits that come in blocks, restored one by one.

    The result is that of ``restore_labels`` or ``restore_regions`` on all of them at once.

    Args:
        source: the network's grid, which all blocks together cover.
        target: the scan's own grid. Voxels that the network did not see become background, or lie in no region.
        threshold: probability from which a voxel lies in a region; absent, channels are labels.
        timed: entered around the restoring, not around the computation of the blocks.
    """
    places = plane_positions(source, target, axis=blocks.axis)
    if places is None:  # grids that are turned against each other meet in every block
        return _restored(torch.cat(list(blocks.parts), blocks.axis + 1), source, target, threshold=threshold)
    along, positions = places
    last = source.shape[blocks.axis] - 1
    lower = np.floor(np.clip(positions, 0, last)).astype(int)
    upper = np.ceil(np.clip(positions, 0, last)).astype(int)
    is_open = np.ones(len(positions), dtype=bool)
    held: torch.Tensor | None = None
    first = 0
    result: torch.Tensor | None = None
    for part in blocks.parts:
        with timed():
            held = part if held is None else torch.cat([held, part], blocks.axis + 1)
            end = first + held.shape[blocks.axis + 1]
            if result is None:
                channels = 1 if threshold is None else part.shape[0]
                dtype = torch.uint8 if threshold is None else torch.float32
                result = torch.zeros((channels, *target.shape), dtype=dtype, device=part.device)
            ready = np.flatnonzero(is_open & (upper < end))
            for planes in np.array_split(ready, max(1, math.ceil(len(ready) / PLANES_AT_ONCE))):
                inside = planes[(positions[planes] >= -EDGE_VOXELS) & (positions[planes] <= last + EDGE_VOXELS)]
                if len(inside):
                    begin, count = int(lower[inside].min()), int(upper[inside].max() - lower[inside].min() + 1)
                    found = _restored(
                        held.narrow(blocks.axis + 1, begin - first, count),  # no name: it would keep the block alive
                        _shifted(source, blocks.axis, begin, count),
                        _shifted(target, along, int(inside.min()), len(inside)),
                        threshold=threshold,
                    )
                    result.narrow(along + 1, int(inside.min()), len(inside)).copy_(found)
            is_open[ready] = False
            needed = int(lower[is_open].min()) if is_open.any() else end
            drop = min(max(needed - first, 0), held.shape[blocks.axis + 1])
            held = held.narrow(blocks.axis + 1, drop, held.shape[blocks.axis + 1] - drop).clone()
            first += drop
        del part  # a view of a whole block: not to be held while the next one is computed
    assert result is not None, "a volume has planes"
    return result


def _restored(values: torch.Tensor, source: Geometry, target: Geometry, *, threshold: float | None) -> torch.Tensor:
    if threshold is None:
        return _labels_of(values, source, target)[None]
    return _regions_of(values, source, target, threshold=threshold)


def _shifted(grid: Geometry, axis: int, first: int, count: int) -> Geometry:
    """The planes from ``first`` on of one axis of a grid."""
    shape = [*grid.shape]
    shape[axis] = count
    affine = np.array(grid.affine)
    affine[:3, 3] += first * affine[:3, axis]
    return Geometry((shape[0], shape[1], shape[2]), affine)


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
