"""Overlap of two masks, counted in voxels.

In: two boolean masks of one shape. Out: a ``VoxelCounts``, from which Dice and IoU follow; what they are
worth where a mask is empty is the caller's policy, not arithmetic, so it is not decided here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["VoxelCounts", "count_voxels"]


@dataclass(frozen=True)
class VoxelCounts:
    """Voxels of the prediction, of the reference and of both at once."""

    prediction: int
    reference: int
    common: int

    @property
    def dice(self) -> float:
        """2 |P ∩ R| / (|P| + |R|), 0 to 1; at least one mask has to hold a voxel."""
        return 2 * self.common / (self.prediction + self.reference)

    @property
    def iou(self) -> float:
        """|P ∩ R| / |P ∪ R|, 0 to 1; at least one mask has to hold a voxel."""
        return self.common / (self.prediction + self.reference - self.common)


def count_voxels(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> VoxelCounts:
    """The three counts of two masks (I, J, K)."""
    return VoxelCounts(
        prediction=int(np.count_nonzero(prediction)),
        reference=int(np.count_nonzero(reference)),
        common=int(np.count_nonzero(prediction & reference)),
    )
