"""Seeing the case: channels and windows, outlines, three dimensions, differences, uncertainty, measurements."""

from pathlib import Path
from typing import Final

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from medseg.bundle import Extras, OutputPaths
from medseg.errors import ReviewError
from medseg.io import read_volume
from medseg.review import IntensityWindow, presets
from medseg.review.case_facts import modality_of
from medseg.review.desk import ReviewDesk
from medseg.review.display import PLANES
from medseg.review.widgets.size_table import SizeTable
from medseg.review.widgets.size_watch import SizeWatch
from medseg.review.widgets.telling import Teller

__all__ = ["ViewTab"]

OUTLINE_PX: Final = 2
FROM_THE_FRONT, HEAD_UP = (-0.35, 1.0, 0.5), (1.0, 0.0, 0.0)
"""A view in three dimensions to begin with, along the screen's axes: to the head, the back, the left."""


class ViewTab(QWidget):
    """What is shown, and how. ``planes_wanted`` asks for the linked planes beside the picture."""

    planes_wanted = Signal()
    areas_wanted = Signal()

    def __init__(self, desk: ReviewDesk, teller: Teller, *, sizes: SizeWatch) -> None:
        super().__init__()
        self._desk, self._teller = desk, teller
        self._case_id: str | None = None
        self._windows: tuple[IntensityWindow, ...] = ()
        self.channel, self.window, self.plane = QComboBox(), QComboBox(), QComboBox()
        self.channel.currentIndexChanged.connect(self._show_channel)
        self.window.currentIndexChanged.connect(self._show_window)
        self.plane.addItems([plane.name for plane in PLANES])
        self.plane.currentIndexChanged.connect(self._show_plane)
        self.outline, self.volume = QCheckBox("outlines"), QCheckBox("3D")
        self.difference, self.opened = QCheckBox("what was edited"), QCheckBox("labels as opened")
        self.uncertainty = QCheckBox("uncertainty")
        for box, act in (
            (self.outline, self._draw_outlines),
            (self.volume, self._show_volume),
            (self.difference, self._show_difference),
            (self.opened, self._show_opened),
            (self.uncertainty, self._show_uncertainty),
        ):
            box.toggled.connect(act)
        self.measures = SizeTable(desk, sizes)
        self._lay_out()
        desk.listen(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the open case; its channels anew only where another case was opened."""
        session = self._desk.session
        self.setEnabled(session is not None)
        case_id = session.case_id if session else None
        if case_id == self._case_id:
            return
        self._case_id = case_id
        for box in (self.outline, self.difference, self.opened, self.uncertainty, self.volume):
            box.blockSignals(True)
            box.setChecked(False)
            box.blockSignals(False)
        self.channel.blockSignals(True)
        self.channel.clear()
        if session is not None:
            self.channel.addItems([channel.channel for channel in session.case.files.channels])
        self.channel.blockSignals(False)
        if session is not None:
            self._show_channel(0)

    def jump(self) -> None:
        """Go to the next uncertain or disagreeing spot."""
        self._teller.told(lambda: self._teller.say(self._desk.jump_to_next_spot()))

    def next_channel(self) -> None:
        """Show the next channel, and after the last the first."""
        if self.channel.count():
            self.channel.setCurrentIndex((self.channel.currentIndex() + 1) % self.channel.count())

    def compare(self, path: Path) -> None:
        """Show another segmentation of the same scan as outlines."""
        self._teller.told(lambda: self._desk.compare_with(path))

    def _show_channel(self, number: int) -> None:
        layers = self._desk.layers
        if layers is None or number < 0:
            return
        layers.choose_channel(number)
        session, _ = self._desk.opened()
        self._windows = presets(modality_of(session), session.scan.image[number].numpy())
        self.window.blockSignals(True)
        self.window.clear()
        self.window.addItems([f"{one.name} ({one.lowest:.0f} to {one.highest:.0f})" for one in self._windows])
        self.window.blockSignals(False)
        self._show_window(0)

    def _show_window(self, number: int) -> None:
        layers = self._desk.layers
        if layers is not None and 0 <= number < len(self._windows):
            window = self._windows[number]
            layers.images[layers.active_channel].contrast_limits = (window.lowest, window.highest)

    def _show_plane(self, number: int) -> None:
        self._desk.viewer.dims.order = PLANES[number].order

    def _draw_outlines(self, is_on: bool) -> None:
        if self._desk.layers is not None:
            self._desk.layers.labels.contour = OUTLINE_PX if is_on else 0

    def _show_volume(self, is_on: bool) -> None:
        self._desk.viewer.dims.ndisplay = 3 if is_on else 2
        if is_on:
            self._desk.viewer.scene.camera.set_view_direction(FROM_THE_FRONT, up_direction=HEAD_UP)
        if self._desk.layers is not None:
            self._desk.layers.show_scan(is_shown=not is_on)

    def _show_difference(self, is_on: bool) -> None:
        if self._desk.layers is not None:
            self._desk.layers.show_difference(is_shown=is_on)

    def _show_opened(self, is_on: bool) -> None:
        if self._desk.layers is not None:
            self._desk.layers.opened.visible = is_on
            self._desk.layers.labels.visible = not is_on

    def _show_uncertainty(self, is_on: bool) -> None:
        if not is_on:
            self._desk.hide_uncertainty()
        elif not self._teller.told(self._load_uncertainty):
            self.uncertainty.setChecked(False)

    def _load_uncertainty(self) -> None:
        session, _ = self._desk.opened()
        labels = session.case.labels
        path = OutputPaths.beside(labels, Extras(uncertainty=True)).uncertainty if labels else None
        if path is None or not path.exists():
            raise ReviewError("there is no map of uncertainty beside the labels: segment the case with --uncertainty.")
        self._desk.show_uncertainty(read_volume(path)[0].numpy())

    def _choose_other(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Another segmentation of this scan")
        if chosen:
            self.compare(Path(chosen))

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("channel (C)", self.channel)
        form.addRow("window", self.window)
        form.addRow("plane", self.plane)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        for box in (self.outline, self.volume, self.difference, self.opened, self.uncertainty):
            layout.addWidget(box)
        for text, act in (
            ("Next spot to look at (J)", self.jump),
            ("Compare with…", self._choose_other),
            ("Three planes", self.planes_wanted.emit),
            ("Area of each slice", self.areas_wanted.emit),
        ):
            button = QPushButton(text)
            button.clicked.connect(lambda _checked=False, act=act: act())
            layout.addWidget(button)
        layout.addWidget(self.measures)
