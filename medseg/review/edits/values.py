"""Two labels exchanged, or made one.

In: labels (I, J, K) uint8. Out: new labels.
"""

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ReviewError
from medseg.review.boxes import box_of, require_box
from medseg.review.edits.protect import BACKGROUND_ONLY, Limits

__all__ = ["merge", "swap"]


def swap(labels: NDArray[np.uint8], first: int, second: int, *, limits: Limits = BACKGROUND_ONLY) -> NDArray[np.uint8]:
    """Labels in which ``first`` and ``second`` have changed places; one of them may be nowhere.

    Raises:
        ReviewError: both are nowhere, one is locked, or they are the same.
    """
    limits.require_unlocked(first, second)
    _require_two(first, second)
    if box_of(labels, first) is None and box_of(labels, second) is None:
        raise ReviewError(f"labels {first} and {second} are nowhere in this case: there is nothing to swap.")
    return _renamed(labels, {first: second, second: first})


def merge(labels: NDArray[np.uint8], label: int, *, into: int, limits: Limits = BACKGROUND_ONLY) -> NDArray[np.uint8]:
    """Labels in which every voxel of ``label`` is of label ``into``.

    Raises:
        ReviewError: the label is nowhere, one is locked, or they are the same.
    """
    limits.require_unlocked(label, into)
    _require_two(label, into)
    require_box(labels, label)
    return _renamed(labels, {label: into})


def _require_two(first: int, second: int) -> None:
    if first == second:
        raise ReviewError(f"label {first} was named twice: two different labels were expected.")


def _renamed(labels: NDArray[np.uint8], names: dict[int, int]) -> NDArray[np.uint8]:
    table = np.arange(256, dtype=np.uint8)
    for old, new in names.items():
        table[old] = new
    return np.take(table, labels)
