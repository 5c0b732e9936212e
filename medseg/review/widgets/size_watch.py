"""When the diameters of labels are measured: after a pause in the edits, while somebody can see them.

In: the desk. Out: ``changed``, whenever sizes are new or out of date; no stroke waits for a measurement.
"""

from typing import Final

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from medseg.review.desk import ReviewDesk
from medseg.review.editor import Change, LabelEditor
from medseg.review.live_sizes import LiveSizes
from medseg.review.measure import LabelSize

__all__ = ["SizeWatch"]

QUIET_MS: Final = 500
"""Nothing is measured until no edit has come for as long."""

LOOKED_AT_EVERY_MS: Final = 50


class SizeWatch(QObject):
    """The sizes of the labels of the open case."""

    changed = Signal()

    def __init__(self, desk: ReviewDesk) -> None:
        super().__init__()
        self._desk = desk
        self._editor: LabelEditor | None = None
        self._n_labels = 0
        self._sizes: LiveSizes | None = None
        self._seen_in: list[QWidget] = []
        self._quiet = QTimer(self, singleShot=True, interval=QUIET_MS)
        self._quiet.timeout.connect(self._advance)
        self._looking = QTimer(self, singleShot=True, interval=LOOKED_AT_EVERY_MS)
        self._looking.timeout.connect(self._advance)
        desk.listen(self.refresh)

    def show_in(self, widget: QWidget) -> None:
        """Measure while this widget is seen; it calls ``wake`` when it is shown."""
        self._seen_in.append(widget)

    def wake(self) -> None:
        """Somebody looks: go on, unless edits are under way."""
        if not self._quiet.isActive():
            self._looking.start()

    def size_of(self, label: int) -> LabelSize | None:
        """The size of a label; None where it is nowhere, or its size is not known."""
        return self._sizes.sizes.get(label) if self._sizes is not None else None

    def is_outdated(self, label: int) -> bool:
        """Whether the size of a label is not known yet, or was edited since."""
        return self._sizes is not None and label in self._sizes.outdated

    def refresh(self) -> None:
        """Follow the desk to another case, or to a model's other labels."""
        editor = self._desk.session.editor if self._desk.session is not None else None
        n_labels = len(editor.label_table) if editor is not None else 0
        if editor is self._editor and n_labels == self._n_labels:
            return
        self.stop()
        self._editor, self._n_labels = editor, n_labels
        self._sizes = LiveSizes(editor) if editor is not None else None
        if editor is not None:
            editor.listen(self._put_off)
            self.wake()
        self.changed.emit()

    def stop(self) -> None:
        """Measure no more."""
        self._quiet.stop()
        self._looking.stop()
        if self._sizes is not None:
            self._sizes.stop()

    def _put_off(self, change: Change) -> None:
        self._looking.stop()
        self._quiet.start()
        self.changed.emit()

    def _advance(self) -> None:
        if self._sizes is None or not any(widget.isVisible() for widget in self._seen_in):
            return
        if self._sizes.advance() is not None:
            self.changed.emit()
        if self._sizes.outdated:
            self._looking.start()
