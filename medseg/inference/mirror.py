"""Mirrors: the mean over a scan and its mirror images, for models to which left or right means nothing."""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import combinations
from typing import Any

import torch
from monai.inferers import Inferer, SlidingWindowInferer

from medseg.errors import SettingsError
from medseg.inference.mean import mean_of
from medseg.inference.slices import SliceBySliceInferer

__all__ = ["MirrorInferer"]

Network = Callable[..., torch.Tensor]


class MirrorInferer(Inferer):
    """MONAI inferer: the mean over every combination of mirrored axes, each turned back.

    With n axes it takes 2ⁿ times as long, and no more memory than one pass: each window is mirrored where it lies, and
    its logits are averaged before they are blended. That is the mean over passes of the whole volume and its mirror
    images wherever windows lie as they would on a mirror image. Where they do not, because the last window of an axis
    was moved back to the border, or because a volume smaller than the window was filled up by an odd number of voxels,
    every mirror image is seen in the windows of the scan itself::

        windows of 5, step 2, on 8 voxels      ■■■■■   ·■·   ■■■■■   begin at 0, 2 and 3
        on the mirror image, turned back       they would begin at 0, 1 and 3

    Slices are mirrored whole, with their neighbours: their mean is that over the whole volume always. Inferers whose
    windows are not known run on mirror images of the whole volume.

    Only axes along which the model's labels mean the same on both sides may be named: never left to right where labels
    are left and right.

    Args:
        inferer: what runs on each mirror image.
        axes: of the preprocessed volume, 0, 1 or 2.
    Raises:
        SettingsError: an axis is not 0, 1 or 2, or is named twice.
    """

    def __init__(self, inferer: Inferer, axes: Sequence[int]) -> None:
        super().__init__()
        self.inferer = inferer
        self.axes = tuple(axes)
        if len(set(self.axes)) != len(self.axes) or not set(self.axes) <= {0, 1, 2}:
            raise SettingsError(f"mirror axes are {list(axes)}: different ones of 0, 1 and 2 were expected.")
        self.mirrors = tuple(
            mirrored for count in range(len(self.axes), -1, -1) for mirrored in combinations(self.axes, count)
        )
        """The axes that are mirrored together; none last."""

    def __call__(self, inputs: torch.Tensor, network: Network, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Mean logits (B, L, I, J, K) of volumes (B, C, I, J, K)."""
        inside = self.in_windows(network)
        if inside is None:
            return mean_of(_mirrored(inputs, self.mirrors, lambda one: self.inferer(one, network, *args, **kwargs)))
        network, inferer = inside
        logits: torch.Tensor = inferer(inputs, network, *args, **kwargs)
        return logits

    @property
    def n_passes(self) -> int:
        """How often every window is computed."""
        return len(self.mirrors)

    @property
    def passes(self) -> tuple["MirrorInferer", ...]:
        """One for each mirror image alone: their mean is that of this one."""
        return tuple(self._only(mirrored) for mirrored in self.mirrors)

    def in_windows(self, network: Network) -> tuple[Network, Inferer] | None:
        """A network and an inferer that give the mean without another whole volume; None where windows are not known.

        Both together take the place of the network and this inferer.
        """
        if isinstance(self.inferer, SliceBySliceInferer):
            return network, self.inferer.mirrored(self.mirrors)
        if type(self.inferer) is not SlidingWindowInferer or self.inferer.with_coord:
            return None

        def mean(windows: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            return mean_of(_mirrored(windows, self.mirrors, lambda one: network(one, *args, **kwargs)))

        return mean, self.inferer

    def _only(self, mirrored: tuple[int, ...]) -> "MirrorInferer":
        result = copy(self)
        result.mirrors = (mirrored,)
        return result


def _mirrored(
    inputs: torch.Tensor, mirrors: Sequence[tuple[int, ...]], compute: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[torch.Tensor]:
    """What is computed of each mirror image (B, C, I, J, K), turned back; the first is nobody else's tensor."""
    for mirrored in mirrors:
        dims = [axis + 2 for axis in mirrored]
        yield compute(inputs.flip(dims)).flip(dims) if dims else compute(inputs)
