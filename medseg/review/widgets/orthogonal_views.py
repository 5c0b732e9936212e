"""Axial, coronal and sagittal views beside napari's canvas, linked by the cross-hair.

In: a viewer with layers in the screen's order. Out: three pictures that follow the viewer's point, its layers and
every edit, and a line with the cross-hair's coordinates in the patient. A click in one moves the viewer's point, and
so all others; zoom and position belong to each view alone.
"""

from time import perf_counter
from typing import Any, Final

from napari.viewer import Viewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QHideEvent, QResizeEvent, QShowEvent
from qtpy.QtWidgets import QBoxLayout, QLabel, QVBoxLayout, QWidget

from medseg.review.display import PLANES
from medseg.review.orientation import coordinates_text, patient_point, point_on_click, reference_layer
from medseg.review.slices import ViewGrid, draw_plane
from medseg.review.widgets.listening import Listening
from medseg.review.widgets.plane_view import PlaneView

__all__ = ["OrthogonalViews"]

REDRAW_AFTER_MS: Final = 20
"""Strokes send dozens of events a second; one picture shows them all."""

SHARE_LEFT: Final = 2
"""Between two pictures, this many times as long is left to the stroke itself, however large the scan."""

LOOKS: Final = (
    "data", "labels_update", "paint", "visible", "opacity", "blending", "colormap", "contrast_limits",
    "gamma", "contour", "show_selected_label", "selected_label",
)  # fmt: skip
"""The events of a layer after which it looks otherwise; ``set_data`` comes with every other slice, too."""

NO_SCAN: Final = "No scan is open."


class OrthogonalViews(QWidget):
    """Three linked planes through what the viewer shows."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._layers, self._whole = Listening(), Listening()
        self._drawn_at: dict[str, int | None] = {}
        self._point_mm: tuple[float, ...] = ()
        self.views = {plane.name: PlaneView(plane) for plane in PLANES}
        self.coordinates = QLabel(NO_SCAN)
        self.coordinates.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._row = QBoxLayout(QBoxLayout.Direction.LeftToRight)  # least high: a window grows, but does not shrink
        self._row.setSpacing(2)
        for view in self.views.values():
            view.pointed.connect(self._point_at)
            view.turned.connect(self._turn)
            self._row.addWidget(view, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 2)
        layout.addLayout(self._row, 1)
        layout.addWidget(self.coordinates)
        self._redraw = QTimer(self, singleShot=True, interval=REDRAW_AFTER_MS)
        self._redraw.timeout.connect(self.draw)
        self._follow = QTimer(self, singleShot=True, interval=REDRAW_AFTER_MS)
        self._follow.timeout.connect(self._show_point)

    def draw(self) -> None:
        """Draw all three planes anew, now."""
        started = perf_counter()
        self._drawn_at.clear()
        self._point_mm = tuple(self._viewer.dims.point)
        self._show_point()
        took_ms = 1000 * (perf_counter() - started)
        self._redraw.setInterval(round(max(REDRAW_AFTER_MS, SHARE_LEFT * took_ms)))

    def showEvent(self, event: QShowEvent | None) -> None:
        """Listen to the viewer for as long as there is something to see; what was missed is drawn."""
        super().showEvent(event)
        layers, dims = self._viewer.layers.events, self._viewer.dims.events
        self._whole.stop()
        self._whole.to(layers.inserted, layers.removed, layers.reordered, tell=self._listen_to_layers)
        self._whole.to(dims.point, dims.range, tell=self._ask_follow)
        if point_on_click not in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.append(point_on_click)
        self._listen_to_layers()
        self.draw()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Let the viewer go: it may outlive this widget."""
        super().hideEvent(event)
        if point_on_click in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(point_on_click)
        self._redraw.stop()
        self._follow.stop()
        self._whole.stop()
        self._layers.stop()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Side by side where there is width, else one above the other."""
        super().resizeEvent(event)
        is_wide = self.width() > self.height()
        self._row.setDirection(QBoxLayout.Direction.LeftToRight if is_wide else QBoxLayout.Direction.TopToBottom)

    @property
    def _grid(self) -> ViewGrid | None:
        reference = reference_layer(self._viewer.layers)
        if reference is None or self._viewer.dims.ndim != 3:
            return None
        return ViewGrid.of(reference[0])

    def _listen_to_layers(self) -> None:
        self._layers.stop()
        for layer in self._viewer.layers:
            events = [emitter for name in LOOKS if (emitter := getattr(layer.events, name, None)) is not None]
            self._layers.to(*events, tell=self._ask_redraw)
            self._layers.to(layer.events.set_data, tell=self._ask_redraw_unless_moved)
        self._ask_redraw()

    def _ask_redraw(self) -> None:
        if not self._redraw.isActive():
            self._redraw.start()

    def _ask_redraw_unless_moved(self) -> None:
        """The layer was cut anew: for another slice, which is followed as such, or since its voxels have changed."""
        if tuple(self._viewer.dims.point) == self._point_mm:
            self._ask_redraw()

    def _ask_follow(self) -> None:
        """Follow the viewer when its own canvas is drawn; of slices that go by fast not every one is drawn here."""
        self._point_mm = tuple(self._viewer.dims.point)
        if not self._follow.isActive():
            self._follow.start()

    def _show_point(self) -> None:
        """Move the cross-hairs; a plane is drawn only where its slice is another than before."""
        grid = self._grid
        point = patient_point(self._viewer)
        self.coordinates.setText(NO_SCAN if point is None else coordinates_text(point))
        for name, view in self.views.items():
            if grid is None:
                view.show_picture(None, pixel_mm=(1, 1))
                continue
            plane, at = view.plane, grid.nearest(self._viewer.dims.point)
            vertical, horizontal = plane.shown
            if self._drawn_at.get(name) != at[plane.axis]:
                picture = draw_plane(self._viewer.layers, grid, plane, grid.center_mm(at))
                view.show_picture(picture, pixel_mm=(grid.scale_mm[vertical], grid.scale_mm[horizontal]))
                self._drawn_at[name] = at[plane.axis]
            row = grid.shape[vertical] - 1 - at[vertical] if plane.is_upward else at[vertical]
            view.show_cross(at[horizontal] + 0.5, row + 0.5)

    def _point_at(self, name: str, column: float, row: float) -> None:
        """Move the viewer's point to a place in one of the pictures."""
        grid = self._grid
        if grid is None:
            return
        vertical, horizontal = self.views[name].plane.shown
        height = grid.shape[vertical]
        index: list[Any] = list(grid.nearest(self._viewer.dims.point))
        down = min(max(int(row), 0), height - 1)
        index[vertical] = height - 1 - down if self.views[name].plane.is_upward else down
        index[horizontal] = min(max(int(column), 0), grid.shape[horizontal] - 1)
        self._go_to(grid.center_mm(index))

    def _turn(self, name: str, slices: int) -> None:
        grid = self._grid
        if grid is None:
            return
        axis = self.views[name].plane.axis
        index = list(grid.nearest(self._viewer.dims.point))
        index[axis] = min(max(index[axis] + slices, 0), grid.shape[axis] - 1)
        self._go_to(grid.center_mm(index))

    def _go_to(self, point_mm: tuple[float, ...]) -> None:
        """Move the viewer's point; what a person did here is shown here at once."""
        self._viewer.dims.set_point(range(3), point_mm)
        self._show_point()
