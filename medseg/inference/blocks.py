"""Logits in blocks: finished planes leave for the scan's grid while later windows are still being computed.

Windows are computed in the order of one axis of the volume. As soon as no later window can reach a plane, it is
blended, handed on and forgotten, so that memory grows with the depth of a window and not with that of the volume::

    axis      0 ─────────────────────────────▶
    windows   ■■■■■■
                 ■■■■■■                        planes 0 to 2 are finished when the second begins
                    ■■■■■■
    blocks    ■■■ ■■■ ■■■■■■
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from monai.data.utils import compute_importance_map
from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import ensure_tuple_rep

from medseg.errors import RunError
from medseg.inference.slices import SliceBySliceInferer
from medseg.inference.windows import window_starts

__all__ = ["Blocks", "NotBlockwiseError", "logits_in_blocks"]

Network = Callable[[torch.Tensor], torch.Tensor]


class NotBlockwiseError(Exception):
    """The network's output is not one tensor of its input's size: whoever asked must take another way."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """The logits of a volume, cut across one axis.

    ``parts`` gives tensors (L, I, J, K) float32, shortened along ``axis``, which follow one another without a gap.
    """

    axis: int
    parts: Iterator[torch.Tensor]


def logits_in_blocks(volume: torch.Tensor, network: Network, inferer: Inferer) -> Blocks | None:
    """The blended logits of a volume (C, I, J, K) in blocks; None for an inferer whose windows are not known.

    The values are those that the inferer itself would give, to rounding: the same windows, blended in float32 with
    the same weights.

    Raises:
        NotBlockwiseError: with the first part: the network gives no logits of its input's size.
        RunError: with any part: logits that are no numbers.
    """
    if isinstance(inferer, SliceBySliceInferer):
        return Blocks(inferer.axis, map(_checked, inferer.blocks(volume, network)))
    if type(inferer) is not SlidingWindowInferer or inferer.buffer_steps is not None or inferer.with_coord:
        return None
    rois = ensure_tuple_rep(inferer.roi_size, 3)
    if any(roi is None or roi <= 0 for roi in rois):
        return None
    axis = max(range(3), key=lambda one: volume.shape[one + 1] / rois[one])
    return Blocks(axis, map(_checked, _window_blocks(volume, network, inferer, rois, axis=axis)))


def _checked(logits: torch.Tensor) -> torch.Tensor:
    if bool(logits.isnan().any()):
        raise RunError(
            "the network gave values that are not numbers (NaN): the weights are damaged, or overflow on this device. "
            "Verify the bundle, or try --device cpu."
        )
    return logits


@torch.inference_mode()
def _window_blocks(
    volume: torch.Tensor, network: Network, inferer: SlidingWindowInferer, rois: Sequence[int], *, axis: int
) -> Iterator[torch.Tensor]:
    padding = [max(roi - size, 0) for roi, size in zip(rois, volume.shape[1:], strict=True)]
    before = [missing // 2 for missing in padding]
    padded = _padded(volume, before, padding, mode=str(inferer.padding_mode), value=float(inferer.cval))
    overlaps = ensure_tuple_rep(inferer.overlap, 3)
    starts = [
        window_starts(size=size, roi=roi, overlap=overlap)
        for size, roi, overlap in zip(padded.shape[1:], rois, overlaps, strict=True)
    ]
    computed_on, blended_on = inferer.sw_device or volume.device, inferer.device or volume.device
    weights = compute_importance_map(
        tuple(rois), mode=inferer.mode, sigma_scale=inferer.sigma_scale, device=blended_on, dtype=torch.float32
    )
    blend = _Blend(weights, [*padded.shape[1:]], axis=axis)
    inner = [slice(left, left + size) for left, size in zip(before, volume.shape[1:], strict=True)]
    others = [one for one in range(3) if one != axis]
    for start, following in zip(starts[axis], [*starts[axis][1:], padded.shape[axis + 1]], strict=True):
        corners = [
            tuple({axis: start, **dict(zip(others, place, strict=True))}[one] for one in range(3))
            for place in product(*(starts[one] for one in others))
        ]
        for first in range(0, len(corners), inferer.sw_batch_size):
            batch = corners[first : first + inferer.sw_batch_size]
            windows = torch.stack([padded[(slice(None), *_box(corner, rois))] for corner in batch]).to(computed_on)
            for corner, logits in zip(batch, _logits_of(network, windows), strict=True):
                blend.add(logits.to(blended_on).float(), corner)
        part = blend.take(start, following)
        kept = slice(max(inner[axis].start - start, 0), max(min(inner[axis].stop, following) - start, 0))
        if kept.start < kept.stop:
            yield part[(slice(None), *(kept if one == axis else inner[one] for one in range(3)))]


def _padded(
    volume: torch.Tensor, before: Sequence[int], padding: Sequence[int], *, mode: str, value: float
) -> torch.Tensor:
    """The volume filled up to one window, as much before as after, as MONAI does."""
    if not any(padding):
        return volume
    widths = [width for one in (2, 1, 0) for width in (before[one], padding[one] - before[one])]
    if mode == "constant":
        return F.pad(volume[None], widths, mode=mode, value=value)[0]
    return F.pad(volume[None], widths, mode=mode)[0]


def _box(corner: Sequence[int], rois: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(start, start + roi) for start, roi in zip(corner, rois, strict=True))


def _logits_of(network: Network, windows: torch.Tensor) -> torch.Tensor:
    logits = network(windows)
    if not isinstance(logits, torch.Tensor) or logits.shape[2:] != windows.shape[2:]:
        raise NotBlockwiseError
    return logits


class _Blend:
    """Weighted sums over the planes that windows can still reach; mutable, as an accumulator must be."""

    def __init__(self, weights: torch.Tensor, sizes: Sequence[int], *, axis: int) -> None:
        self._weights = weights
        self._axis = axis
        self._sizes = [*sizes]
        self._sizes[axis] = weights.shape[axis]
        self._total: torch.Tensor | None = None
        self._share = torch.zeros(self._sizes, device=weights.device)
        self._first = 0

    def add(self, logits: torch.Tensor, corner: Sequence[int]) -> None:
        """Add one window's logits (L, *roi) at its corner."""
        if self._total is None:
            self._total = torch.zeros((logits.shape[0], *self._sizes), device=logits.device)
        place = [*corner]
        place[self._axis] -= self._first
        box = _box(place, self._weights.shape)
        for total, channel in zip(self._total, logits, strict=True):
            total[box].addcmul_(channel, self._weights)
        self._share[box] += self._weights

    def take(self, start: int, following: int) -> torch.Tensor:
        """The blended planes from ``start`` to ``following``, which is where the next windows begin."""
        assert self._total is not None, "windows were added"
        count = following - start
        part = self._total.narrow(self._axis + 1, 0, count) / self._share.narrow(self._axis, 0, count)
        for sums, axis in ((self._total, self._axis + 1), (self._share, self._axis)):
            rest = sums.shape[axis] - count
            if rest:
                sums.narrow(axis, 0, rest).copy_(sums.narrow(axis, count, rest).clone())
            sums.narrow(axis, rest, count).zero_()
        self._first = following
        return part
