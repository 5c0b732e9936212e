"""Mirrors: the mean over a scan and its mirror images, for models to which left or right means nothing."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import torch
from monai.inferers import Inferer

from medseg.errors import SettingsError

__all__ = ["MirrorInferer"]


class MirrorInferer(Inferer):
    """MONAI inferer: another inferer on every combination of mirrored axes, turned back and averaged.

    With n axes it takes 2ⁿ times as long, and one more volume of logits in memory. Only axes along which the model's
    labels mean the same on both sides may be named: never left to right where labels are left and right.

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

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Mean logits (B, L, I, J, K) of volumes (B, C, I, J, K)."""
        total: torch.Tensor | None = None
        for dims in self._mirrors():
            logits = self.inferer(inputs.flip(dims) if dims else inputs, network, *args, **kwargs)
            logits = logits.flip(dims) if dims else logits
            total = logits if total is None else total.add_(logits)
        assert total is not None, "the scan as it is comes first"
        return total.div_(self.n_passes)

    @property
    def n_passes(self) -> int:
        """How often the inferer inside runs."""
        return int(2 ** len(self.axes))

    def _mirrors(self) -> Iterator[tuple[int, ...]]:
        """The dimensions of a batch (B, C, I, J, K) to mirror together; none first."""
        dims = [axis + 2 for axis in self.axes]
        return (mirrored for count in range(len(dims) + 1) for mirrored in combinations(dims, count))
