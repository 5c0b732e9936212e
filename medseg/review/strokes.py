"""What a stroke of the brush may do: labels that are locked, intensities, nested regions.

In: the voxels of a stroke before and after it, as a brush that knows nothing of all this left them. Out: what they
become.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.review.edits import Limits, NestedRegions, allowed_by_intensity, keep_protected

__all__ = ["StrokeRules"]

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class StrokeRules:
    """What strokes and tools may do.

    Attributes:
        protected: labels whose voxels neither appear nor go.
        intensity_range: the brush colours only voxels whose intensity lies in it; erasing is not limited.
        regions: nested regions that stay nested; None where each label is painted for itself.
        overwrites: whether the brush takes voxels of other labels, or of the background alone.
    """

    protected: frozenset[int] = frozenset()
    intensity_range: tuple[float, float] | None = None
    regions: NestedRegions | None = None
    overwrites: bool = True

    @property
    def limits(self) -> Limits:
        """The same for tools."""
        return Limits(protected=self.protected)

    def kept(self, before: Labels, after: Labels) -> Labels:
        """``after`` with every voxel of a locked label put back."""
        return keep_protected(before, after, self.protected)

    def painted(
        self, before: Labels, after: Labels, *, erased: int, intensities: NDArray[np.float32] | None = None
    ) -> Labels:
        """What a stroke leaves.

        Args:
            before: any shape.
            after: of the same shape, as the brush left it.
            erased: the label that the eraser takes away, where regions are nested.
            intensities: of the same shape, where the brush is limited to a range of them.
        """
        is_painted = (after != before) & (after != 0)
        if self.intensity_range is not None and intensities is not None:
            lowest, highest = self.intensity_range
            allowed = allowed_by_intensity(intensities, lowest=lowest, highest=highest)
            after = np.where(is_painted & ~allowed, before, after)
        if not self.overwrites:
            after = np.where(is_painted & (before != 0), before, after)
        if self.regions is not None:
            after = _nested(before, after, regions=self.regions, erased=erased)
        return self.kept(before, after)


def _nested(before: Labels, after: Labels, *, regions: NestedRegions, erased: int) -> Labels:
    """The stroke as one of regions: painting a label adds its region, erasing takes that of the chosen label away."""
    result = after.copy()
    changed = after != before
    for value in np.unique(after[changed]):
        of_value = changed & (after == value)
        region = regions.painted_by(int(value) or erased)
        if region is None:
            continue
        table = regions.values_after_painting(region.name) if value else regions.values_after_erasing(region.name)
        result[of_value] = table[before[of_value]]
    return result
