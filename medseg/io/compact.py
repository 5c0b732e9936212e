"""A scan in half its memory while its labels are looked for, where its values allow.

The transforms work on a copy in floating point; the scan itself waits for the statistics and the picture.
"""

import torch
from monai.data import MetaTensor

__all__ = ["compacted"]

PART_VOXELS = 4_000_000
"""Voxels looked at together, so that no second volume is needed to look."""


def compacted(image: MetaTensor) -> MetaTensor:
    """An image (C, I, J, K) in 16-bit integers where each value is one, as in a CT and most MR; else as it is.

    Every value is the same, but that zero has lost its sign.
    """
    values = image.as_tensor()
    if not values.is_floating_point():
        return image
    whole = torch.empty(values.shape, dtype=torch.int16, device=values.device)
    planes = max(PART_VOXELS // max(values[0, 0].numel(), 1), 1)
    for here, there in zip(values, whole, strict=True):
        for part, room in zip(here.split(planes), there.split(planes), strict=True):
            room.copy_(part)  # beyond 16 bits this gives another number, or any: seen on the way back
            if not torch.equal(room.to(values.dtype), part):
                return image
    told = {key: value for key, value in image.meta.items() if key != "affine"}
    return MetaTensor(whole, affine=image.affine.clone(), meta=told)
