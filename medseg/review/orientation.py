"""Which side is which: the patient's directions and coordinates in a napari viewer, whatever it shows.

In: napari's viewer model (no Qt), with layers in the screen's order of ``medseg.review.display``. Out: a camera that
shows heads upright and never mirrored, a letter at each edge of the canvas, and where the cross-hair lies in the
patient. The cross-hair is the viewer's own point (``dims.point``); every view of a scan shares it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Layer
from numpy.typing import NDArray

from medseg.review.display import OPPOSITE, TOWARDS
from medseg.review.layers import LayerSource, source_of

__all__ = [
    "Anatomy",
    "camera_orientation",
    "coordinates_text",
    "edge_letters",
    "patient_point",
    "point_on_click",
    "reference_layer",
]

DIRECTIONS: Final = {"S": (0.0, 0.0, 1.0), "P": (0.0, -1.0, 0.0), "L": (-1.0, 0.0, 0.0)}
"""The screen's axes in the patient's (right, front, up)."""

EDGES: Final = {"left": "middle_left", "right": "middle_right", "top": "top_center", "bottom": "bottom_center"}
LETTER_COLOR: Final = "#ffd24d"
LETTER_SIZE: Final = 14
TEXT_SIZE: Final = 9
"""Larger words would run into the letter at the bottom of a narrow picture."""


def camera_orientation(order: Sequence[int]) -> tuple[str, str, str]:
    """Where depth, vertical and horizontal axis of a canvas run, for an order of the screen's axes.

    Heads are up, the back is below or at the right; depth follows, so that nobody is shown mirrored in 3D.
    """
    vertical = "up" if order[-2] == 0 else "down"
    swaps = sum(first > second for place, first in enumerate(order) for second in order[place + 1 :])
    is_away = (swaps + (vertical == "up")) % 2 == 0
    return "away" if is_away else "towards", vertical, "right"


def edge_letters(order: Sequence[int], orientation: Sequence[str]) -> dict[str, str]:
    """The patient's direction at the left, right, top and bottom of a flat picture."""
    vertical, horizontal = TOWARDS[order[-2]], TOWARDS[order[-1]]
    below, right = vertical, horizontal
    if str(orientation[1]) == "up":
        below = OPPOSITE[vertical]
    if str(orientation[2]) == "left":
        right = OPPOSITE[horizontal]
    return {"left": OPPOSITE[right], "right": right, "top": OPPOSITE[below], "bottom": below}


def reference_layer(layers: Sequence[Layer]) -> tuple[Layer, LayerSource] | None:
    """The layer whose grid coordinates are read on: the first that medseg made; None without one."""
    for layer in layers:
        source = source_of(layer.metadata)
        if source is not None:
            return layer, source
    return None


def patient_point(viewer: Any) -> tuple[float, float, float] | None:
    """The cross-hair in the patient's millimetres, RAS+, through the scan's own affine; None without a scan."""
    reference = reference_layer(viewer.layers)
    if reference is None or viewer.dims.ndim != 3:
        return None
    layer, source = reference
    return source.grid.world_mm(layer.world_to_data(viewer.dims.point))


def coordinates_text(point_mm: Sequence[float]) -> str:
    """A point (x, y, z) RAS+ in words: ``"R 12.0  P 3.5  S 40.0 mm"``."""
    letters = ("RL", "AP", "SI")
    rounded = [round(float(value), 1) for value in point_mm]
    parts = [f"{pair[int(value < 0)]} {abs(value):.1f}" for value, pair in zip(rounded, letters, strict=True)]
    return "  ".join(parts) + " mm"


def point_on_click(viewer: Any, event: Any) -> Iterator[None]:
    """A mouse callback of napari: a click on the canvas, no drag, puts the cross-hair there; brushes are left alone."""
    active = viewer.layers.selection.active
    is_moving = active is None or str(active.mode) == "pan_zoom"
    was_dragged = False
    yield
    while event.type == "mouse_move":
        was_dragged = True
        yield
    if is_moving and not was_dragged and viewer.dims.ndisplay == 2 and len(event.position) == viewer.dims.ndim:
        viewer.dims.set_point(range(viewer.dims.ndim), event.position)


class Anatomy:
    """Keeps a viewer's camera, edge letters and coordinates true to the patient, until it is stopped.

    Args:
        viewer: the model of a viewer, or the viewer itself.
        ask_name: called where the cross-hair has moved, and the caller calls ``name_point`` when there is time: new
            words on a canvas cost more than a slice of a label map. None: the words follow at once.
    """

    def __init__(self, viewer: Any, *, ask_name: Callable[[], object] | None = None) -> None:
        self._viewer = viewer
        overlays = viewer.canvas.overlays
        for edge, position in EDGES.items():
            overlays[f"medseg_{edge}"] = TextOverlay(
                position=position, color=LETTER_COLOR, font_size=LETTER_SIZE, box=False
            )
        overlays["medseg_point"] = TextOverlay(position="bottom_left", font_size=TEXT_SIZE, box=True)
        camera, dims, layers = viewer.scene.camera, viewer.dims, viewer.layers
        self._connections = [
            (dims.events.order, self._turn),
            (dims.events.ndisplay, self._turn),
            (camera.events.angles, self._name_edges),
            (camera.events.orientation, self._name_edges),
            (dims.events.point, ask_name or self.name_point),
            (layers.events.inserted, self._turn),
            (layers.events.removed, self._turn),
        ]
        for event, callback in self._connections:
            event.connect(callback)
        self._turn()

    def stop(self) -> None:
        """Leave the viewer as it is, without letters."""
        for event, callback in self._connections:
            event.disconnect(callback)
        for key in (*EDGES, "point"):
            self._viewer.canvas.overlays.pop(f"medseg_{key}", None)

    def name_point(self) -> None:
        """Write where the cross-hair is."""
        point = patient_point(self._viewer)
        overlay = self._viewer.canvas.overlays["medseg_point"]
        overlay.text = "" if point is None else coordinates_text(point)
        overlay.visible = point is not None

    def _turn(self) -> None:
        if self._has_patient:
            self._viewer.scene.camera.orientation = camera_orientation(self._viewer.dims.order)
        self._name_edges()
        self.name_point()

    @property
    def _has_patient(self) -> bool:
        return self._viewer.dims.ndim == 3 and reference_layer(self._viewer.layers) is not None

    def _name_edges(self) -> None:
        letters = self._letters() if self._has_patient else dict.fromkeys(EDGES, "")
        for edge, letter in letters.items():
            overlay = self._viewer.canvas.overlays[f"medseg_{edge}"]
            overlay.text = letter
            overlay.visible = bool(letter)

    def _letters(self) -> dict[str, str]:
        camera, order = self._viewer.scene.camera, self._viewer.dims.order
        if self._viewer.dims.ndisplay == 2:
            return edge_letters(order, camera.orientation)
        forward, up = (_in_patient(way, order) for way in (camera.view_direction, camera.up_direction))
        right = np.cross(forward, up)
        return {
            "left": _main_letter(-right),
            "right": _main_letter(right),
            "top": _main_letter(up),
            "bottom": _main_letter(-up),
        }


def _in_patient(direction: Sequence[float], order: Sequence[int]) -> NDArray[np.float64]:
    """A direction of napari's scene, along the axes in their order of display, as (right, front, up)."""
    axes = np.array([DIRECTIONS[TOWARDS[axis]] for axis in order])
    turned: NDArray[np.float64] = np.array(direction, dtype=np.float64) @ axes
    return turned


def _main_letter(direction: NDArray[np.float64]) -> str:
    axis = int(np.abs(direction).argmax())
    return ("RL", "AP", "SI")[axis][int(direction[axis] < 0)]
