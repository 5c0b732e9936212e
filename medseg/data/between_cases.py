"""What only shows when cases are laid side by side: one scan under two names, voxels of another unit.

In: the first channel, labels and grid of each case. Out: doubts, each with its case and its fix.
"""

import hashlib
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry

__all__ = ["BetweenCases"]

SMALLEST_SCAN_MM = 25.0
FINEST_VOXEL_MM = 0.2
LARGEST_SCAN_MM = 3000.0
"""What is scanned of a person: an organ at least, or coarsely a part of one; the whole body at most."""

OTHER_UNIT = 5.0
"""Voxels of one data set differ less than this in their mean side; units differ by ten or a thousand."""

FEW_CASES = 3


class BetweenCases:
    """Collects what is needed of each case, and forgets the voxels; mutable while a data set is read."""

    def __init__(self) -> None:
        self._first: dict[str, dict[str, str]] = {"image": {}, "labels": {}}
        self._doubts: list[tuple[str, str, str]] = []
        self._side_mm: dict[str, float] = {}

    def add(self, case_id: str, image: NDArray[Any] | None, labels: NDArray[Any], geometry: Geometry) -> None:
        """Take in one case: its first channel (I, J, K), where it could be read, and its labels."""
        for kind, voxels in (("image", image), ("labels", labels if labels.any() else None)):
            if voxels is None:
                continue
            first = self._first[kind].setdefault(_digest(voxels, geometry), case_id)
            if first != case_id:
                fix = "leave one of the two out: in two splits they would make scores too good"
                self._doubts.append((case_id, f"its {kind} are those of {first}, voxel for voxel", fix))
                break
        self._side_mm[case_id] = float(geometry.voxel_volume_mm3 ** (1 / 3))
        longest = max(size * step for size, step in zip(geometry.shape, geometry.spacing_mm, strict=True))
        is_tiny = longest < SMALLEST_SCAN_MM and self._side_mm[case_id] < FINEST_VOXEL_MM
        if is_tiny or longest > LARGEST_SCAN_MM:
            self._doubts.append((case_id, f"the scan is {longest:.3g} mm long in all", UNIT_FIX))

    def doubts(self) -> list[tuple[str, str, str]]:
        """Case, doubt and fix, in the order of the cases."""
        told = {case_id for case_id, _, fix in self._doubts if fix == UNIT_FIX}
        median = float(np.median(list(self._side_mm.values()))) if len(self._side_mm) >= FEW_CASES else 0.0
        others = [
            (case_id, f"its voxels are {side:.3g} mm wide, where {median:.3g} mm are usual in these data", UNIT_FIX)
            for case_id, side in self._side_mm.items()
            if median and case_id not in told and not 1 / OTHER_UNIT < side / median < OTHER_UNIT
        ]
        return sorted(self._doubts + others)


UNIT_FIX = "write the header's sizes and affine in millimetres"


def _digest(voxels: NDArray[Any], geometry: Geometry) -> str:
    """The same for a scan whose axes are stored in another order or direction."""
    turned = nib.orientations.apply_orientation(voxels, nib.orientations.io_orientation(geometry.affine))
    whole = np.ascontiguousarray(turned, dtype=np.float32)
    return hashlib.sha256(repr(whole.shape).encode() + whole.tobytes()).hexdigest()
