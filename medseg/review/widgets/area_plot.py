"""The area of the selected structure, slice by slice, with a line where the viewer stands.

In: a viewer with a labels layer. Out: a curve that follows edits, the selected label and the plane shown; a click
goes to that slice. Drawn with Qt alone: one curve needs no figure of matplotlib.
"""

from typing import Final

import numpy as np
from napari.layers import Labels
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QHideEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF, QShowEvent
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from medseg.review.areas import slice_areas
from medseg.review.display import PLANES
from medseg.review.layers import source_of
from medseg.review.widgets.listening import Listening

__all__ = ["AreaCurve", "AreaPlot"]

MARGIN: Final = 6
QUIET_MS: Final = 250
"""Areas are counted when no edit has come for as long: never during a stroke."""

MM2_PER_CM2: Final = 100
BACKGROUND: Final = QColor(20, 22, 28)
CURSOR: Final = QColor(255, 210, 77)
NOTHING: Final = "No labels are open."


class AreaCurve(QWidget):
    """A filled curve over the slices, and a line at one of them."""

    jumped = Signal(int)
    """The slice that a person pointed at."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.areas: NDArray[np.float64] = np.zeros(0)
        self.at = 0
        self._color = QColor(255, 255, 255)
        self.setMinimumHeight(60)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setAccessibleName("area by slice")

    def sizeHint(self) -> QSize:
        """Small: it stands beside the picture."""
        return QSize(300, 90)

    def show_areas(self, areas: NDArray[np.float64], color: QColor) -> None:
        """Draw one area a slice, in that colour."""
        self.areas, self._color = areas, color
        self.update()

    def show_slice(self, at: int) -> None:
        """Draw the line at a slice."""
        self.at = at
        self.update()

    def place_of(self, number: int) -> float:
        """Where a slice lies from the left edge, in pixels."""
        width: int = self.width() - 2 * MARGIN
        return MARGIN + width * (number + 0.5) / max(len(self.areas), 1)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """The curve, the line."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), BACKGROUND)
        if len(self.areas):
            self._draw_curve(painter)
            painter.setPen(QPen(CURSOR, 1))
            x = self.place_of(self.at)
            painter.drawLine(QPointF(x, 0), QPointF(x, self.height()))
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to the slice under the pointer."""
        self._point(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Go on along the curve."""
        self._point(event)

    def _point(self, event: QMouseEvent | None) -> None:
        if event is None or not len(self.areas) or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        share = (event.position().x() - MARGIN) / max(self.width() - 2 * MARGIN, 1)
        self.jumped.emit(int(np.clip(int(share * len(self.areas)), 0, len(self.areas) - 1)))

    def _draw_curve(self, painter: QPainter) -> None:
        box = QRectF(self.rect()).adjusted(MARGIN, MARGIN, -MARGIN, -MARGIN)
        highest = float(self.areas.max()) or 1.0
        step = box.width() / len(self.areas)
        corners = [QPointF(box.left(), box.bottom())]
        for number, area in enumerate(self.areas):
            y = box.bottom() - box.height() * float(area) / highest
            corners += [QPointF(box.left() + number * step, y), QPointF(box.left() + (number + 1) * step, y)]
        corners.append(QPointF(box.right(), box.bottom()))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._color)
        painter.drawPolygon(QPolygonF(corners))


class AreaPlot(QWidget):
    """The curve of the selected label, linked to a viewer, with the area here and at most in words."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._layers, self._whole = Listening(), Listening()
        self.curve = AreaCurve(self)
        self.words = QLabel(NOTHING)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 2)
        layout.addWidget(self.curve, 1)
        layout.addWidget(self.words)
        self.curve.jumped.connect(self._go_to)
        self._recount = QTimer(self, singleShot=True, interval=QUIET_MS)
        self._recount.timeout.connect(self.count)

    def count(self) -> None:
        """Measure every slice of the selected label, now."""
        layer = self._labels
        if layer is None:
            self.curve.show_areas(np.zeros(0), BACKGROUND)
            self.words.setText(NOTHING)
            return
        areas = slice_areas(layer.data, layer.selected_label, axis=self._axis, scale_mm=layer.scale)
        red, green, blue = (float(part) for part in np.asarray(layer.get_color(layer.selected_label))[:3])
        self.curve.show_areas(areas, QColor.fromRgbF(red, green, blue))
        self._show_slice()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Listen to the viewer for as long as there is something to see."""
        super().showEvent(event)
        layers, dims = self._viewer.layers, self._viewer.dims.events
        self._whole.stop()
        self._whole.to(layers.events.inserted, layers.events.removed, layers.selection.events.active, tell=self._listen)
        self._whole.to(dims.point, tell=self._show_slice)
        self._whole.to(dims.order, tell=self.count)
        self._listen()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Let the viewer go: it may outlive this widget."""
        super().hideEvent(event)
        self._recount.stop()
        self._whole.stop()
        self._layers.stop()

    @property
    def _labels(self) -> Labels | None:
        """The labels layer that is selected, else the topmost; None without one of three axes."""
        found = [layer for layer in self._viewer.layers if isinstance(layer, Labels) and layer.ndim == 3]
        active = self._viewer.layers.selection.active
        return active if active in found else found[-1] if found else None

    @property
    def _axis(self) -> int:
        return int(self._viewer.dims.order[0])

    def _listen(self) -> None:
        self._layers.stop()
        layer = self._labels
        if layer is not None:
            events = layer.events
            self._layers.to(events.paint, events.data, events.set_data, tell=self._count_soon)
            self._layers.to(events.selected_label, events.colormap, tell=self.count)
        self.count()

    def _count_soon(self) -> None:
        self._recount.start()

    def _show_slice(self) -> None:
        layer = self._labels
        if layer is None or not len(self.curve.areas):
            return
        at = round(float(layer.world_to_data(self._viewer.dims.point)[self._axis]))
        self.curve.show_slice(int(np.clip(at, 0, len(self.curve.areas) - 1)))
        here, most = (area / MM2_PER_CM2 for area in (self.curve.areas[self.curve.at], self.curve.areas.max()))
        plane = PLANES[self._axis].name
        self.words.setText(f"{_name(layer)}, {plane} {self.curve.at}: {here:.2f} cm² of at most {most:.2f} cm²")

    def _go_to(self, number: int) -> None:
        layer = self._labels
        if layer is None:
            return
        place = list(layer.world_to_data(self._viewer.dims.point))
        place[self._axis] = number
        self._viewer.dims.set_point(range(3), layer.data_to_world(place))


def _name(layer: Labels) -> str:
    source = source_of(layer.metadata)
    named = {label.index: label.name.replace("_", " ") for label in (source.label_table if source else None) or ()}
    return named.get(layer.selected_label, f"label {layer.selected_label}")
