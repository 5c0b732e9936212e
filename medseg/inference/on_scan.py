"""Back to the scan part by part: logits in blocks or slabs → labels on the scan, while windows are still to come.

A voxel of the scan is restored as soon as the logits around it are there. Where parts are cut, the last planes wait
for those that follow, so that nothing changes at a cut.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.geometry import Geometry, Interpolation, plane_positions, resample_volume
from medseg.inference.arrivals import Arrivals
from medseg.inference.blocks import Blocks, Slab, Slabs
from medseg.inference.restore import OUTSIDE_LOGIT, labels_on, regions_on

__all__ = ["logits_on_scan", "restore_blocks"]

PLANES_AT_ONCE = 32
"""Planes of the scan that are restored together: enough to keep a processor busy, little beside the scan."""

Timed = Callable[[], AbstractContextManager[object]]

_Group = tuple[int, int, torch.Tensor]
"""Planes of the scan: their axis, the first of them, and their values."""


def restore_blocks(
    logits: Blocks | Slabs,
    source: Geometry,
    target: Geometry,
    *,
    threshold: float | None = None,
    timed: Timed = nullcontext,
    restored: Callable[[int, int, torch.Tensor], None] = lambda axis, first, planes: None,
) -> torch.Tensor:
    """Labels (1, I, J, K), or regions (L, I, J, K), as uint8, of logits that are restored as their parts come.

    The result is that of ``restore_labels`` or ``restore_regions`` on all of them at once.

    Args:
        source: the network's grid, which all parts together cover.
        target: the scan's own grid. Voxels that the network did not see become background, or lie in no region.
        threshold: probability from which a voxel lies in a region; absent, channels are labels.
        timed: entered around the restoring, not around the computation of the parts.
        restored: hears of planes as they are finished: their axis on the scan, the first of them, and the planes as
            they stand in the result.
    """
    if isinstance(logits, Slabs):
        finished = _of_slabs(logits, source, target, threshold=threshold, timed=timed)
    else:
        finished = _of_blocks(logits, source, target, threshold=threshold, timed=timed)
    result: torch.Tensor | None = None
    for axis, first, found in finished:
        with timed():
            if result is None:
                result = found.new_zeros((found.shape[0], *target.shape))
            result.narrow(axis + 1, first, found.shape[axis + 1]).copy_(found)
        restored(axis, first, found)
    assert result is not None, "a volume has planes"
    return result


def _of_blocks(
    blocks: Blocks, source: Geometry, target: Geometry, *, threshold: float | None, timed: Timed
) -> Iterator[_Group]:
    """Planes of the scan as the blocks that they lie among are there."""
    for group in _planes_on_scan(blocks, source, target, timed=timed):
        with timed():
            place = group.axis, group.first
            found = _restored(group.values, group.source, group.target, threshold=threshold).to(torch.uint8)
            del group  # a view of a whole block: not to be held while the next one is computed
        yield *place, found


def _of_slabs(
    slabs: Slabs, source: Geometry, target: Geometry, *, threshold: float | None, timed: Timed
) -> Iterator[_Group]:
    """Planes of the scan as the slabs that they lie among are there, restored within a slab as its blocks come."""
    places = plane_positions(source, target, axis=slabs.axis)
    if places is None:
        blocks = Blocks(slabs.axis, map(_whole, slabs.slabs))
        yield from _of_blocks(blocks, source, target, threshold=threshold, timed=timed)
        return
    along, positions = places
    arrivals = Arrivals(positions, n_planes=source.shape[slabs.axis])
    held: torch.Tensor | None = None
    for slab in slabs.slabs:
        join = _Join(slabs.axis, slab.blocks.axis, held)
        first = arrivals.first
        ready = arrivals.seen(arrivals.ready(slab.n_planes + join.n_held))
        begin, count = arrivals.span(ready) if len(ready) else (first, 0)
        parts = join.parts(slab.blocks.parts, (begin - first, count), keep=arrivals.advance(), timed=timed)
        if count:
            there = target.planes(along, int(ready.min()), len(ready))
            among = Blocks(slab.blocks.axis, parts), source.planes(slabs.axis, begin, count)
            yield along, int(ready.min()), restore_blocks(*among, there, threshold=threshold, timed=timed)
        else:
            deque(parts, maxlen=0)  # no plane of the scan lies here: the windows go on all the same
        held = join.kept()


def logits_on_scan(
    blocks: Blocks,
    source: Geometry,
    target: Geometry,
    *,
    n_planes: int,
    is_regions: bool = False,
    timed: Timed = nullcontext,
) -> Iterator[_Group]:
    """The logits of the scan's own planes: their axis, the first of them, and (L, I, J, K) shortened along that axis.

    Groups of ``n_planes`` planes, counted from the scan's first, in the order in which the blocks allow; where the
    grids are turned against each other, all planes in one. What the network did not see is background for certain,
    or in no region where channels are regions.
    """
    for group in _planes_on_scan(blocks, source, target, n_planes=n_planes, timed=timed):
        with timed():
            place, found = (group.axis, group.first), _logits_of(group, is_regions=is_regions)
            del group
        yield *place, found


def _logits_of(group: "_Planes", *, is_regions: bool) -> torch.Tensor:
    values = group.values.float()
    outside = [OUTSIDE_LOGIT if index or is_regions else 0.0 for index in range(len(values))]
    if not group.is_seen:  # a crop may be smaller than the scan by many planes
        return values.new_tensor(outside)[:, None, None, None].repeat(1, *group.target.shape)
    return torch.stack(
        [
            resample_volume(channel, group.source, group.target, interpolation=Interpolation.LINEAR, outside=value)
            for channel, value in zip(values, outside, strict=True)
        ]
    )


@dataclass(frozen=True, eq=False)
class _Planes:
    """Planes of the scan, from ``first`` on along ``axis``, and the logits that they lie among, if any do."""

    axis: int
    first: int
    values: torch.Tensor
    source: Geometry
    target: Geometry
    is_seen: bool = True


def _planes_on_scan(
    blocks: Blocks,
    source: Geometry,
    target: Geometry,
    *,
    n_planes: int | None = None,
    timed: Timed = nullcontext,
) -> Iterator[_Planes]:
    """The scan's planes as soon as the blocks that they lie among are there.

    With ``n_planes`` in whole groups, all of them; without, as many together as are ready, and none that the network
    did not see.
    """
    places = plane_positions(source, target, axis=blocks.axis)
    if places is None:  # grids that are turned against each other meet in every block
        yield _Planes(0, 0, torch.cat(list(blocks.parts), blocks.axis + 1), source, target)
        return
    along, positions = places
    arrivals = Arrivals(positions, n_planes=source.shape[blocks.axis], together=n_planes)
    held: torch.Tensor | None = None
    for part in blocks.parts:
        with timed():
            held = part if held is None else torch.cat([held, part], blocks.axis + 1)
        first = arrivals.first
        for planes in _grouped(arrivals.ready(held.shape[blocks.axis + 1]), n_planes):
            inside = arrivals.seen(planes)
            wanted = inside if n_planes is None else planes
            if len(wanted):
                begin, count = arrivals.span(wanted)
                yield _Planes(
                    along,
                    int(wanted.min()),
                    held.narrow(blocks.axis + 1, begin - first, count),  # no name: it would keep the block alive
                    source.planes(blocks.axis, begin, count),
                    target.planes(along, int(wanted.min()), len(wanted)),
                    is_seen=len(inside) > 0,
                )
        drop = arrivals.advance()
        with timed():
            held = held.narrow(blocks.axis + 1, drop, held.shape[blocks.axis + 1] - drop).clone()
        del part  # a view of a whole block: not to be held while the next one is computed


class _Join:
    """A slab behind the planes that are still held before it; mutable: it collects what is to be held after it."""

    def __init__(self, axis: int, across: int, held: torch.Tensor | None) -> None:
        self._axis = axis
        self._across = across
        self._held = held
        self._kept: list[torch.Tensor] = []
        self._n_done = 0

    @property
    def n_held(self) -> int:
        """Planes held before the slab."""
        return 0 if self._held is None else int(self._held.shape[self._axis + 1])

    def parts(
        self, parts: Iterator[torch.Tensor], wanted: tuple[int, int], *, keep: int, timed: Timed
    ) -> Iterator[torch.Tensor]:
        """The parts, each behind what is held there: of them the planes ``wanted``, first and number.

        From the plane ``keep`` on they are kept.
        """
        for part in parts:
            with timed():
                whole = self._behind(part)
                self._kept.append(whole.narrow(self._axis + 1, keep, whole.shape[self._axis + 1] - keep).clone())
            yield whole.narrow(self._axis + 1, *wanted)
            del part, whole  # not to be held while the next one is computed

    def kept(self) -> torch.Tensor:
        """What is to be held before the next slab."""
        return torch.cat(self._kept, self._across + 1)

    def _behind(self, part: torch.Tensor) -> torch.Tensor:
        if self._held is None or not self.n_held:
            return part
        begin, width = self._n_done, part.shape[self._across + 1]
        self._n_done += width
        return torch.cat([self._held.narrow(self._across + 1, begin, width), part], self._axis + 1)


def _whole(slab: Slab) -> torch.Tensor:
    return torch.cat(list(slab.blocks.parts), slab.blocks.axis + 1)


def _grouped(ready: NDArray[np.intp], n_planes: int | None) -> Iterable[NDArray[np.intp]]:
    if n_planes is None:
        return np.array_split(ready, max(1, math.ceil(len(ready) / PLANES_AT_ONCE)))
    return (ready[ready // n_planes == group] for group in np.unique(ready // n_planes))


def _restored(values: torch.Tensor, source: Geometry, target: Geometry, *, threshold: float | None) -> torch.Tensor:
    if threshold is None:
        return labels_on(values, source, target)[None]
    return regions_on(values, source, target, threshold=threshold)
