"""The box around what a crop takes for foreground, found a few planes at a time."""

import numpy as np
import torch
from monai.transforms import CropForeground
from monai.transforms.utils import generate_spatial_bounding_box, is_positive
from monai.utils import ensure_tuple_rep

from medseg.inference.prepared import Prepared, parts_along

__all__ = ["foreground_box"]


def foreground_box(prepared: Prepared, crop: CropForeground) -> tuple[tuple[int, int], ...] | None:
    """Of each axis the first plane of MONAI's box and that behind its last, of a large volume (C, I, J, K).

    None where the crop asks for more than a box around positive values within the volume, or finds none.
    """
    is_plain = crop.select_fn is is_positive and crop.channel_indices is None and np.all(np.equal(crop.k_divisible, 1))
    if not is_plain:
        return None
    sizes = tuple(prepared.image.shape[1:])
    sides = [np.zeros(size, dtype=bool) for size in sizes]
    for first, count in parts_along(sizes):
        values = prepared.values(prepared.image.as_tensor().narrow(1, first, count))
        marked = is_positive(values).any(0).cpu().numpy()  # NumPy is many times as fast at the rest
        rows = marked.any(axis=0)
        sides[0][first : first + count] = marked.any(axis=(1, 2))
        sides[1] |= rows.any(axis=1)
        sides[2] |= rows.any(axis=0)
    if not sides[0].any():
        return None
    box = []
    for side, margin in zip(sides, ensure_tuple_rep(crop.margin, 3), strict=True):
        (start,), (stop,) = generate_spatial_bounding_box(
            torch.from_numpy(side)[None], margin=margin, allow_smaller=crop.allow_smaller
        )
        if start < 0 or stop > len(side):  # the crop would fill up
            return None
        box.append((int(start), int(stop)))
    return tuple(box)
