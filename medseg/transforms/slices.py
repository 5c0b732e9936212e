"""Slices of a volume for 2D networks, each with its neighbours as further channels.

In: a volume (C, I, J, K). Out: slices (N, C·(2n+1), H, W), where n neighbours on either side of a slice are its
context. The same stack is made in training, of a slab, and in inference, of the whole volume.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ensure_tuple

from medseg.errors import ImageError, SettingsError

__all__ = ["CentralSliced", "check_slices", "mirror_slices", "stack_slices"]


def stack_slices(volume: torch.Tensor, *, axis: int, context: int, numbers: Sequence[int]) -> torch.Tensor:
    """The slices with these numbers across one axis, (N, C·(2·context+1), H, W).

    The channels of the slice ``context`` places before come first. Beyond the first and the last slice these
    stand in for their neighbours::

        slices 0 1 2 3, context 1   →   0 0 1 · 0 1 2 · 1 2 3 · 2 3 3

    Args:
        volume: (C, I, J, K).
        axis: 0, 1 or 2: the spatial axis across which slices are cut; the other two keep their order.
    """
    slices = volume.movedim(axis + 1, 0)
    offsets = torch.arange(-context, context + 1)
    neighbours = (torch.as_tensor(numbers)[:, None] + offsets).clamp(0, len(slices) - 1)
    return slices[neighbours.to(slices.device)].flatten(1, 2)


def mirror_slices(slices: torch.Tensor, mirrored: Sequence[int], *, axis: int, context: int = 0) -> torch.Tensor:
    """Slices (N, C·(2·context+1), H, W) of a volume as they would be cut from its mirror image, each in its place.

    Args:
        mirrored: the volume's axes along which it is mirrored; where ``axis`` is one, neighbours change sides.
        axis: the volume's axis across which the slices were cut.
    """
    in_plane = [one for one in range(3) if one != axis]
    dims = [in_plane.index(one) + 2 for one in mirrored if one != axis]
    slices = slices.flip(dims) if dims else slices
    if axis not in mirrored or not context:
        return slices
    neighbours = rearrange(slices, "n (s c) h w -> n s c h w", s=2 * context + 1)
    return rearrange(neighbours.flip(1), "n s c h w -> n (s c) h w")


class CentralSliced(MapTransform):
    """MONAI transform: the central slice of a slab, images with its neighbours as channels, labels without.

    A slab has 2·``context`` + 1 slices across ``axis``; an image (C, …) becomes (C·(2·context+1), H, W), a key in
    ``without_context`` (1, H, W). It ends the augmentation of a 2D network.

    Raises:
        SettingsError: the axis is not 0, 1 or 2, or the context is negative.
    """

    def __init__(
        self,
        keys: KeysCollection,
        axis: int,
        *,
        context: int = 0,
        without_context: KeysCollection = ("label",),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        check_slices(axis, context)
        self.axis = axis
        self.context = context
        self.without_context = ensure_tuple(without_context)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with each key cut.

        Raises:
            ImageError: a key has another number of slices than the context asks for.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            slab = result[key]
            found, wanted = slab.shape[self.axis + 1], 2 * self.context + 1
            if found != wanted:
                raise ImageError(f"{key} has {found} slices across axis {self.axis}: {wanted} were expected.")
            context = 0 if key in self.without_context else self.context
            slab = slab.as_tensor() if hasattr(slab, "as_tensor") else slab
            result[key] = stack_slices(slab, axis=self.axis, context=context, numbers=[self.context])[0]
        return result


def check_slices(axis: int, context: int) -> None:
    """Refuse what names no axis of a volume, or no number of neighbours.

    Raises:
        SettingsError: the axis is not 0, 1 or 2, or the context is negative.
    """
    if axis not in (0, 1, 2):
        raise SettingsError(f"axis is {axis!r}: 0, 1 or 2 was expected, an axis of the volume.")
    if context < 0:
        raise SettingsError(f"context is {context}: 0 or more neighbouring slices on either side were expected.")
