"""Blending: weighted sums of overlapping windows, held only where windows can still reach."""

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from math import ceil

import torch

__all__ = ["Blend", "stretches_between"]

Corner = tuple[int, ...]
"""Where a window or a tile begins: a voxel index of each axis."""


class Blend:
    """Weighted sums over a volume in tiles; mutable, as an accumulator must be.

    A tile is made when the first window reaches it and handed on when no window can any more.

    Args:
        weights: of the voxels of a window, (I, J, K) float32; the sums lie on their device.
        starts: where windows begin, along each axis.
        stretches: where tiles begin and end, along each axis.
    """

    def __init__(
        self, weights: torch.Tensor, *, starts: Sequence[Sequence[int]], stretches: Sequence[Sequence[tuple[int, int]]]
    ) -> None:
        self.weights = weights
        self._starts = starts
        self._stretches = stretches
        self._ends = [dict(axis) for axis in stretches]
        self._sums: dict[Corner, torch.Tensor] = {}

    @property
    def device(self) -> torch.device:
        """Where the sums lie."""
        return self.weights.device

    def add(self, logits: torch.Tensor, corner: Sequence[int]) -> None:
        """Add one window's logits (L, *roi) at its corner."""
        reached = [
            [first for first, last in stretches if last > begin and first < begin + roi]
            for stretches, begin, roi in zip(self._stretches, corner, self.weights.shape, strict=True)
        ]
        for tile in product(*reached):
            there, here = self._common(tile, corner)
            weights = self.weights[here]
            for one, channel in zip(self._sums_at(tile, like=logits), logits, strict=True):
                one[there].addcmul_(channel[here], weights)

    def finished(self, *, before: Sequence[int]) -> list[Corner]:
        """The tiles in hand that end at or before this voxel of each axis, in order."""
        return [
            tile
            for tile in sorted(self._sums)
            if all(self._ends[axis][first] <= before[axis] for axis, first in enumerate(tile))
        ]

    @torch.inference_mode()
    def take(self, tile: Corner) -> torch.Tensor:
        """The blended logits (L, *tile) of a tile; no more can be added to them."""
        return self._sums.pop(tile).div_(self._shares(tile))

    def _sums_at(self, tile: Corner, *, like: torch.Tensor) -> torch.Tensor:
        if tile not in self._sums:
            self._sums[tile] = torch.zeros((like.shape[0], *self._sizes(tile)), device=like.device)
        return self._sums[tile]

    def _shares(self, tile: Corner) -> torch.Tensor:
        """The weights' sum at each voxel of a tile; kept beside the sums it would be a channel more all the time."""
        shares = torch.zeros(self._sizes(tile), device=self.device)
        for corner in self._windows_over(tile):
            there, here = self._common(tile, corner)
            shares[there] += self.weights[here]
        return shares

    def _windows_over(self, tile: Corner) -> Iterator[Corner]:
        return product(
            *(
                [begin for begin in starts if begin < ends[first] and begin + roi > first]
                for first, starts, ends, roi in zip(tile, self._starts, self._ends, self.weights.shape, strict=True)
            )
        )

    def _sizes(self, tile: Corner) -> list[int]:
        return [self._ends[axis][first] - first for axis, first in enumerate(tile)]

    def _common(self, tile: Corner, corner: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """What a tile and a window share, as a box of the tile and as a box of the window."""
        there, here = [], []
        for axis, (first, begin) in enumerate(zip(tile, corner, strict=True)):
            start, stop = max(first, begin), min(self._ends[axis][first], begin + self.weights.shape[axis])
            there.append(slice(start - first, stop - first))
            here.append(slice(start - begin, stop - begin))
        return tuple(there), tuple(here)


def stretches_between(starts: Sequence[int], *, roi: int, longest: int) -> list[tuple[int, int]]:
    """An axis cut wherever a window begins or ends, and there into even pieces of at most ``longest`` voxels."""
    borders = sorted({*starts, *(start + roi for start in starts)})
    cuts = [
        begin + (last - begin) * piece // n_pieces
        for begin, last in pairwise(borders)
        for n_pieces in (ceil((last - begin) / longest),)
        for piece in range(n_pieces)
    ]
    return [*pairwise([*cuts, borders[-1]])]
