"""One plane through a scan, with a cross-hair and the patient's directions at its edges.

In: a picture of the plane, one pixel a voxel, and where the cross-hair lies in it. Out: signals that a person
pointed at a place, or turned the wheel. Left button: move the cross-hair; right or middle button: move the picture;
wheel: next slice; wheel with Ctrl: zoom; double click: the whole picture again.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QWheelEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from medseg.review.display import Plane

__all__ = ["PlaneView"]

MARGIN: Final = 4
LETTER_COLOR: Final = QColor(255, 210, 77)
LINE_COLOR: Final = QColor(90, 200, 120, 190)
BACKGROUND: Final = QColor(0, 0, 0)
ZOOM_STEP: Final = 1.2
LARGEST_ZOOM: Final = 40.0
NOTCH: Final = 120
"""What Qt reports for one click of a wheel."""


class PlaneView(QWidget):
    """Draws one plane; what it shows and what a click means is told by its owner."""

    pointed = Signal(str, float, float)
    """The plane's name; column and row of the picture, in pixels from its top left corner."""

    turned = Signal(str, int)
    """The plane's name; slices to go on, towards the head, the back or the left."""

    def __init__(self, plane: Plane, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plane = plane
        self._image: QImage | None = None
        self._pixel_mm = (1.0, 1.0)
        self._cross = (0.0, 0.0)
        self._zoom = 1.0
        self._shift = QPointF(0, 0)
        self._grabbed: QPointF | None = None
        self._notches = 0
        self.setMinimumSize(120, 120)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setAccessibleName(f"{plane.name} view")

    def sizeHint(self) -> QSize:
        """Large enough to see a brain."""
        return QSize(300, 260)

    def show_picture(self, picture: NDArray[np.uint8] | None, *, pixel_mm: tuple[float, float]) -> None:
        """Draw an RGB picture (rows, columns, 3) with pixels of that height and width; None shows nothing."""
        self._pixel_mm = pixel_mm
        if picture is None:
            self._image = None
        else:
            rows, columns, _ = picture.shape
            drawn = QImage(picture.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888)
            self._image = drawn.copy()  # Qt only borrows the bytes
        self.update()

    def show_cross(self, column: float, row: float) -> None:
        """Draw the cross-hair at a place in the picture, in pixels."""
        self._cross = (column, row)
        self.update()

    def place_of(self, column: float, row: float) -> QPointF:
        """Where a place in the picture lies in this widget."""
        box = self._box()
        rows, columns = self._size()
        return QPointF(box.left() + box.width() * column / columns, box.top() + box.height() * row / rows)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """The picture, the cross-hair, the letters."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), BACKGROUND)
        if self._image is not None:
            painter.drawImage(self._box(), self._image)
            self._draw_cross(painter)
            self._draw_letters(painter)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Point with the left button, take hold of the picture with another."""
        self._follow(event, is_start=True)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Go on pointing, or move the picture."""
        self._follow(event, is_start=False)

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """Show the whole picture again."""
        self._zoom, self._shift = 1.0, QPointF(0, 0)
        self.update()

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Go to another slice, or zoom around the pointer."""
        if event is None or self._image is None:
            return
        turn = event.angleDelta().y()
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self._zoom_at(event.position(), ZOOM_STEP ** (turn / NOTCH))
        else:
            self._notches += turn  # touch pads send parts of a notch
            slices = int(self._notches / NOTCH)
            self._notches -= slices * NOTCH
            if slices:
                self.turned.emit(self.plane.name, slices)
        event.accept()

    def _follow(self, event: QMouseEvent | None, *, is_start: bool) -> None:
        if event is None or self._image is None:
            return
        place = event.position()
        if event.buttons() & Qt.MouseButton.LeftButton:
            box = self._box()
            rows, columns = self._size()
            self.pointed.emit(
                self.plane.name,
                (place.x() - box.left()) / box.width() * columns,
                (place.y() - box.top()) / box.height() * rows,
            )
        elif event.buttons() and not is_start and self._grabbed is not None:
            self._shift += place - self._grabbed
            self.update()
        self._grabbed = place

    def _zoom_at(self, place: QPointF, factor: float) -> None:
        zoom = float(np.clip(self._zoom * factor, 1.0, LARGEST_ZOOM))
        center = QPointF(self.width() / 2, self.height() / 2)
        self._shift = place - center - (place - center - self._shift) * (zoom / self._zoom)
        self._zoom = zoom
        self.update()

    def _size(self) -> tuple[int, int]:
        return (self._image.height(), self._image.width()) if self._image is not None else (1, 1)

    def _box(self) -> QRectF:
        """Where the picture lies in this widget: as large as fits, in the body's proportions, zoomed and moved."""
        rows, columns = self._size()
        height, width = rows * self._pixel_mm[0], columns * self._pixel_mm[1]
        share = self._zoom * min((self.width() - 2 * MARGIN) / width, (self.height() - 2 * MARGIN) / height)
        box = QRectF(0, 0, width * share, height * share)
        box.moveCenter(QPointF(self.width() / 2, self.height() / 2) + self._shift)
        return box

    def _draw_cross(self, painter: QPainter) -> None:
        painter.setPen(QPen(LINE_COLOR, 1))
        at = self.place_of(*self._cross)
        painter.drawLine(QPointF(at.x(), 0), QPointF(at.x(), self.height()))
        painter.drawLine(QPointF(0, at.y()), QPointF(self.width(), at.y()))

    def _draw_letters(self, painter: QPainter) -> None:
        font = painter.font()
        font.setBold(True)
        font.setPointSize(11)
        painter.setFont(font)
        area = self.rect().adjusted(MARGIN, MARGIN, -MARGIN, -MARGIN)
        left, right, top, bottom = self.plane.edges
        middle, center = Qt.AlignmentFlag.AlignVCenter, Qt.AlignmentFlag.AlignHCenter
        sides: list[tuple[Any, str]] = [
            (middle | Qt.AlignmentFlag.AlignLeft, left),
            (middle | Qt.AlignmentFlag.AlignRight, right),
            (center | Qt.AlignmentFlag.AlignTop, top),
            (center | Qt.AlignmentFlag.AlignBottom, bottom),
        ]
        for alignment, letter in sides:
            painter.setPen(BACKGROUND)  # a shadow, since bone and fat are as bright as the letters
            painter.drawText(area.translated(1, 1), int(alignment), letter)
            painter.setPen(LETTER_COLOR)
            painter.drawText(area, int(alignment), letter)
