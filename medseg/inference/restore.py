"""Back to the scan: logits on the network's grid → labels on the scan's own grid.

The affine is the undo record: one resampling between two affines brings each class home, and a running
arg-max keeps the best class so far, so that memory does not grow with the number of classes.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep
from numpy.typing import NDArray

from medseg.errors import ImageError
from medseg.geometry import EDGE_VOXELS, Geometry, Interpolation, geometry_of, plane_positions, resample_volume
from medseg.inference.blocks import Blocks

__all__ = ["RestoreLabelsd", "logits_on_scan", "restore_blocks", "restore_labels", "restore_regions", "scan_geometry"]

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
    restored: Callable[[int, int, torch.Tensor], None] = lambda axis, first, planes: None,
) -> torch.Tensor:
    """Labels (1, I, J, K) uint8, or regions (L, I, J, K), of logits that come in blocks, restored one by one.

    The result is that of ``restore_labels`` or ``restore_regions`` on all of them at once.

    Args:
        source: the network's grid, which all blocks together cover.
        target: the scan's own grid. Voxels that the network did not see become background, or lie in no region.
        threshold: probability from which a voxel lies in a region; absent, channels are labels.
        timed: entered around the restoring, not around the computation of the blocks.
        restored: hears of planes as they are finished: their axis on the scan, the first of them, and the planes as
            they stand in the result.
    """
    result: torch.Tensor | None = None
    for group in _planes_on_scan(blocks, source, target, timed=timed):
        with timed():
            if result is None:
                channels = 1 if threshold is None else group.values.shape[0]
                dtype = torch.uint8 if threshold is None else torch.float32
                result = torch.zeros((channels, *target.shape), dtype=dtype, device=group.values.device)
            found = _restored(group.values, group.source, group.target, threshold=threshold)
            result.narrow(group.axis + 1, group.first, found.shape[group.axis + 1]).copy_(found)
        restored(group.axis, group.first, found)
        del group  # a view of a whole block: not to be held while the next one is computed
    assert result is not None, "a volume has planes"
    return result


def logits_on_scan(
    blocks: Blocks,
    source: Geometry,
    target: Geometry,
    *,
    n_planes: int,
    is_regions: bool = False,
    timed: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """The logits of the scan's own planes: their axis, the first of them, and (L, I, J, K) shortened along that axis.

    Groups of ``n_planes`` planes, counted from the scan's first, in the order in which the blocks allow; where the
    grids are turned against each other, all planes in one. What the network did not see is background for certain,
    or in no region where channels are regions.
    """
    for group in _planes_on_scan(blocks, source, target, n_planes=n_planes, timed=timed):
        with timed():
            place, found = (group.axis, group.first), _logits_of(group, is_regions=is_regions)
            del group
        yield *place, found


def _logits_of(group: "_Planes", *, is_regions: bool) -> torch.Tensor:
    values = group.values.float()
    outside = [OUTSIDE_LOGIT if index or is_regions else 0.0 for index in range(len(values))]
    if not group.is_seen:  # a crop may be smaller than the scan by many planes
        return values.new_tensor(outside)[:, None, None, None].repeat(1, *group.target.shape)
    return torch.stack(
        [
            resample_volume(channel, group.source, group.target, interpolation=Interpolation.LINEAR, outside=value)
            for channel, value in zip(values, outside, strict=True)
        ]
    )


@dataclass(frozen=True, eq=False)
class _Planes:
    """Planes of the scan, from ``first`` on along ``axis``, and the logits that they lie among, if any do."""

    axis: int
    first: int
    values: torch.Tensor
    source: Geometry
    target: Geometry
    is_seen: bool = True


def _planes_on_scan(
    blocks: Blocks,
    source: Geometry,
    target: Geometry,
    *,
    n_planes: int | None = None,
    timed: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Iterator[_Planes]:
    """The scan's planes as soon as the blocks that they lie among are there.

    With ``n_planes`` in whole groups, all of them; without, as many together as are ready, and none that the network
    did not see.
    """
    places = plane_positions(source, target, axis=blocks.axis)
    if places is None:  # grids that are turned against each other meet in every block
        yield _Planes(0, 0, torch.cat(list(blocks.parts), blocks.axis + 1), source, target)
        return
    along, positions = places
    last = source.shape[blocks.axis] - 1
    lower = np.floor(np.clip(positions, 0, last)).astype(int)
    upper = np.ceil(np.clip(positions, 0, last)).astype(int)
    if n_planes is not None:
        groups = np.arange(len(positions)) // n_planes
        lower = np.array([lower[groups == group].min() for group in groups])
        upper = np.array([upper[groups == group].max() for group in groups])
    is_open = np.ones(len(positions), dtype=bool)
    held: torch.Tensor | None = None
    first = 0
    for part in blocks.parts:
        with timed():
            held = part if held is None else torch.cat([held, part], blocks.axis + 1)
        end = first + held.shape[blocks.axis + 1]
        ready = np.flatnonzero(is_open & (upper < end))
        for planes in _grouped(ready, n_planes):
            inside = planes[(positions[planes] >= -EDGE_VOXELS) & (positions[planes] <= last + EDGE_VOXELS)]
            wanted = inside if n_planes is None else planes
            if len(wanted):
                begin, count = int(lower[wanted].min()), int(upper[wanted].max() - lower[wanted].min() + 1)
                yield _Planes(
                    along,
                    int(wanted.min()),
                    held.narrow(blocks.axis + 1, begin - first, count),  # no name: it would keep the block alive
                    _shifted(source, blocks.axis, begin, count),
                    _shifted(target, along, int(wanted.min()), len(wanted)),
                    is_seen=len(inside) > 0,
                )
        is_open[ready] = False
        needed = int(lower[is_open].min()) if is_open.any() else end
        drop = min(max(needed - first, 0), held.shape[blocks.axis + 1])
        with timed():
            held = held.narrow(blocks.axis + 1, drop, held.shape[blocks.axis + 1] - drop).clone()
        first += drop
        del part  # a view of a whole block: not to be held while the next one is computed


def _grouped(ready: NDArray[np.intp], n_planes: int | None) -> Iterable[NDArray[np.intp]]:
    if n_planes is None:
        return np.array_split(ready, max(1, math.ceil(len(ready) / PLANES_AT_ONCE)))
    return (ready[ready // n_planes == group] for group in np.unique(ready // n_planes))


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
