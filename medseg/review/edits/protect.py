"""What an edit may touch: the one place where locked labels are kept as they are.

In: the labels before and after an edit. Out: the labels after it, with every locked voxel put back.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ReviewError
from medseg.review.boxes import Box

__all__ = ["ANY_LABEL", "BACKGROUND_ONLY", "Limits", "keep_protected"]

ANY_LABEL: Final = frozenset(range(256))
"""As ``Limits.over``: the edit may take the place of whatever is there."""


@dataclass(frozen=True)
class Limits:
    """What an edit may touch.

    Attributes:
        protected: values that are locked: no voxel loses or gains one. 0 locks the background.
        over: values whose voxels an edit may give to the label that it makes larger; by default the background alone,
            so that a neighbouring label is never painted over unasked.
    """

    protected: frozenset[int] = frozenset()
    over: frozenset[int] = frozenset({0})

    def editable(self, values: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Where a voxel that holds one of ``values`` (any shape) may be changed at all."""
        return ~_table(self.protected)[values]

    def free_for(self, label: int, values: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Where a voxel that holds one of ``values`` (any shape) may become ``label``, or is it already."""
        return _table(self.over - self.protected | {label})[values]

    def require_unlocked(self, *labels: int) -> None:
        """Refuse an edit of a locked label.

        Raises:
            ReviewError: one of ``labels`` is protected, or is no value of a label.
        """
        for label in labels:
            if not 1 <= label <= 255:
                raise ReviewError(f"{label} is no label: a value from 1 to 255 was expected (0 is the background).")
            if label in self.protected:
                raise ReviewError(f"label {label} is locked: unlock it before you edit it.")

    def placed(self, labels: NDArray[np.uint8], box: Box, edited: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """New labels: those of ``edited`` inside the box, save for locked ones, and ``labels`` everywhere else."""
        result = labels.copy()
        result[box] = keep_protected(labels[box], edited, self.protected)
        return result


BACKGROUND_ONLY: Final = Limits()
"""No label is locked; what grows takes background only."""


def keep_protected(before: NDArray[np.uint8], after: NDArray[np.uint8], protected: frozenset[int]) -> NDArray[np.uint8]:
    """The labels after an edit, with each voxel put back that held a protected value or was given one.

    Args:
        before: any shape: a whole label map, a box of it, or the voxels of a stroke.
        after: the same voxels.
    """
    if not protected:
        return after
    locked = _table(protected)
    kept: NDArray[np.uint8] = np.where(locked[before] | locked[after], before, after)
    return kept


def _table(values: frozenset[int]) -> NDArray[np.bool_]:
    """Whether each of the 256 values is one of ``values``."""
    table = np.zeros(256, bool)
    table[[value for value in values if 0 <= value <= 255]] = True
    return table
