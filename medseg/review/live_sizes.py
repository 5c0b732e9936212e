"""The diameters of labels, kept up to date while they are edited, without the edits waiting for them. No Qt.

In: an editor. Out: the size of every label; those that edits have outdated are measured one by one, beside, when the
caller finds that there is time::

    edit ─→ its labels are out of date ─→ (a pause) ─→ advance ─→ measured in a thread ─→ advance ─→ the size is new
                     ↑                                                    │
                     └───────── another edit of that label: let go ───────┘
"""

import numpy as np

from medseg.review.background import Background, Report
from medseg.review.editor import Change, LabelEditor
from medseg.review.measure import LabelSize, measure_label

__all__ = ["LiveSizes"]


class LiveSizes:
    """Sizes of the labels of an editor. Mutable: it listens to the editor.

    Attributes:
        sizes: by value, as they were measured last; None for a label that is nowhere.
    """

    def __init__(self, editor: LabelEditor) -> None:
        self.sizes: dict[int, LabelSize | None] = {}
        self._editor = editor
        self._outdated = [label.index for label in editor.label_table]
        self._task: Background[LabelSize | None] | None = None
        self._measured = 0
        editor.listen(self._follow)

    @property
    def is_busy(self) -> bool:
        """Whether a label is being measured."""
        return self._task is not None

    @property
    def outdated(self) -> tuple[int, ...]:
        """The labels whose size is not known, or not any more; the one that was edited last comes first."""
        return (*((self._measured,) if self.is_busy else ()), *self._outdated)

    def advance(self) -> int | None:
        """Take over what has been measured, and measure the next; the label whose size is new, or None.

        Never waits: it is called again and again while something is out of date.
        """
        finished = None
        if self._task is not None and self._task.is_over:
            self.sizes[self._measured] = self._task.result()
            self._task, finished = None, self._measured
        if self._task is None and self._outdated:
            self._begin(self._outdated.pop(0))
        return finished

    def stop(self) -> None:
        """Let go of what is being measured: the case is left."""
        if self._task is not None:
            self._task.stop()
            self._task = None
            self._outdated.insert(0, self._measured)

    def _begin(self, label: int) -> None:
        labels, geometry = self._editor.labels, self._editor.geometry

        def measure(report: Report) -> LabelSize | None:
            return measure_label(labels, label, geometry=geometry, on_step=lambda: report(0, None))

        self._measured, self._task = label, Background(measure)

    def _follow(self, change: Change) -> None:
        touched = np.bincount(change.delta.before, minlength=256) + np.bincount(change.delta.after, minlength=256)
        for label in np.flatnonzero(touched).tolist():
            if label == 0:
                continue
            if self.is_busy and label == self._measured:
                self.stop()
            if label in self._outdated:
                self._outdated.remove(label)
            self._outdated.insert(0, label)
