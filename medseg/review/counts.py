"""How many voxels each label has, kept up to date while labels are edited: a large CT is not counted at every stroke.

In: an editor. Out: voxels and millilitres of every label, at any moment.
"""

import numpy as np

from medseg.label_map import count_values
from medseg.review.editor import Change, LabelEditor

__all__ = ["VoxelCounts"]

VALUES = 256


class VoxelCounts:
    """Voxels of each label of an editor. Mutable: it listens to the editor."""

    def __init__(self, editor: LabelEditor) -> None:
        self._counts = count_values(editor.labels)
        self._voxel_ml = editor.geometry.voxel_volume_mm3 / 1000
        editor.listen(self._follow)

    def voxels(self, label: int) -> int:
        """Voxels of one label."""
        return int(self._counts[label])

    def volume_ml(self, label: int) -> float:
        """Volume of one label."""
        return self.voxels(label) * self._voxel_ml

    def _follow(self, change: Change) -> None:
        gained = np.bincount(change.delta.after, minlength=VALUES)
        lost = np.bincount(change.delta.before, minlength=VALUES)
        self._counts = self._counts + (lost - gained if change.kind == "undo" else gained - lost)
