"""Three planes: the mean over a 2D network's passes through all three planes of a volume."""

from collections.abc import Callable
from copy import copy
from typing import Any, Final

import torch
from monai.inferers import Inferer

from medseg.inference.mean import mean_of
from medseg.inference.slices import SliceBySliceInferer

__all__ = ["ThreePlaneInferer"]

N_PLANES: Final = 3


class ThreePlaneInferer(Inferer):
    """MONAI inferer: slices across each axis of the volume in turn, their logits averaged.

    For networks that were trained on slices of all three planes, on a grid with voxels of one size. It takes three
    times as long as one plane, and one more volume of logits in memory.

    Args:
        inferer: how slices are taken; its axis is the first.
    """

    def __init__(self, inferer: SliceBySliceInferer) -> None:
        super().__init__()
        self.inferer = inferer

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Mean logits (1, L, I, J, K) of a volume (1, C, I, J, K)."""
        return mean_of(plane(inputs, network, *args, **kwargs) for plane in self.planes)

    @property
    def planes(self) -> tuple[SliceBySliceInferer, ...]:
        """The inferer of each plane."""
        return tuple(self._across((self.inferer.axis + turn) % N_PLANES) for turn in range(N_PLANES))

    def _across(self, axis: int) -> SliceBySliceInferer:
        result = copy(self.inferer)
        result.axis = axis
        return result
