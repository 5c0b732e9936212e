"""The separate pieces of a mask.

In: a mask (I, J, K). Out: its connected components, the largest first, each in its own box. Two voxels belong to one
piece where they share a face, an edge or a corner (26 neighbours), as in MONAI's ``KeepLargestConnectedComponent``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.review.boxes import Box

__all__ = ["Pieces", "pieces_of"]

TOUCHING = np.ones((3, 3, 3), bool)
"""Which neighbours of a voxel belong to the same piece: all 26."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of a mask.

    Attributes:
        numbers: (I, J, K), 0 outside the mask, n in the n-th piece as scipy met it.
        order: the numbers, the largest piece first; of equal ones that which comes first in C order.
        sizes: voxels of each piece, in that order.
        boxes: the box of each piece, in that order.
    """

    numbers: NDArray[np.int32]
    order: tuple[int, ...]
    sizes: tuple[int, ...]
    boxes: tuple[Box, ...]


def pieces_of(mask: NDArray[np.bool_]) -> Pieces:
    """The connected components of a mask (I, J, K)."""
    numbers = np.zeros(mask.shape, np.int32)
    count = int(ndimage.label(mask, structure=TOUCHING, output=numbers))
    sizes = np.bincount(numbers[mask], minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    boxes = ndimage.find_objects(numbers, count)
    return Pieces(
        numbers,
        order=tuple(int(one) + 1 for one in order),
        sizes=tuple(int(sizes[one]) for one in order),
        boxes=tuple(boxes[one] for one in order),
    )
