"""A scan on the network's grid: a bundle's transforms, the large ones a few planes at a time.

MONAI's transforms compute on whole volumes, and hold several copies of one while they do: resampling in float64 takes
eight times the memory of its input. Where a transform gives the same values plane by plane it is given a few planes
at a time, so that a long scan takes little more than itself and its result.
"""

from collections.abc import Hashable, Mapping
from copy import copy, deepcopy
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
    ToDeviced,
)
from monai.utils import GridSampleMode, GridSamplePadMode
from numpy.typing import NDArray

from medseg.errors import ImageError
from medseg.geometry import Geometry, geometry_of, plane_positions
from medseg.inference.foreground import foreground_box
from medseg.inference.prepared import Prepared, in_floats, is_small, parts_along, placed

__all__ = ["prepare", "preprocess"]

ELSEWHERE = (LoadImage, LoadImaged, ToDeviced)
"""Readers and carriers: a bundle names them so that MONAI can run it alone. A scan comes here read, on its device."""

VOXELWISE = (ScaleIntensityRanged,)
"""Transforms whose result at a voxel depends on that voxel alone."""

KEEPING = (CropForegroundd, EnsureTyped, Orientationd, ScaleIntensityRanged, Spacingd)
"""Transforms that do not write into what they are given (NormalizeIntensityd(nonzero=True) of MONAI 1.6.1 does)."""

PADDING = (GridSamplePadMode.BORDER, GridSamplePadMode.ZEROS)
"""Kinds of padding that ask nothing of a volume beyond its own border."""


def preprocess(image: MetaTensor, preprocessing: Compose) -> MetaTensor:
    """An image (C, I, J, K) as read, on the network's grid: through a bundle's transforms, less its reader.

    What comes out is in floating point, also where the scan is kept in integers.

    Raises:
        ImageError: the bundle's cropping leaves nothing of it, or a step loses its place in space.
    """
    finished = prepare(image, preprocessing).finished()
    # What was cropped is a view, which would keep the whole scan in memory for as long as it is used.
    return finished.clone() if finished.untyped_storage().nbytes() > finished.nbytes else finished


def prepare(scan: MetaTensor, preprocessing: Compose, *, device: torch.device | None = None) -> Prepared:
    """The same on a device, but the steps of each voxel alone wait where they would ask for a second volume.

    What was cropped may be a view of the scan, which its owner holds anyway.

    Raises:
        ImageError: the bundle's cropping leaves nothing of it, or a step loses its place in space.
    """
    image: MetaTensor = scan.to(device)
    steps = [_on_its_device(step) for step in preprocessing.transforms if not isinstance(step, ELSEWHERE)]
    if not steps:
        return Prepared(image)
    data: dict[Hashable, Any] = {"image": placed(image.as_tensor(), geometry_of(image), meta=deepcopy(image.meta))}
    waiting: tuple[MapTransform, ...] = ()
    for step in steps:
        if _is_voxelwise(step, data["image"]):
            waiting = (*waiting, step)
            if data["image"].dtype == torch.float32 and not _is_needed(data, scan):  # there is room for the result
                data["image"], waiting = Prepared(data["image"], waiting).finished(may_replace=True), ()
            continue
        cropped = _cropped(step, Prepared(data["image"], waiting))
        if cropped:
            data.update(cropped)
            continue
        if waiting and not _leaves_values(step):
            data["image"], waiting = Prepared(data["image"], waiting).finished(), ()
        if type(step) not in KEEPING and _share_memory(data["image"], scan):
            data["image"] = data["image"].clone()
        data = _checked(step, _through(step, data), before=data["image"])
    prepared: MetaTensor = data["image"]
    if prepared.untyped_storage().nbytes() > prepared.nbytes and not _share_memory(prepared, scan):
        prepared = prepared.clone()  # a view would keep the whole it was cropped from in memory
    return Prepared(prepared, waiting)


def _on_its_device(step: Any) -> Any:
    """A transform that does not carry a scan to another device on the way."""
    if isinstance(step, EnsureTyped) and step.converter.device is not None:
        step = copy(step)
        step.converter = copy(step.converter)
        step.converter.device = None
    return step


def _checked(step: Any, data: dict[Hashable, Any], *, before: MetaTensor) -> dict[Hashable, Any]:
    """What a step gave, its image in its place in space.

    Raises:
        ImageError: the step lost that, or left nothing.
    """
    if isinstance(step, EnsureTyped):  # with track_meta: false it forgets where the voxels lie, and moves none
        data["image"] = placed(torch.as_tensor(data["image"]), geometry_of(before), meta=before.meta)
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
    return data


def _through(step: Any, data: dict[Hashable, Any]) -> dict[Hashable, Any]:
    """One transform of a dictionary."""
    image = data["image"]
    if _is_of_volume(step, image) and type(step) is Spacingd and (respaced := _respaced(step, image)) is not None:
        return {**data, "image": respaced}
    if not _leaves_values(step):
        data = {**data, "image": in_floats(image)}
    # Lazily it would only be noted down: what follows here, and the network, needs the values.
    done: dict[Hashable, Any] = step(data, lazy=False) if isinstance(step, LazyTrait) else step(data)
    return done


def _is_of_volume(step: Any, image: torch.Tensor) -> bool:
    """Whether this is a transform of the image alone, and that of a volume with channels."""
    return image.ndim == 4 and isinstance(step, MapTransform) and tuple(step.keys) == ("image",)


def _is_voxelwise(step: Any, image: torch.Tensor) -> bool:
    """Whether a transform gives at each voxel of a large volume what depends on that voxel alone."""
    return type(step) in VOXELWISE and _is_of_volume(step, image) and not is_small(image[0].numel())


def _leaves_values(step: Any) -> bool:
    """Whether a transform moves values at most, and changes none, nor their type."""
    return type(step) is Orientationd or (type(step) is EnsureTyped and not any(step.dtype))


def _cropped(step: Any, prepared: Prepared) -> dict[Hashable, Any]:
    """A large image cropped to its foreground, which is looked for a few planes at a time; nothing for other steps.

    With it comes its place, under the names that the step gives it.
    """
    image = prepared.image
    if type(step) is not CropForegroundd or not _is_of_volume(step, image) or step.source_key != "image":
        return {}
    if is_small(image[0].numel()):
        return {}
    box = foreground_box(prepared, step.cropper)
    if box is None:
        return {}
    cropped, geometry = image.as_tensor(), geometry_of(image)
    for axis, (start, stop) in enumerate(box):
        cropped, geometry = (
            cropped.narrow(axis + 1, start, stop - start),
            geometry.planes(axis, start, stop - start),
        )
    corners = zip((step.start_coord_key, step.end_coord_key), np.array(box).T, strict=True)
    told = {key: corner for key, corner in corners if key is not None}
    return {**told, "image": placed(cropped, geometry, meta=image.meta)}


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
    if target.matches(source):  # MONAI leaves the values as they are, too
        return placed(image.as_tensor(), target, meta=image.meta)
    if is_small(max(prod(source.shape), prod(target.shape))):
        return None
    result = image.as_tensor().new_empty((image.shape[0], *target.shape), dtype=torch.float32)  # as MONAI gives it
    n_before = source.shape[0] / target.shape[0] * prod(source.shape[1:])  # voxels under each plane of the result
    for first, count in parts_along(target.shape, at_least=int(n_before)):
        begin, stop = _reached(places[1][first : first + count], source.shape[0])
        there = target.planes(0, first, count)
        result.narrow(1, first, count).copy_(
            inner.sp_resample(
                in_floats(
                    placed(image.as_tensor().narrow(1, begin, stop - begin), source.planes(0, begin, stop - begin))
                ),
                dst_affine=torch.from_numpy(there.affine.copy()),
                spatial_size=there.shape,
                dtype=step.dtype[0],
                lazy=False,
                **settings,
            )
        )
    return placed(result, target, meta=image.meta)


def _reached(positions: NDArray[np.float64], size: int) -> tuple[int, int]:
    """Of an axis of so many planes those between which these positions lie, and one more at each side."""
    first, last = (int(bound) for bound in np.clip([np.floor(positions.min()), np.ceil(positions.max())], 0, size - 1))
    return max(first - 1, 0), min(last + 2, size)


def _is_needed(data: Mapping[Hashable, Any], scan: MetaTensor) -> bool:
    """Whether the scan, or something beside the image of ``data``, lies in the same memory."""
    others = [value for key, value in data.items() if key != "image" and isinstance(value, torch.Tensor)]
    return any(_share_memory(kept, data["image"]) for kept in (scan, *others))


def _share_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether they lie in one piece of memory, or in pieces that overlap: what came by way of NumPy begins anywhere."""
    mine, yours = one.untyped_storage(), other.untyped_storage()
    if one.device != other.device:
        return False
    return mine.data_ptr() < yours.data_ptr() + yours.nbytes() and yours.data_ptr() < mine.data_ptr() + mine.nbytes()
