import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from medseg.geometry import Geometry
from medseg.review.display import PLANES
from medseg.review.layers import LayerSource, labels_layer

pytestmark = pytest.mark.usefixtures("napari_installed")

ORDERS = list(itertools.permutations(range(3)))


@pytest.fixture
def shown():
    """A viewer without a window that shows an empty label map, 1 mm a voxel, and keeps its anatomy."""
    from napari.components import ViewerModel
    from napari.layers import Labels

    from medseg.review.orientation import Anatomy

    viewer = ViewerModel()
    anatomy = Anatomy(viewer)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (-10, -10, -10)
    data, attributes, _ = labels_layer(
        np.zeros((21, 21, 21), np.uint8), LayerSource("case", Geometry((21,) * 3, affine))
    )
    viewer.add_layer(Labels(data, **attributes))
    return viewer, anatomy


def letters(viewer):
    return tuple(viewer.canvas.overlays[f"medseg_{edge}"].text for edge in ("left", "right", "top", "bottom"))


@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: plane.name)
def test_each_plane_has_its_letters_at_its_edges(shown, plane):
    viewer, _ = shown
    viewer.dims.order = plane.order
    assert letters(viewer) == plane.edges


def test_a_transposed_picture_has_the_letters_of_its_own_edges(shown):
    viewer, _ = shown
    viewer.dims.order = (0, 2, 1)
    assert letters(viewer) == ("A", "P", "R", "L")


@pytest.mark.parametrize("order", ORDERS)
def test_nobody_is_mirrored_in_three_dimensions(order):
    from medseg.review.orientation import camera_orientation

    depth, vertical, horizontal = camera_orientation(order)
    signs = {"away": 1, "towards": -1, "up": 1, "down": -1, "right": 1, "left": -1}
    patient = {0: (0, 0, 1), 1: (0, -1, 0), 2: (-1, 0, 0)}  # the screen's axes as right, front, up
    forward, up, right = (
        np.array(patient[axis]) * signs[way] for axis, way in zip(order, (depth, vertical, horizontal), strict=True)
    )
    np.testing.assert_array_equal(np.cross(forward, up), right)


@pytest.mark.parametrize("order", [order for order in ORDERS if order[1] == 0])
def test_heads_are_up(order):
    from medseg.review.orientation import camera_orientation

    assert camera_orientation(order)[1] == "up"


@pytest.mark.parametrize(
    ("looks", "up", "expected"),
    [
        ((0, 1, 0), (1, 0, 0), ("R", "L", "S", "I")),  # towards the back: the face is seen
        ((0, -1, 0), (1, 0, 0), ("L", "R", "S", "I")),
        ((0, 0, 1), (1, 0, 0), ("P", "A", "S", "I")),  # towards the left: the right ear is seen
        ((1, 0, 0), (0, -1, 0), ("R", "L", "A", "P")),  # towards the head: from the feet
    ],
)
def test_letters_follow_the_camera_around_the_head(shown, looks, up, expected):
    viewer, _ = shown
    viewer.dims.ndisplay = 3
    viewer.scene.camera.set_view_direction(looks, up)
    assert letters(viewer) == expected


def test_the_cross_hair_is_told_in_the_patients_millimetres(shown):
    viewer, _ = shown
    viewer.dims.set_point(range(3), (7, 4, -3))  # towards head, back, left
    assert viewer.canvas.overlays["medseg_point"].text == "R 3.0  P 4.0  S 7.0 mm"


@pytest.mark.parametrize(
    ("point", "text"),
    [((-3, 4, -5), "L 3.0  A 4.0  I 5.0 mm"), ((0, -0.04, 0.04), "R 0.0  A 0.0  S 0.0 mm")],
)
def test_a_point_is_told_by_its_sides(point, text):
    from medseg.review.orientation import coordinates_text

    assert coordinates_text(point) == text


@pytest.mark.parametrize(
    ("mode", "moves", "expected"), [("pan_zoom", 0, (0, 5, 6)), ("pan_zoom", 2, (0, 0, 0)), ("paint", 0, (0, 0, 0))]
)
def test_a_click_on_the_canvas_moves_the_cross_hair_and_a_drag_or_a_stroke_does_not(shown, mode, moves, expected):
    from medseg.review.orientation import point_on_click

    viewer, _ = shown
    viewer.dims.set_point(range(3), (0, 0, 0))
    viewer.layers[0].mode = mode
    event = SimpleNamespace(type="mouse_press", position=(0, 5, 6))
    gesture = point_on_click(viewer, event)
    next(gesture)
    for _ in range(moves):
        event.type = "mouse_move"
        next(gesture)
    event.type = "mouse_release"
    assert list(gesture) == []
    assert viewer.dims.point == expected


def test_layers_that_medseg_did_not_make_get_no_letters():
    from napari.components import ViewerModel

    from medseg.review.orientation import Anatomy

    viewer = ViewerModel()
    Anatomy(viewer)
    viewer.add_image(np.zeros((4, 5, 6)))
    assert letters(viewer) == ("", "", "", "")
    assert not viewer.canvas.overlays["medseg_point"].visible


def test_a_stopped_anatomy_leaves_nothing_behind(shown):
    viewer, anatomy = shown
    anatomy.stop()
    viewer.dims.order = (1, 0, 2)
    assert not [key for key in viewer.canvas.overlays if key.startswith("medseg")]
