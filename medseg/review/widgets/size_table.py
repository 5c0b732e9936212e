"""The labels there are, with volume and diameters as they are now; a double click goes to where one is longest.

In: the desk and the watch over sizes. Out: a table; what edits have outdated is grey until it is measured again.
"""

from typing import Final

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QShowEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from medseg.labels import Label
from medseg.review.desk import ReviewDesk
from medseg.review.measure import LabelSize
from medseg.review.widgets.size_watch import SizeWatch

__all__ = ["SizeTable"]

COLUMNS: Final = {
    "Label": "what is measured: all pieces of the label together",
    "mL": "volume: voxels times the volume of one",
    "Long (mm)": "RECIST 1.1: the longest diameter in an axial slice",
    "Short (mm)": "RECIST 1.1: the longest perpendicular to it in the same slice",
    "3D (mm)": "the longest diameter in any direction",
}
KNOWN, OUTDATED = QColor("#ffffff"), QColor("#8a8f98")
UNKNOWN: Final = "…"
GOES_THERE: Final = "double click: the slice with the longest diameter"


class SizeTable(QTableWidget):
    """One row for each label that is somewhere."""

    def __init__(self, desk: ReviewDesk, sizes: SizeWatch) -> None:
        super().__init__(0, len(COLUMNS))
        self._desk, self._sizes = desk, sizes
        self._rows: list[Label] = []
        for column, (title, meaning) in enumerate(COLUMNS.items()):
            header = QTableWidgetItem(title)
            header.setToolTip(meaning)
            self.setHorizontalHeaderItem(column, header)
        self.verticalHeader().hide()
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setToolTip(GOES_THERE)
        self.cellDoubleClicked.connect(self._go_to)
        sizes.show_in(self)
        sizes.changed.connect(self.refresh)

    def refresh(self) -> None:
        """Show the sizes as they are known; what nobody sees is filled in when somebody does."""
        if not self.isVisible():
            return
        session = self._desk.session
        table = tuple(session.editor.label_table) if session is not None else ()
        self._rows = [one for one in table if self._sizes.size_of(one.index) or self._sizes.is_outdated(one.index)]
        self.setRowCount(len(self._rows))
        for row, label in enumerate(self._rows):
            texts = (label.name.replace("_", " "), *_numbers(self._sizes.size_of(label.index)))
            color = OUTDATED if self._sizes.is_outdated(label.index) else KNOWN
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setForeground(color)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.setItem(row, column, item)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Measure what was edited meanwhile."""
        super().showEvent(event)
        self._sizes.wake()
        self.refresh()

    def _go_to(self, row: int, _column: int) -> None:
        size = self._sizes.size_of(self._rows[row].index)
        if size is not None and self._desk.layers is not None:
            ends = size.recist.longest.voxels
            self._desk.layers.jump_to([(one + other) / 2 for one, other in zip(*ends, strict=True)])


def _numbers(size: LabelSize | None) -> tuple[str, ...]:
    if size is None:
        return (UNKNOWN,) * (len(COLUMNS) - 1)
    lengths = (size.recist.longest, size.recist.short, size.longest_3d)
    return (f"{size.volume_ml:.2f}", *(f"{length.length_mm:.1f}" for length in lengths))
