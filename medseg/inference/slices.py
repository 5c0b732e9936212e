"""Slices: a volume through a 2D network, slice by slice in batches, with neighbouring slices as context."""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any

import torch
from monai.inferers import Inferer, sliding_window_inference

from medseg.errors import ImageError
from medseg.inference.mean import mean_of
from medseg.inference.windows import count_windows
from medseg.transforms import check_slices, mirror_slices, stack_slices

__all__ = ["SliceBySliceInferer"]


class SliceBySliceInferer(Inferer):
    """MONAI inferer: a 2D network over the slices of a volume.

    Slices larger than the window are covered by windows that are blended with Gaussian weights; smaller ones are
    filled up with ``cval``.

    Args:
        axis: 0, 1 or 2: across which axis of the preprocessed volume the slices are cut.
        roi_size: window (H, W) in the plane of the slices, their axes in the order of the volume's.
        context: how many neighbours on either side are further channels, see ``stack_slices``.
        batch_size: windows that pass through the network together.
        overlap: share of a window that the next one covers again.
        cval: the value beyond a slice that is smaller than the window.
    Raises:
        SettingsError: the axis is not 0, 1 or 2, or the context is negative.
    """

    def __init__(
        self,
        axis: int,
        roi_size: Sequence[int],
        *,
        context: int = 0,
        batch_size: int = 16,
        overlap: float = 0.5,
        cval: float = 0.0,
    ) -> None:
        super().__init__()
        check_slices(axis, context)
        self.axis = axis
        self.roi_size = tuple(roi_size)
        self.context = context
        self.batch_size = batch_size
        self.overlap = overlap
        self.cval = cval
        self.mirrors: tuple[tuple[int, ...], ...] = ((),)
        """Axes of the volume that are mirrored together; the logits are the mean of these passes, each turned back."""

    def __call__(
        self,
        inputs: torch.Tensor,
        network: Callable[..., torch.Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Logits (1, L, I, J, K) of a volume (1, C, I, J, K).

        Raises:
            ImageError: there are several volumes, or it is none.
        """
        if inputs.ndim != 5 or inputs.shape[0] != 1:
            raise ImageError(f"the shape is {tuple(inputs.shape)}: one volume (1, C, I, J, K) was expected.")
        logits = torch.cat(
            list(self.blocks(inputs[0], lambda windows: network(windows, *args, **kwargs))), self.axis + 1
        )
        return logits[None]

    def blocks(self, volume: torch.Tensor, network: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[torch.Tensor]:
        """Logits (L, I, J, K) of a volume (C, I, J, K), a batch of slices at a time, in order."""
        count, block = volume.shape[self.axis + 1], self.batch_size
        for first in range(0, count, block):
            numbers = range(count)[first : first + block]
            with torch.inference_mode():
                stack = stack_slices(volume, axis=self.axis, context=self.context, numbers=numbers)
                stack = stack if stack.is_floating_point() else stack.float()  # logits are blended in the same type
                logits = mean_of(self._logits(stack, network, mirrored) for mirrored in self.mirrors)
            yield logits.movedim(0, self.axis + 1)

    def mirrored(self, mirrors: Sequence[tuple[int, ...]]) -> "SliceBySliceInferer":
        """The same over mirror images: each names the axes of the volume that are mirrored together."""
        result = copy(self)
        result.mirrors = tuple(mirrors)
        return result

    def _logits(
        self, stack: torch.Tensor, network: Callable[[torch.Tensor], torch.Tensor], mirrored: Sequence[int]
    ) -> torch.Tensor:
        """Logits (N, L, H, W) of slices (N, C, H, W) by way of a mirror image."""
        given = mirror_slices(stack, mirrored, axis=self.axis, context=self.context)
        logits: torch.Tensor = sliding_window_inference(
            given, self.roi_size, self.batch_size, network, overlap=self.overlap, mode="gaussian", cval=self.cval
        )
        return mirror_slices(logits, mirrored, axis=self.axis)

    def count_windows(self, sizes: Sequence[int]) -> int:
        """How many windows a volume of these sizes takes."""
        plane = [size for axis, size in enumerate(sizes) if axis != self.axis]
        return sizes[self.axis] * count_windows(plane, roi_size=self.roi_size, overlap=self.overlap)
