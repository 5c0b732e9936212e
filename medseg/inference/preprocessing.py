"""A scan on the network's grid: a bundle's transforms, the large ones a few planes at a time.

MONAI's transforms compute on whole volumes, and hold several copies of one while they do: resampling in float64 takes
eight times the memory of its input. Where a transform gives the same values plane by plane it is given a few planes
at a time, so that a long scan takes little more than itself and its result.
"""

from collections.abc import Hashable, Iterator, Mapping
from copy import deepcopy
from math import prod
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureTyped,
    LazyTrait,
    LoadImage,
    LoadImaged,
    MapTransform,
    Orientationd,
    ScaleIntensityRanged,
    Spacingd,
)
from monai.utils import GridSampleMode, GridSamplePadMode
from numpy.typing import NDArray

from medseg.errors import ImageError
from medseg.geometry import Geometry, geometry_of, plane_positions

__all__ = ["preprocess"]

READERS = (LoadImage, LoadImaged)
"""A bundle names a reader so that MONAI can run it alone; here the scan has been read already."""

VOXELWISE = (ScaleIntensityRanged,)
"""Transforms whose result at a voxel depends on that voxel alone."""

KEEPING = (CropForegroundd, EnsureTyped, Orientationd, ScaleIntensityRanged, Spacingd)
"""Transforms that do not write into what they are given (NormalizeIntensityd(nonzero=True) of MONAI 1.6.1 does)."""

PART_VOXELS = 4_000_000
"""Voxels of the result that are made at a time; a volume of no more is given to the transform as it is."""

PADDING = (GridSamplePadMode.BORDER, GridSamplePadMode.ZEROS)
"""Kinds of padding that ask nothing of a volume beyond its own border."""


def preprocess(image: MetaTensor, preprocessing: Compose) -> MetaTensor:
    """An image (C, I, J, K) as read, on the network's grid: through a bundle's transforms, less its reader.

    What comes out is in floating point, also where the scan is kept in integers.

    Raises:
        ImageError: the bundle's cropping leaves nothing of it, or a step loses its place in space.
    """
    steps = [step for step in preprocessing.transforms if not isinstance(step, READERS)]
    if not steps:
        return _in_floats(image)
    data: dict[Hashable, Any] = {"image": _placed(image.as_tensor(), geometry_of(image), meta=deepcopy(image.meta))}
    for step in steps:
        if type(step) not in KEEPING and _share_memory(data["image"], image):
            data["image"] = data["image"].clone()
        is_ours = not any(_share_memory(kept, data["image"]) for kept in (image, *_others(data)))
        before, data = data["image"], _through(step, data, may_replace=is_ours)
        if isinstance(step, EnsureTyped):  # with track_meta: false it forgets where the voxels lie, and moves none
            data["image"] = _placed(torch.as_tensor(data["image"]), geometry_of(before), meta=before.meta)
        if not isinstance(data["image"], MetaTensor):
            raise ImageError(
                f"the model's preprocessing gives a {type(data['image']).__name__} after {type(step).__name__}: "
                "a MetaTensor was expected, which knows its place in space. Take that step out, or let it keep one."
            )
        if not data["image"].numel():  # the steps that follow would stumble over it, each in its own words
            raise ImageError(
                "the model's cropping leaves nothing of the scan: no voxel has an intensity that it takes for the "
                "patient. Check the intensities (a CT must be in Hounsfield units), and that the scan is one the model "
                "is for."
            )
    prepared = _in_floats(data["image"])
    # What was cropped is a view, which would keep the whole scan in memory while it is segmented.
    return prepared.clone() if prepared.untyped_storage().nbytes() > prepared.nbytes else prepared


def _through(step: Any, data: dict[Hashable, Any], *, may_replace: bool) -> dict[Hashable, Any]:
    """One transform of a dictionary; ``may_replace`` says that nobody else needs the image's memory."""
    image = data["image"]
    if image.ndim == 4 and isinstance(step, MapTransform) and tuple(step.keys) == ("image",):
        if type(step) in VOXELWISE and image[0].numel() > PART_VOXELS:
            return {**data, "image": _voxelwise(step, image, may_replace=may_replace)}
        if type(step) is Spacingd and (respaced := _respaced(step, image)) is not None:
            return {**data, "image": respaced}
    if type(step) is not Orientationd:  # which only turns
        data = {**data, "image": _in_floats(image)}
    # Lazily it would only be noted down: what follows here, and the network, needs the values.
    done: dict[Hashable, Any] = step(data, lazy=False) if isinstance(step, LazyTrait) else step(data)
    return done


def _voxelwise(step: MapTransform, image: MetaTensor, *, may_replace: bool) -> MetaTensor:
    """A few planes at a time; what comes out takes the place of what went in where it may."""
    result: torch.Tensor | None = None
    for first, count in _parts(tuple(image.shape[1:])):
        planes = step({"image": _in_floats(image.narrow(1, first, count))})["image"].as_tensor()
        if result is None:
            is_room = may_replace and planes.dtype == image.dtype
            result = image.as_tensor() if is_room else planes.new_empty(image.shape)
        result.narrow(1, first, count).copy_(planes)
    assert result is not None, "a volume has planes"
    return _placed(result, geometry_of(image), meta=image.meta)


def _respaced(step: Spacingd, image: MetaTensor) -> MetaTensor | None:
    """The image resampled a few planes at a time; None where it is small, or planes ask for more than their like."""
    inner = step.spacing_transform
    settings = {"mode": step.mode[0], "padding_mode": step.padding_mode[0], "align_corners": step.align_corners[0]}
    is_plain = settings["mode"] == GridSampleMode.BILINEAR and settings["padding_mode"] in PADDING
    if not is_plain or settings["align_corners"] or step.scale_extent[0] or inner.recompute_affine:
        return None
    planned = inner(image, **settings, lazy=True)
    i, j, k = (int(size) for size in planned.peek_pending_shape())
    source, target = geometry_of(image), Geometry((i, j, k), planned.peek_pending_affine().numpy())
    places = plane_positions(source, target, axis=0)
    if places is None or places[0] != 0:  # a diagonal affine may ask for the axes in another order
        return None
    if target.matches(source) or max(prod(source.shape), prod(target.shape)) <= PART_VOXELS:
        return None
    result = image.as_tensor().new_empty((image.shape[0], *target.shape), dtype=torch.float32)  # as MONAI gives it
    n_before = source.shape[0] / target.shape[0] * prod(source.shape[1:])  # voxels under each plane of the result
    for first, count in _parts(target.shape, at_least=int(n_before)):
        begin, stop = _reached(places[1][first : first + count], source.shape[0])
        there = target.planes(0, first, count)
        result.narrow(1, first, count).copy_(
            inner.sp_resample(
                _in_floats(
                    _placed(image.as_tensor().narrow(1, begin, stop - begin), source.planes(0, begin, stop - begin))
                ),
                dst_affine=torch.from_numpy(there.affine.copy()),
                spatial_size=there.shape,
                dtype=step.dtype[0],
                lazy=False,
                **settings,
            )
        )
    return _placed(result, target, meta=image.meta)


def _reached(positions: NDArray[np.float64], size: int) -> tuple[int, int]:
    """Of an axis of so many planes those between which these positions lie, and one more at each side."""
    first, last = (int(bound) for bound in np.clip([np.floor(positions.min()), np.ceil(positions.max())], 0, size - 1))
    return max(first - 1, 0), min(last + 2, size)


def _parts(shape: tuple[int, ...], *, at_least: int = 0) -> Iterator[tuple[int, int]]:
    """The first plane of each part along the first axis, and how many planes it has; a plane counts ``at_least`` so."""
    n_planes = max(PART_VOXELS // max(shape[1] * shape[2], at_least), 1)
    for first in range(0, shape[0], n_planes):
        yield first, min(n_planes, shape[0] - first)


def _placed(values: torch.Tensor, geometry: Geometry, *, meta: Mapping[str, Any] | None = None) -> MetaTensor:
    told = {key: value for key, value in (meta or {}).items() if key != "affine"}
    return MetaTensor(values, affine=torch.from_numpy(geometry.affine.copy()), meta=told)


def _in_floats(image: MetaTensor) -> MetaTensor:
    """The same values in floating point: the image itself where they are."""
    return image if image.is_floating_point() else image.to(torch.float32)


def _others(data: Mapping[Hashable, Any]) -> list[torch.Tensor]:
    return [value for key, value in data.items() if key != "image" and isinstance(value, torch.Tensor)]


def _share_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
