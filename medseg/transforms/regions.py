"""Regions that a network predicts one by one, such as the whole tumour, as one label map."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from medseg.errors import ImageError, SettingsError

__all__ = ["RegionsToLabelsd"]


class RegionsToLabelsd(MapTransform):
    """MONAI transform: memberships (R, I, J, K) → labels (1, I, J, K); regions paint one after the other.

    Args:
        paint: pairs of a channel and the label that it paints, the outermost region first: a voxel keeps the
            label of the last region it lies in.
    Raises:
        SettingsError: a pair is not two numbers, or a label is outside 1 to 255.
    """

    def __init__(self, keys: KeysCollection, paint: Sequence[Sequence[int]], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        if not paint or any(len(pair) != 2 or not 1 <= pair[1] <= 255 for pair in paint):
            raise SettingsError(f"paint is {paint!r}: pairs of a channel and a label from 1 to 255 were expected.")
        self.paint = [(int(channel), int(label)) for channel, label in paint]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with each key painted.

        Raises:
            ImageError: a key has fewer channels than are painted.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            regions = result[key]
            if regions.shape[0] <= max(channel for channel, _ in self.paint):
                raise ImageError(f"{key} has {regions.shape[0]} channels: one for each of {self.paint} was expected.")
            members = regions.as_tensor() if isinstance(regions, MetaTensor) else regions
            labels = torch.zeros_like(members[:1], dtype=torch.uint8)
            for channel, label in self.paint:
                labels[0][members[channel] > 0] = label
            result[key] = MetaTensor(labels, meta=dict(regions.meta)) if isinstance(regions, MetaTensor) else labels
            if isinstance(regions, MetaTensor):
                result[key].affine = regions.affine
        return result
