"""Logits in blocks: finished parts leave for the scan's grid while later windows are still being computed.

Windows are computed in the order of one axis of the volume. As soon as no later window can reach a plane, it is
blended, handed on and forgotten, so that memory grows with the depth of a window and not with that of the volume::

    axis      0 ─────────────────────────────▶
    windows   ■■■■■■
                 ■■■■■■                        planes 0 to 2 are finished when the second begins
                    ■■■■■■
    blocks    ■■■ ■■■ ■■■■■■

The windows that begin at one plane go along a second axis in turn, and what they finish of those planes may leave as
they go: then half a block is held at most times, where windows overlap by half, and not a whole one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise, product

import torch
import torch.nn.functional as F
from monai.data.utils import compute_importance_map
from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import ensure_tuple_rep

from medseg.inference.blend import Blend, Corner, stretches_between
from medseg.inference.mirror import MirrorInferer
from medseg.inference.slices import SliceBySliceInferer
from medseg.inference.windows import window_starts

__all__ = ["Blocks", "NotBlockwiseError", "Slab", "Slabs", "cuts_only", "logits_in_blocks", "logits_in_slabs"]

PLANES_AT_ONCE = 8
"""Planes that leave together: whoever takes them may copy them without doubling a block."""

Network = Callable[[torch.Tensor], torch.Tensor]
"""Its logits are finite numbers (``FiniteLogits``)."""


class NotBlockwiseError(Exception):
    """The network's output is not one tensor of its input's size: whoever asked must take another way."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """The logits of a volume, cut across one axis.

    ``parts`` gives tensors (L, I, J, K) float32, shortened along ``axis``, which follow one another without a gap.
    """

    axis: int
    parts: Iterator[torch.Tensor]


@dataclass(frozen=True, eq=False)
class Slab:
    """So many planes of a volume, which come in blocks across another axis."""

    n_planes: int
    blocks: Blocks


@dataclass(frozen=True, eq=False)
class Slabs:
    """The logits of a volume, cut across one axis into slabs that follow one another without a gap.

    The blocks of a slab must be used up before the next slab is asked for.
    """

    axis: int
    slabs: Iterator[Slab]


def logits_in_blocks(
    volume: torch.Tensor, network: Network, inferer: Inferer, *, axis: int | None = None
) -> Blocks | None:
    """The blended logits of a volume (C, I, J, K) in blocks; None for an inferer whose windows are not known.

    The values are those that the inferer itself would give, to rounding: the same windows, blended in float32 with
    the same weights.

    Args:
        axis: to cut across; by default the one with the smallest blocks. Slices decide for themselves.
    Raises:
        NotBlockwiseError: with the first part: the network gives no logits of its input's size.
    """
    network, inferer = _in_windows(network, inferer)
    if isinstance(inferer, SliceBySliceInferer):
        return Blocks(inferer.axis, inferer.blocks(volume, network))
    rois = _rois_of(inferer)
    if rois is None:
        return None
    if axis is None:
        axis = _longest(range(3), volume, rois)
    return Blocks(axis, _Windows(volume, network, inferer, rois).planes(axis))


def logits_in_slabs(volume: torch.Tensor, network: Network, inferer: Inferer) -> Slabs | None:
    """The same logits in slabs, for whoever can take a part of a plane; None for an inferer without 3D windows.

    Raises:
        NotBlockwiseError: with the first part: the network gives no logits of its input's size.
    """
    network, inferer = _in_windows(network, inferer)
    rois = _rois_of(inferer)
    if rois is None:
        return None
    axis = _longest(range(3), volume, rois)
    across = _longest([one for one in range(3) if one != axis], volume, rois)
    return Slabs(axis, _Windows(volume, network, inferer, rois).slabs(axis, across))


def cuts_only(inferer: Inferer, sizes: Sequence[int]) -> bool:
    """Whether a volume of these sizes has only windows cut from it here: nothing is put around it."""
    inner = inferer.inferer if isinstance(inferer, MirrorInferer) else inferer
    if isinstance(inner, SliceBySliceInferer):
        in_plane = [size for axis, size in enumerate(sizes) if axis != inner.axis]
        return all(size >= roi for size, roi in zip(in_plane, inner.roi_size, strict=True))
    rois = _rois_of(inner)
    return rois is not None and all(size >= roi for size, roi in zip(sizes, rois, strict=True))


def _in_windows(network: Network, inferer: Inferer) -> tuple[Network, Inferer]:
    """What computes in the place of both: mirror images are averaged window by window where windows are known."""
    inside = inferer.in_windows(network) if isinstance(inferer, MirrorInferer) else None
    return inside or (network, inferer)


def _rois_of(inferer: Inferer) -> tuple[int, ...] | None:
    """The size of the 3D windows whose blending is known here."""
    if type(inferer) is not SlidingWindowInferer or inferer.buffer_steps is not None or inferer.with_coord:
        return None
    rois = ensure_tuple_rep(inferer.roi_size, 3)
    return None if any(roi is None or roi <= 0 for roi in rois) else tuple(int(roi) for roi in rois)


def _longest(axes: Iterable[int], volume: torch.Tensor, rois: Sequence[int]) -> int:
    """The axis with the most windows."""
    return max(axes, key=lambda axis: volume.shape[axis + 1] / rois[axis])


class _Windows:
    """The windows of a volume (C, I, J, K) on their way through a network, and into a blend."""

    def __init__(
        self, volume: torch.Tensor, network: Network, inferer: SlidingWindowInferer, rois: Sequence[int]
    ) -> None:
        padding = [max(roi - size, 0) for roi, size in zip(rois, volume.shape[1:], strict=True)]
        before = [missing // 2 for missing in padding]
        self._volume = _padded(volume, before, padding, mode=str(inferer.padding_mode), value=float(inferer.cval))
        self._inner = [slice(left, left + size) for left, size in zip(before, volume.shape[1:], strict=True)]
        self._sizes = tuple(self._volume.shape[1:])
        self._network = network
        self._rois = tuple(rois)
        self._starts = [
            window_starts(size=size, roi=roi, overlap=overlap)
            for size, roi, overlap in zip(self._sizes, rois, ensure_tuple_rep(inferer.overlap, 3), strict=True)
        ]
        self._computed_on = inferer.sw_device or volume.device
        self._batch_size = inferer.sw_batch_size
        self._weights = compute_importance_map(
            self._rois,
            mode=inferer.mode,
            sigma_scale=inferer.sigma_scale,
            device=inferer.device or volume.device,
            dtype=torch.float32,
        )

    def planes(self, axis: int) -> Iterator[torch.Tensor]:
        """Whole planes across an axis, a few at a time."""
        blend = self._blend({axis: PLANES_AT_ONCE})
        for start, following in self._steps(axis):
            reach = [following if one == axis else size for one, size in enumerate(self._sizes)]
            for corners in self._batches(axis, [start]):
                self._add(blend, corners)
            for tile in blend.finished(before=reach):
                yield self._inside(blend, tile)  # no name holds the planes while the next ones are computed

    def slabs(self, axis: int, across: int) -> Iterator[Slab]:
        """Whole slabs across an axis, each in blocks across another."""
        steps = self._joined_steps(axis)
        deepest = max(following - starts[0] for starts, following in steps)
        width = max(PLANES_AT_ONCE * self._sizes[across] // deepest, 1)  # as many voxels as whole planes would have
        blend = self._blend({axis: deepest, across: width})
        inner = self._inner[axis]
        for starts, following in steps:
            n_planes = min(following, inner.stop) - max(starts[0], inner.start)
            parts = self._strips(blend, self._batches(axis, starts, across=across), (axis, following), across)
            yield Slab(n_planes, Blocks(across, parts))

    def _strips(
        self, blend: Blend, batches: Sequence[Sequence[Corner]], finished_to: tuple[int, int], across: int
    ) -> Iterator[torch.Tensor]:
        """What these windows finish, up to a plane of one axis, in blocks across another."""
        axis, following = finished_to
        ends = [*(corners[0][across] for corners in batches[1:]), self._sizes[across]]
        for corners, end in zip(batches, ends, strict=True):
            self._add(blend, corners)
            reach = [{axis: following, across: end}.get(one, size) for one, size in enumerate(self._sizes)]
            finished = sorted(blend.finished(before=reach), key=lambda tile: (tile[across], tile[axis]))
            for _, tiles in groupby(finished, key=lambda tile: tile[across]):
                yield self._together(blend, [*tiles], axis)

    def _blend(self, longest: Mapping[int, int]) -> Blend:
        """Sums in tiles that are cut across the axes named, and so long there."""
        stretches = [
            self._stretches(axis, longest[axis]) if axis in longest else [(0, size)]
            for axis, size in enumerate(self._sizes)
        ]
        return Blend(self._weights, starts=self._starts, stretches=stretches)

    def _stretches(self, axis: int, longest: int | None = None) -> list[tuple[int, int]]:
        return stretches_between(self._starts[axis], roi=self._rois[axis], longest=longest or self._rois[axis])

    def _steps(self, axis: int) -> Iterator[tuple[int, int]]:
        """Where windows begin along an axis, each with where the next ones do."""
        return pairwise([*self._starts[axis], self._sizes[axis]])

    def _joined_steps(self, axis: int) -> list[tuple[list[int], int]]:
        """The same, but the last windows together with those before where they were moved back onto most of them.

        One after the other, nearly all that both cover would wait across the whole of the volume.
        """
        steps = [([start], following) for start, following in self._steps(axis)]
        starts = self._starts[axis]
        if len(starts) > 2 and 2 * (starts[-1] - starts[-2]) < starts[1] - starts[0]:
            steps[-2:] = [(starts[-2:], self._sizes[axis])]
        return steps

    def _batches(self, axis: int, starts: Sequence[int], *, across: int | None = None) -> list[list[Corner]]:
        """Where the windows lie that begin at ``starts`` along an axis, in the order of another."""
        corners = list(product(*(starts if one == axis else places for one, places in enumerate(self._starts))))
        if across is not None:
            corners.sort(key=lambda corner: corner[across])
        size = self._batch_size
        return [corners[first : first + size] for first in range(0, len(corners), size)]

    @torch.inference_mode()
    def _add(self, blend: Blend, corners: Sequence[Corner]) -> None:
        """Compute the windows at these corners, and blend them."""
        windows = torch.stack([self._volume[(slice(None), *self._window(corner))] for corner in corners])
        for corner, logits in zip(corners, _logits_of(self._network, windows.to(self._computed_on)), strict=True):
            blend.add(logits.to(blend.device).float(), corner)

    def _together(self, blend: Blend, tiles: Sequence[Corner], axis: int) -> torch.Tensor:
        """Finished tiles that follow one another along an axis."""
        pieces = [self._inside(blend, tile) for tile in tiles]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, axis + 1)

    def _window(self, corner: Corner) -> tuple[slice, ...]:
        return tuple(slice(start, start + roi) for start, roi in zip(corner, self._rois, strict=True))

    def _inside(self, blend: Blend, tile: Corner) -> torch.Tensor:
        """A finished tile, without what the volume was filled up with."""
        values = blend.take(tile)
        box = (
            slice(max(inner.start - first, 0), max(inner.stop - first, 0))
            for first, inner in zip(tile, self._inner, strict=True)
        )
        return values[(slice(None), *box)]


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


def _logits_of(network: Network, windows: torch.Tensor) -> torch.Tensor:
    logits = network(windows)
    if not isinstance(logits, torch.Tensor) or logits.shape[2:] != windows.shape[2:]:
        raise NotBlockwiseError
    return logits
