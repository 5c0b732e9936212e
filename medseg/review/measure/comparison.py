"""What differs between two label maps of one scan, such as the model's and the reviewer's.

In: two label maps (I, J, K) uint8. Out: counts, volumes and Dice for each label. Dice is that of
``medseg.evaluation``, counted in voxels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError
from medseg.evaluation.overlap import VoxelCounts
from medseg.geometry import Geometry
from medseg.label_map import count_values

__all__ = ["LabelChange", "compare_labels", "require_same_shape"]


@dataclass(frozen=True)
class LabelChange:
    """How one label differs.

    Attributes:
        label: its value.
        gained: voxels that have it in the second map only.
        lost: voxels that have it in the first map only.
        before_ml: its volume in the first map.
        after_ml: its volume in the second map.
        dice: 2 |A ∩ B| / (|A| + |B|), from 0 to 1.
    """

    label: int
    gained: int
    lost: int
    before_ml: float
    after_ml: float
    dice: float


def compare_labels(
    before: NDArray[np.uint8], after: NDArray[np.uint8], *, geometry: Geometry
) -> tuple[LabelChange, ...]:
    """Each label that occurs in either map, in the order of their values; background is left out.

    Raises:
        GeometryError: the two have different shapes.
    """
    require_same_shape(before, after)
    first = count_values(before)
    gained, lost = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for old, new in zip(before, after, strict=True):
        differs = old != new
        gained += np.bincount(new[differs], minlength=256)
        lost += np.bincount(old[differs], minlength=256)
    second = first + gained - lost
    voxel_ml = geometry.voxel_volume_mm3 / 1000
    changes = []
    for label in range(1, 256):
        if first[label] or second[label]:
            counts = VoxelCounts(int(second[label]), int(first[label]), int(first[label] - lost[label]))
            changes.append(
                LabelChange(
                    label,
                    gained=int(gained[label]),
                    lost=int(lost[label]),
                    before_ml=float(first[label] * voxel_ml),
                    after_ml=float(second[label] * voxel_ml),
                    dice=counts.dice,
                )
            )
    return tuple(changes)


def require_same_shape(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> None:
    """Refuse two label maps of different shapes.

    Raises:
        GeometryError: they have.
    """
    if first.shape != second.shape:
        raise GeometryError(
            f"label maps of shapes {first.shape} and {second.shape} found: two of one scan were expected. "
            "Resample one onto the other's grid first."
        )
