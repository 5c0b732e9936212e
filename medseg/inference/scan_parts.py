"""Parts of a scan, each with what the network saw around it: small enough for a processor's cache.

Linear interpolation stays between the values around a voxel. Where none of them can decide anything, nothing needs to
be interpolated: most labels touch a small box of a few parts only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.geometry import EDGE_VOXELS, Geometry, Interpolation, no_overlap, plane_positions, resample_volume

__all__ = ["Box", "ScanPart", "parts_of"]

PART_VOXELS = 500_000
"""Voxels of a part: a channel of it is 2 MB."""

Box = tuple[slice, slice, slice]

ALL: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class ScanPart:
    """Some planes of the scan, and the box of the network's grid that they lie in.

    Attributes:
        place: of the part on the scan.
        grid: of the part.
        around: the box of the network's grid.
        source: the grid of that box.
        reached: which planes of the part lie among which of the box, along each of its axes; empty where the grids
            are turned to each other.
    """

    place: Box
    grid: Geometry
    around: Box
    source: Geometry
    reached: tuple["_Reached", ...] = ()

    def seen(self, values: torch.Tensor) -> torch.Tensor:
        """Of values (…, I, J, K) on the network's grid those around the part."""
        return values[(..., *self.around)]

    def box_around(self, mask: torch.Tensor) -> Box | None:
        """The voxels of the part that lie beside one of those marked in (I, J, K) around it; None if there are none."""
        marked = mask.cpu().numpy()  # many times as fast at this as torch
        if not marked.any():
            return None
        box = [*ALL]
        rows = np.any(marked, axis=0)
        sides = (np.any(marked, axis=(1, 2)), np.any(rows, axis=1), np.any(rows, axis=0))
        for reached, side in zip(self.reached, sides, strict=False):  # none where the grids are turned to each other
            first, last = np.flatnonzero(side)[[0, -1]]
            planes = np.flatnonzero((reached.lower <= last) & (reached.upper >= first))
            if not len(planes):
                return None
            box[reached.along] = slice(int(planes[0]), int(planes[-1]) + 1)
        return box[0], box[1], box[2]

    def sampled(self, volume: torch.Tensor, *, box: Box = ALL, outside: float) -> torch.Tensor:
        """One volume (I, J, K) around the part, on the voxels of the part that lie in a box of it."""
        target = self.grid
        for axis, side in enumerate(box):
            first, stop, _ = side.indices(target.shape[axis])
            target = target.planes(axis, first, stop - first)
        return resample_volume(volume, self.source, target, interpolation=Interpolation.LINEAR, outside=outside)


@dataclass(frozen=True, eq=False)
class _Reached:
    """Planes of the scan along one axis, and between which of the network's planes each lies; none where unseen."""

    along: int
    lower: NDArray[np.intp]
    upper: NDArray[np.intp]

    @classmethod
    def of(cls, along: int, positions: NDArray[np.float64], *, size: int) -> "_Reached":
        """Of the planes at these positions among ``size`` planes of the network's."""
        inside = (positions >= -EDGE_VOXELS) & (positions <= size - 1 + EDGE_VOXELS)
        positions = np.clip(positions, 0, size - 1)
        lower, upper = np.floor(positions).astype(int), np.ceil(positions).astype(int)
        return cls(along, np.where(inside, lower, size), np.where(inside, upper, -1))

    def among(self, first: int, count: int) -> "_Reached":
        """So many of these planes."""
        return _Reached(self.along, self.lower[first : first + count], self.upper[first : first + count])

    def from_plane(self, first: int) -> "_Reached":
        """The same, the network's planes counted from this one."""
        return _Reached(self.along, self.lower - first, self.upper - first)

    @property
    def span(self) -> slice:
        """The network's planes that any of these lies among; empty where none was seen."""
        return slice(int(self.lower.min()), int(self.upper.max()) + 1)


def parts_of(scan: Geometry, *, seen_on: Geometry, n_voxels: int = PART_VOXELS) -> Iterator[ScanPart]:
    """The parts of a scan that the network saw on its own grid; all of it where the grids are turned to each other.

    Raises:
        GeometryError: it saw nothing of the scan.
    """
    places = [plane_positions(seen_on, scan, axis=axis) for axis in range(3)]
    along = [_Reached.of(*place, size=size) for place, size in zip(places, seen_on.shape, strict=True) if place]
    if len(along) < 3:
        yield ScanPart(ALL, scan, ALL, seen_on)
        return
    n_planes = max(n_voxels // (scan.shape[1] * scan.shape[2]), 1)
    saw_any = False
    for first in range(0, scan.shape[0], n_planes):
        count = min(n_planes, scan.shape[0] - first)
        reached = [one.among(first, count) if one.along == 0 else one for one in along]
        spans = [one.span for one in reached]
        if any(span.start >= span.stop for span in spans):
            continue
        saw_any = True
        source = seen_on
        for axis, span in enumerate(spans):
            source = source.planes(axis, span.start, span.stop - span.start)
        yield ScanPart(
            place=(slice(first, first + count), slice(None), slice(None)),
            grid=scan.planes(0, first, count),
            around=(spans[0], spans[1], spans[2]),
            source=source,
            reached=tuple(one.from_plane(span.start) for one, span in zip(reached, spans, strict=True)),
        )
    if not saw_any:
        raise no_overlap()
