"""Undo and redo over every edit of a session, without an end.

In: the deltas of the edits. Out: the same label map, moved back and forth between its states.
"""

import numpy as np
from numpy.typing import NDArray

from medseg.review.delta import Delta

__all__ = ["History"]


class History:
    """The edits of one case, in order; undone ones wait to be done again until another edit takes their place."""

    def __init__(self) -> None:
        self._done: list[Delta] = []
        self._undone: list[Delta] = []

    def add(self, delta: Delta) -> None:
        """Keep an edit that was just made; what was undone before it is forgotten."""
        self._done.append(delta)
        self._undone.clear()

    def undo(self, labels: NDArray[np.uint8]) -> Delta | None:
        """Take the last edit back from ``labels``, in place, and name it; None where there is none."""
        if not self._done:
            return None
        delta = self._done.pop()
        delta.taken_from(labels)
        self._undone.append(delta)
        return delta

    def redo(self, labels: NDArray[np.uint8]) -> Delta | None:
        """Make the last edit that was undone again, in place, and name it; None where there is none."""
        if not self._undone:
            return None
        delta = self._undone.pop()
        delta.applied_to(labels)
        self._done.append(delta)
        return delta

    @property
    def done(self) -> tuple[Delta, ...]:
        """The edits that stand, the oldest first."""
        return tuple(self._done)

    @property
    def undone(self) -> tuple[Delta, ...]:
        """The edits that can be made again, the next one last."""
        return tuple(self._undone)
