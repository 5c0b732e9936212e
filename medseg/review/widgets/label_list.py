"""The labels of the open case: colour, name, key, volume; which one is worked on, locked, or hidden."""

from typing import Final

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from medseg.labels import Label

__all__ = ["LabelList"]

COLUMNS: Final = ("", "Label", "Key", "mL", "Lock", "Hide")
NAME, KEY, VOLUME, LOCK, HIDE = 1, 2, 3, 4, 5
SWATCH_PX: Final = 16
LEAST_PX: Final = 130
"""Room for four labels, however low the window."""

BOXES: Final = (
    "QTableWidget::indicator { border: 1px solid #9aa0a6; } QTableWidget::indicator:checked { background: #f9ab00; }"
)
"""napari's themes draw the boxes of a table as dark as the table."""

KEYS: Final = 9
"""Labels that have a key: 1 to 9, in the order of the table."""


class LabelList(QTableWidget):
    """One row a label. ``chosen`` carries a label's value, ``locked`` and ``hidden_labels`` what was ticked."""

    chosen = Signal(int)
    locked = Signal(int, bool)
    hidden_labels = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(COLUMNS), parent)
        self.setHorizontalHeaderLabels(list(COLUMNS))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.verticalHeader().hide()
        self.setStyleSheet(BOXES)
        self.setMinimumHeight(LEAST_PX)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        self._labels: tuple[Label, ...] = ()
        self.itemSelectionChanged.connect(self._choose)
        self.itemChanged.connect(self._tick)

    def show_labels(self, labels: tuple[Label, ...]) -> None:
        """Show these labels, none of them locked or hidden."""
        self.blockSignals(True)
        self._labels = labels
        self.setRowCount(len(labels))
        for row, label in enumerate(labels):
            swatch = QTableWidgetItem()
            swatch.setIcon(_swatch(label.color))  # an icon: the colour of a chosen row's background is hidden
            self.setItem(row, 0, swatch)
            self.setItem(row, NAME, QTableWidgetItem(label.name.replace("_", " ")))
            self.setItem(row, KEY, QTableWidgetItem(str(row + 1) if row < KEYS else ""))
            self.setItem(row, VOLUME, QTableWidgetItem("0.00"))
            for column in (LOCK, HIDE):
                box = QTableWidgetItem()
                box.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled)
                box.setCheckState(Qt.CheckState.Unchecked)
                self.setItem(row, column, box)
        self.blockSignals(False)
        if labels:
            self.selectRow(0)

    def choose_row(self, row: int) -> None:
        """Work on the label of a row, as its key does; nothing where there is none."""
        if row < len(self._labels):
            self.selectRow(row)

    def show_volumes(self, volumes_ml: dict[int, float]) -> None:
        """Show the volume of each label, by its value."""
        self.blockSignals(True)
        for row, label in enumerate(self._labels):
            item = self.item(row, VOLUME)
            if item is not None:
                item.setText(f"{volumes_ml[label.index]:.2f}")
        self.blockSignals(False)

    def _choose(self) -> None:
        row = self.currentRow()
        if 0 <= row < len(self._labels):
            self.chosen.emit(self._labels[row].index)

    def _tick(self, item: QTableWidgetItem) -> None:
        if item.column() == LOCK:
            self.locked.emit(self._labels[item.row()].index, item.checkState() == Qt.CheckState.Checked)
        elif item.column() == HIDE:
            hidden = frozenset(label.index for row, label in enumerate(self._labels) if self._is_ticked(row, HIDE))
            self.hidden_labels.emit(hidden)

    def _is_ticked(self, row: int, column: int) -> bool:
        item = self.item(row, column)
        return item is not None and item.checkState() == Qt.CheckState.Checked


def _swatch(color: tuple[int, int, int]) -> QIcon:
    pixmap = QPixmap(SWATCH_PX, SWATCH_PX)
    pixmap.fill(QColor(*color))
    icon = QIcon()
    for mode in (QIcon.Mode.Normal, QIcon.Mode.Selected):
        icon.addPixmap(pixmap, mode)
    return icon
