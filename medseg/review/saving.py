"""Every change of an editor on its way to the autosave, in a form from which the labels come back exactly.

In: what a ``LabelEditor`` tells of its changes. Out: records of an ``Autosave``, which begins with the first change.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.review.autosave import Autosave, Recovered
from medseg.review.delta import Delta
from medseg.review.editor import Change, LabelEditor
from medseg.review.meaning import LabelMeaning

__all__ = ["EditSaver"]


class EditSaver:
    """Saves what is edited from a base that is safe on the disk: the labels as opened, or as last accepted.

    Undo and redo reach back before that base too. An autosave cannot tell of an edit that it never saw, nor of one
    that was undone before it began, so from there on every change is told as an edit of its own: voxels come back
    exactly, the history as one more step.
    """

    def __init__(self, editor: LabelEditor, path: Path, *, case_id: str, reviewer: str) -> None:
        self.path = path
        self._editor, self._case_id, self._reviewer = editor, case_id, reviewer
        self._base: NDArray[np.uint8] = editor.opened
        self._autosave: Autosave | None = None
        self._undoable = self._redoable = 0  # edits that the autosave could take back, or make again
        self._is_flat = False
        self._waiting: list[Change | LabelMeaning] = []
        editor.listen(self._waiting.append)

    @property
    def is_saved(self) -> bool:
        """Whether everything that was edited since the base is on the disk."""
        return not self._waiting and (self._autosave is None or not self._autosave.pending)

    @property
    def has_edits(self) -> bool:
        """Whether anything was edited since the base."""
        return bool(self._waiting) or self._autosave is not None

    def resume(self, recovered: Recovered) -> None:
        """Go on with the file that ``recovered`` came from."""
        self._editor.resume(recovered.labels, recovered.history)
        self._autosave = Autosave.resume(self.path, recovered)
        self._undoable, self._redoable = len(recovered.history.done), len(recovered.history.undone)

    def mean(self, meaning: LabelMeaning) -> None:
        """What the labels mean from here on is saved with the edits."""
        self._waiting.append(meaning)

    def save(self) -> int:
        """Put every change on the disk; returns how many there were.

        Raises:
            OutputError: they cannot be written; they wait for the next time.
        """
        if self._waiting and self._autosave is None:
            self._autosave = Autosave.start(self.path, self._base, case_id=self._case_id, reviewer=self._reviewer)
        if self._autosave is None:
            return 0
        while self._waiting:
            self._note(self._autosave, self._waiting.pop(0))
        return self._autosave.flush()

    def rebase(self) -> None:
        """The labels as they are now are safe elsewhere: what was saved is no longer needed.

        Raises:
            OutputError: the file cannot be removed.
        """
        self.discard()
        self._base = self._editor.labels.copy()

    def discard(self) -> None:
        """Give up what was saved: the edits are accepted, or the person does not want them.

        Raises:
            OutputError: the file cannot be removed.
        """
        self._waiting.clear()
        if self._autosave is not None:
            self._autosave.discard()
        self._autosave, self._undoable, self._redoable, self._is_flat = None, 0, 0, False

    def _note(self, autosave: Autosave, change: Change | LabelMeaning) -> None:
        if isinstance(change, LabelMeaning):
            autosave.mean(change)
            return
        known = {"edit": 1, "undo": self._undoable, "redo": self._redoable}[change.kind]
        self._is_flat = self._is_flat or not known
        if change.kind == "edit" or self._is_flat:
            autosave.edit(_inverse(change.delta) if change.kind == "undo" else change.delta)
            self._undoable, self._redoable = self._undoable + 1, 0
        elif change.kind == "undo":
            autosave.undo()
            self._undoable, self._redoable = self._undoable - 1, self._redoable + 1
        else:
            autosave.redo()
            self._undoable, self._redoable = self._undoable + 1, self._redoable - 1


def _inverse(delta: Delta) -> Delta:
    return replace(delta, before=delta.after, after=delta.before, name=f"undo {delta.name}")
