"""Logits in blocks: finished planes leave for the scan's grid while later windows are still being computed.

Windows are computed in the order of one axis of the volume. As soon as no later window can reach a plane, it is
blended, handed on and forgotten, so that memory grows with the depth of a window and not with that of the volume::

    axis      0 ─────────────────────────────▶
    windows   ■■■■■■
                 ■■■■■■                        planes 0 to 2 are finished when the second begins
                    ■■■■■■
    blocks    ■■■ ■■■ ■■■■■■
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
import torch.nn.functional as F
from monai.data.utils import compute_importance_map
from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import ensure_tuple_rep

from medseg.errors import RunError
from medseg.inference.slices import SliceBySliceInferer
from medseg.inference.windows import window_starts

__all__ = ["Blocks", "NotBlockwiseError", "logits_in_blocks"]

PLANES_AT_ONCE = 8
"""Planes that leave together: whoever takes them may copy them without doubling a block."""

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


def logits_in_blocks(
    volume: torch.Tensor, network: Network, inferer: Inferer, *, axis: int | None = None, avoided: Collection[int] = ()
) -> Blocks | None:
    """The blended logits of a volume (C, I, J, K) in blocks; None for an inferer whose windows are not known.

    The values are those that the inferer itself would give, to rounding: the same windows, blended in float32 with
    the same weights.

    Args:
        axis: to cut across; by default the one with the smallest blocks. Slices decide for themselves.
        avoided: axes not to take by default, unless they are all.
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
    if axis is None:
        free = [one for one in range(3) if one not in avoided] or [0, 1, 2]
        axis = max(free, key=lambda one: volume.shape[one + 1] / rois[one])
    return Blocks(axis, map(_checked, _window_blocks(volume, network, inferer, rois, axis=axis)))


def _checked(logits: torch.Tensor) -> torch.Tensor:
    if bool(logits.isnan().any()):
        raise RunError(
            "the network gave values that are not numbers (NaN): the weights are damaged, or overflow on this device. "
            "Verify the bundle, or try --device cpu."
        )
    return logits


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
    batch_size = inferer.sw_batch_size
    weights = compute_importance_map(
        tuple(rois), mode=inferer.mode, sigma_scale=inferer.sigma_scale, device=blended_on, dtype=torch.float32
    )
    blend = _Blend(weights, padded.shape[1:], axis=axis, starts=starts)
    inner = [slice(left, left + size) for left, size in zip(before, volume.shape[1:], strict=True)]
    for start, following in pairwise([*starts[axis], padded.shape[axis + 1]]):
        corners = _corners(starts, axis=axis, start=start)
        batches = [corners[first : first + batch_size] for first in range(0, len(corners), batch_size)]
        _add_windows(blend, padded, network, batches=batches, device=computed_on)
        for first, last in blend.finished(before=following):
            kept = slice(max(inner[axis].start - first, 0), max(min(inner[axis].stop, last) - first, 0))
            if kept.start < kept.stop:
                box = (slice(None), *(kept if one == axis else inner[one] for one in range(3)))
                yield blend.take(first)[box]  # no name holds the planes while the next ones are computed
            else:
                blend.take(first)


def _corners(starts: Sequence[Sequence[int]], *, axis: int, start: int) -> list[tuple[int, ...]]:
    """Where the windows lie that begin at ``start`` along the axis."""
    return list(product(*((start,) if one == axis else places for one, places in enumerate(starts))))


@torch.inference_mode()
def _add_windows(
    blend: "_Blend",
    volume: torch.Tensor,
    network: Network,
    *,
    batches: Sequence[Sequence[tuple[int, ...]]],
    device: torch.device,
) -> None:
    """Compute the windows at these corners on a device, and blend them."""
    for corners in batches:
        windows = torch.stack([volume[(slice(None), *_box(corner, blend.weights.shape))] for corner in corners])
        for corner, logits in zip(corners, _logits_of(network, windows.to(device)), strict=True):
            blend.add(logits.to(blend.device).float(), corner)
        del logits  # or it would stay while the next windows are computed


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
    """Weighted sums over the planes that windows can still reach; mutable, as an accumulator must be.

    Planes are kept in stretches of a few, each made when the first window reaches it and handed on when no window can
    any more: what is held is as deep as one window. ``starts`` are where windows begin along each axis.
    """

    def __init__(
        self, weights: torch.Tensor, sizes: Sequence[int], *, axis: int, starts: Sequence[Sequence[int]]
    ) -> None:
        self.weights = weights
        self._sizes = tuple(sizes)
        self.axis = axis
        self._starts = starts
        borders = sorted({*starts[axis], *(start + weights.shape[axis] for start in starts[axis])})
        self._stretches = [
            (first, min(first + PLANES_AT_ONCE, last))
            for begin, last in pairwise(borders)
            for first in range(begin, last, PLANES_AT_ONCE)
        ]
        self._sums: dict[int, torch.Tensor] = {}

    @property
    def device(self) -> torch.device:
        """Where the sums lie."""
        return self.weights.device

    def add(self, logits: torch.Tensor, corner: Sequence[int]) -> None:
        """Add one window's logits (L, *roi) at its corner."""
        begin, end = corner[self.axis], corner[self.axis] + self.weights.shape[self.axis]
        for first, last in self._stretches:
            if last <= begin or first >= end:
                continue
            common = slice(max(first, begin), min(last, end))
            there = self._along(_box(corner, self.weights.shape), common, first)
            here = self._along((slice(None),) * 3, common, begin)
            weights = self.weights[here]
            for one, channel in zip(self._sums_at(first, last, like=logits), logits, strict=True):
                one[there].addcmul_(channel[here], weights)

    def finished(self, *, before: int) -> list[tuple[int, int]]:
        """The stretches in hand that no window beginning at plane ``before`` or later can reach, in order."""
        return [(first, last) for first, last in self._stretches if first in self._sums and last <= before]

    @torch.inference_mode()
    def take(self, first: int) -> torch.Tensor:
        """The blended planes of the stretch that begins at ``first``; no more can be added to them."""
        last = dict(self._stretches)[first]
        return self._sums.pop(first).div_(self._shares(first, last))

    def _sums_at(self, first: int, last: int, *, like: torch.Tensor) -> torch.Tensor:
        if first not in self._sums:
            self._sums[first] = torch.zeros((like.shape[0], *self._stretch_sizes(first, last)), device=like.device)
        return self._sums[first]

    def _shares(self, first: int, last: int) -> torch.Tensor:
        """The weights' sum at each voxel of a stretch; kept beside the sums it would be a channel more all the time."""
        shares = torch.zeros(self._stretch_sizes(first, last), device=self.device)
        for begin in self._starts[self.axis]:
            common = slice(max(first, begin), min(last, begin + self.weights.shape[self.axis]))
            if common.start < common.stop:
                weights = self.weights[self._along((slice(None),) * 3, common, begin)]
                for corner in _corners(self._starts, axis=self.axis, start=begin):
                    shares[self._along(_box(corner, self.weights.shape), common, first)] += weights
        return shares

    def _stretch_sizes(self, first: int, last: int) -> list[int]:
        return [last - first if axis == self.axis else size for axis, size in enumerate(self._sizes)]

    def _along(self, box: Sequence[slice], planes: slice, origin: int) -> tuple[slice, ...]:
        """A box with other planes along the axis, counted from ``origin``."""
        moved = slice(planes.start - origin, planes.stop - origin)
        return tuple(moved if axis == self.axis else one for axis, one in enumerate(box))
