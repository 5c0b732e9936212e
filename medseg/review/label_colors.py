"""In which colours labels, and differences between labels, are shown.

In: a label table, or two label maps. Out: a colour for each value, as napari takes them.
"""

from typing import Final

import numpy as np
from napari.utils import DirectLabelColormap
from numpy.typing import NDArray

from medseg.labels import LabelTable

__all__ = ["DIFFERENCE_COLORS", "colormap_of", "difference_of"]

CLEAR: Final = (0.0, 0.0, 0.0, 0.0)

GAINED, LOST, OTHER = 1, 2, 3
"""What a voxel of a difference says: coloured since, cleared since, given another label."""

DIFFERENCE_COLORS: Final[dict[int | None, tuple[float, ...]]] = {
    None: CLEAR,
    0: CLEAR,
    GAINED: (0.0, 0.8, 0.2, 1.0),
    LOST: (0.9, 0.1, 0.1, 1.0),
    OTHER: (1.0, 0.8, 0.0, 1.0),
}


def colormap_of(table: LabelTable, *, hidden: frozenset[int] = frozenset()) -> DirectLabelColormap:
    """The colours of a label table; labels that are hidden, or not in the table, are clear."""
    colors: dict[int | None, tuple[float, ...]] = {None: CLEAR, 0: CLEAR}
    for label in table:
        shown = tuple(part / 255 for part in label.color)
        colors[label.index] = CLEAR if label.index in hidden else (*shown, 1.0)
    return DirectLabelColormap(color_dict=colors)


def difference_of(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Where two label maps (I, J, K) differ, and how: 0 where they agree."""
    found: NDArray[np.uint8] = (before != after).view(np.uint8) * np.uint8(OTHER)
    changed = found.nonzero()
    found[changed] = np.where(before[changed] == 0, GAINED, np.where(after[changed] == 0, LOST, OTHER))
    return found
