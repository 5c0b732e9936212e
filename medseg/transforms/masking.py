"""Masked scans: some patches of an image are hidden, and the image itself is what a network shall restore."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

from medseg.errors import SettingsError

__all__ = ["RandMaskPatchesd"]


class RandMaskPatchesd(Randomizable, MapTransform):
    """Hide a share of an image's patches, and put the whole image with the mask in the place of the label.

    An image (C, *S) keeps its size; hidden patches take the mean of each channel. The label becomes (C + 1, *S): the
    image as it was, and 1 where it was hidden. Patches at the far border may be cut off.

    Args:
        label_key: where the whole image and the mask go.
        patch_size: side of a patch in voxels.
        share: of the patches that are hidden; 0.6 in SimMIM (Xie et al., arXiv:2111.09886, section 3.2).
    Raises:
        SettingsError: the share is not between 0 and 1, or the patch has no size.
    """

    def __init__(
        self, keys: KeysCollection, *, label_key: str = "label", patch_size: int = 8, share: float = 0.6
    ) -> None:
        super().__init__(keys)
        if not 0 < share < 1 or patch_size < 1:
            raise SettingsError(f"share {share}, patch_size {patch_size}: a share between 0 and 1 and a size from 1.")
        self.label_key = label_key
        self.patch_size = patch_size
        self.share = share

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with each key masked."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            image = image.as_tensor() if hasattr(image, "as_tensor") else image
            mask = torch.from_numpy(self._mask(image.shape[1:])).to(image)
            mean = image.mean(dim=tuple(range(1, image.ndim)), keepdim=True)
            result[key] = torch.where(mask > 0, mean, image)
            result[self.label_key] = torch.cat([image, mask[None]])
        return result

    def _mask(self, sizes: torch.Size) -> np.ndarray[Any, np.dtype[np.float32]]:
        counts = [-(-size // self.patch_size) for size in sizes]
        hidden = np.zeros(int(np.prod(counts)), np.float32)
        n_hidden = min(max(round(self.share * len(hidden)), 1), max(len(hidden) - 1, 1))
        hidden[self.R.permutation(len(hidden))[:n_hidden]] = 1
        mask = hidden.reshape(counts)
        for axis in range(len(sizes)):
            mask = mask.repeat(self.patch_size, axis=axis)
        return np.ascontiguousarray(mask[tuple(slice(size) for size in sizes)])
