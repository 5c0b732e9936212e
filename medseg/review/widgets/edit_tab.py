"""Correcting labels: which label, what the brush may do, and the tools."""

from typing import Final

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from medseg.labels import Label
from medseg.review import TOOLS, Tool
from medseg.review.counts import VoxelCounts
from medseg.review.desk import ReviewDesk
from medseg.review.widgets.label_list import LabelList
from medseg.review.widgets.telling import Teller

__all__ = ["EditTab"]

MODES: Final = (("Paint", "paint"), ("Erase", "erase"), ("Fill", "fill"), ("Pan", "pan_zoom"))
VOLUMES_EVERY_MS: Final = 250
INTENSITY: Final = 100_000.0
NOTHING: Final = "nothing to change here; no tool paints over another label, or changes a locked one"


class EditTab(QWidget):
    """Labels, brush and tools of the open case."""

    def __init__(self, desk: ReviewDesk, teller: Teller) -> None:
        super().__init__()
        self._desk, self._teller = desk, teller
        self._counts: VoxelCounts | None = None
        self._case_id: str | None = None
        self._table: tuple[Label, ...] = ()
        self.labels = LabelList()
        self.labels.chosen.connect(lambda index: self._teller.told(lambda: desk.choose_label(index)))
        self.labels.locked.connect(
            lambda index, is_locked: self._teller.told(lambda: desk.protect(index, is_protected=is_locked))
        )
        self.labels.hidden_labels.connect(self._hide)
        self.brush = QSpinBox()
        self.brush.setRange(1, 200)
        self.brush.setValue(10)
        self.brush.valueChanged.connect(self._size_brush)
        self.is_3d = QCheckBox("3D brush")
        self.is_3d.toggled.connect(self._switch_3d)
        self.is_limited = QCheckBox("only intensities")
        self.lowest, self.highest = _intensity(), _intensity()
        for widget, signal in (
            (self.is_limited, "toggled"),
            (self.lowest, "valueChanged"),
            (self.highest, "valueChanged"),
        ):
            getattr(widget, signal).connect(self._limit)
        self.is_nested = QCheckBox("keep regions nested")
        self.is_nested.setToolTip(
            "Whole tumour holds the core, the core holds the enhancing part, whatever is painted."
        )
        self.is_nested.toggled.connect(self._nest)
        self.other = QComboBox()
        self.amounts: dict[str, QDoubleSpinBox] = {}
        self.buttons: dict[str, QPushButton] = {}
        self.regions = QLabel()
        self.regions.setWordWrap(True)
        self.history = QLabel()
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.setInterval(VOLUMES_EVERY_MS)
        self._timer.timeout.connect(self._show_volumes)
        self._timer.start()
        desk.listen(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the open case; its labels anew only where another case was opened, or a model brought its own."""
        session = self._desk.session
        self.setEnabled(session is not None)
        if session is None:
            self._case_id, self._counts = None, None
            self.labels.show_labels(())
            return
        table = tuple(session.editor.label_table)
        if self._counts is not None and (self._case_id, self._table) == (session.case_id, table):
            return
        self._case_id, self._table, self._counts = session.case_id, table, VoxelCounts(session.editor)
        self.labels.show_labels(table)
        self.other.clear()
        for label in table:
            self.other.addItem(label.name.replace("_", " "), label.index)
        self.other.setCurrentIndex(min(1, len(table) - 1))  # the first is the one that is worked on
        self.is_nested.setVisible(session.case.regions is not None)
        self.regions.setVisible(session.case.regions is not None)
        self.is_nested.setChecked(session.case.regions is not None)
        self.is_limited.setChecked(False)
        self._start_limits()
        self._start_amounts(max(session.editor.geometry.spacing_mm))
        self._size_brush(self.brush.value())
        self._show_volumes()

    def use(self, tool: Tool) -> None:
        """Use a tool with the numbers that stand beside its button."""
        amount = self.amounts[tool.key].value() if tool.key in self.amounts else 0.0
        other = self.other.currentData() if tool.needs_other else None

        def act() -> None:
            changed = self._desk.use_tool(tool.key, amount=amount, other=other)
            self._teller.say(f"{tool.title}: {changed} voxels changed" if changed else f"{tool.title}: {NOTHING}")

        self._teller.told(act)

    def undo(self) -> None:
        """Take the last edit back."""
        self._step(forth=False)

    def redo(self) -> None:
        """Make the last edit that was undone again."""
        self._step(forth=True)

    def choose_mode(self, mode: str) -> None:
        """Paint, erase, fill, or move the picture."""
        if self._desk.layers is not None:
            self._desk.viewer.layers.selection.active = self._desk.layers.labels
            self._desk.layers.labels.mode = mode

    def _step(self, *, forth: bool) -> None:
        session = self._desk.session
        if session is None:
            return
        delta = session.editor.redo() if forth else session.editor.undo()
        word = "made again" if forth else "undone"
        self._teller.say(f"{delta.name} {word}" if delta is not None else f"nothing to be {word}")

    def _hide(self, hidden: frozenset[int]) -> None:
        if self._desk.layers is not None:
            self._desk.layers.hide_labels(hidden)

    def _size_brush(self, size: int) -> None:
        if self._desk.layers is not None:
            self._desk.layers.labels.brush_size = size

    def _switch_3d(self, is_3d: bool) -> None:
        if self._desk.layers is not None:
            self._desk.layers.labels.n_edit_dimensions = 3 if is_3d else 2

    def _limit(self) -> None:
        limits = (self.lowest.value(), self.highest.value()) if self.is_limited.isChecked() else None
        if self._desk.session is not None:
            self._teller.told(lambda: self._desk.limit_brush(limits))

    def _nest(self, is_nested: bool) -> None:
        if self._desk.session is not None:
            self._teller.told(lambda: self._desk.keep_nested(is_kept=is_nested))

    def _start_limits(self) -> None:
        """A brush that is limited begins with what is shown between black and white."""
        if self._desk.layers is not None:
            lowest, highest = self._desk.layers.images[self._desk.layers.active_channel].contrast_limits
            self.lowest.setValue(lowest)
            self.highest.setValue(highest)

    def _start_amounts(self, voxel_mm: float) -> None:
        """Lengths start at no less than the largest side of a voxel: a shorter one may change nothing."""
        for tool in TOOLS:
            if tool.amount is not None and tool.amount.unit == "mm":
                self.amounts[tool.key].setValue(max(tool.amount.usual, voxel_mm))

    def _show_volumes(self) -> None:
        session = self._desk.session
        if session is None or self._counts is None:
            return
        self.labels.show_volumes(
            {label.index: self._counts.volume_ml(label.index) for label in session.editor.label_table}
        )
        regions = session.case.regions.regions if session.case.regions is not None else ()
        volumes = ((one.name, sum(self._counts.volume_ml(value) for value in one.values)) for one in regions)
        self.regions.setText(" · ".join(f"{name.replace('_', ' ')} {volume:.2f} mL" for name, volume in volumes))
        done, undone = session.editor.history.done, session.editor.history.undone
        last = f", last: {done[-1].name}" if done else ""
        self.history.setText(f"{len(done)} edits{last}; {len(undone)} to make again")

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.addWidget(self.labels)
        layout.addWidget(self.regions)
        layout.addLayout(self._brush_rows())
        layout.addLayout(self._tool_grid())
        steps = QHBoxLayout()
        for text, act in (("Undo (Ctrl+Z)", self.undo), ("Redo (Ctrl+Shift+Z)", self.redo)):
            button = QPushButton(text)
            button.clicked.connect(act)
            steps.addWidget(button)
        layout.addLayout(steps)
        layout.addWidget(self.history)

    def _brush_rows(self) -> QVBoxLayout:
        modes, limits, rows = QHBoxLayout(), QHBoxLayout(), QVBoxLayout()
        for text, mode in MODES:
            button = QPushButton(text)
            button.clicked.connect(lambda _checked=False, mode=mode: self.choose_mode(mode))
            modes.addWidget(button)
        modes.addWidget(QLabel("size"))
        modes.addWidget(self.brush)
        modes.addWidget(self.is_3d)
        for widget in (self.is_limited, self.lowest, self.highest):
            limits.addWidget(widget)
        rows.addLayout(modes)
        rows.addLayout(limits)
        rows.addWidget(self.is_nested)
        return rows

    def _tool_grid(self) -> QGridLayout:
        grid = QGridLayout()
        for row, tool in enumerate(TOOLS):
            button = QPushButton(tool.title)
            button.setToolTip(tool.help)
            button.clicked.connect(lambda _checked=False, tool=tool: self.use(tool))
            self.buttons[tool.key] = button
            column = 2 * (row % 2)
            grid.addWidget(button, row // 2, column)
            if tool.amount is not None:
                box = QDoubleSpinBox()
                box.setDecimals(3 if tool.amount.least < 0.01 else 1)
                box.setRange(tool.amount.least, tool.amount.most)
                box.setValue(tool.amount.usual)
                box.setSuffix(f" {tool.amount.unit}")
                self.amounts[tool.key] = box
                grid.addWidget(box, row // 2, column + 1)
        second = QHBoxLayout()
        second.addWidget(QLabel("second label"))
        second.addWidget(self.other)
        grid.addLayout(second, (len(TOOLS) + 1) // 2, 0, 1, 4)
        return grid


def _intensity() -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(-INTENSITY, INTENSITY)
    box.setDecimals(0)
    return box
