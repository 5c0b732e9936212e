import importlib

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("display")


@pytest.fixture
def head(viewer):
    """A viewer with the made head."""
    viewer.open_sample("medseg", "head")
    return viewer


@pytest.fixture
def views(head, qtbot):
    """The three views of the made head, docked and drawn."""
    orthogonal = importlib.import_module("medseg.review.widgets.orthogonal_views")
    widget = orthogonal.OrthogonalViews(head)
    head.window.add_dock_widget(widget, name="Orthogonal views", area="right")
    qtbot.waitUntil(lambda: widget.views["axial"].isVisible() and colors(widget.views["axial"]).any())
    return widget


def colors(view) -> np.ndarray:
    """What stands on the screen: (rows, columns, 3)."""
    image = view.grab().toImage().convertToFormat(view.grab().toImage().Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def click(qtbot, view, column, row):
    from qtpy.QtCore import Qt

    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=view.place_of(column + 0.5, row + 0.5).toPoint())


def test_a_click_in_the_axial_view_moves_the_viewer_and_the_other_views(head, views, qtbot):
    layer = head.layers[0]
    before = colors(views.views["sagittal"])
    click(qtbot, views.views["axial"], 40, 60)
    assert tuple(np.rint(layer.world_to_data(head.dims.point))[1:]) == (60, 40)
    assert (colors(views.views["sagittal"]) != before).any()


def test_a_click_near_the_top_of_the_coronal_view_goes_to_the_head(head, views, qtbot):
    click(qtbot, views.views["coronal"], 60, 2)
    z, _, x = np.rint(head.layers[0].world_to_data(head.dims.point))
    assert (z, x) == (head.layers[0].data.shape[0] - 3, 60)
    assert views.coordinates.text().split()[4] == "S"


def test_a_click_outside_the_picture_stays_within_the_scan(head, views, qtbot):
    from qtpy.QtCore import QPoint, Qt

    qtbot.mouseClick(views.views["axial"], Qt.MouseButton.LeftButton, pos=QPoint(1, 1))
    y, x = np.rint(head.layers[0].world_to_data(head.dims.point))[1:]
    assert 0 <= y < head.layers[0].data.shape[1]
    assert 0 <= x < head.layers[0].data.shape[2]


def test_the_coordinates_are_those_of_the_affine_of_an_oblique_scan(head, views, qtbot):
    layer = head.layers[0]
    source = layer.metadata["medseg"]
    click(qtbot, views.views["axial"], 30, 100)
    index = source.grid.index_of(layer.world_to_data(head.dims.point))
    x, y, z = (source.geometry.affine @ [*index, 1])[:3]
    words = views.coordinates.text().split()
    assert words[::2] == ["RL"[int(x < 0)], "AP"[int(y < 0)], "SI"[int(z < 0)], "mm"]
    assert [float(word) for word in words[1:6:2]] == pytest.approx(np.abs([x, y, z]), abs=0.06)


def test_the_capsule_on_the_patients_right_is_at_the_left_of_axial_and_coronal_views(head, views, qtbot):
    image = head.layers[0]
    head.layers[1].visible = False
    brightest = np.unravel_index(image.data.argmax(), image.data.shape)
    head.dims.set_point(range(3), image.data_to_world(brightest))
    views.draw()
    for name in ("axial", "coronal"):
        view = views.views[name]
        seen = colors(view)
        at = view.place_of(brightest[2] + 0.5, 0)
        assert at.x() < view.width() / 2
        white = (seen.min(axis=2) > 240).nonzero()[1]
        assert np.median(white) < view.width() / 2


def test_a_stroke_in_the_viewer_appears_in_all_three_views(head, views, qtbot):
    labels = head.layers[1]
    labels.brush_size = 15
    labels.n_edit_dimensions = 3
    at = np.rint(labels.world_to_data(head.dims.point)).astype(int)
    before = {name: colors(view) for name, view in views.views.items()}
    labels.paint(tuple(at), 4)
    for name, view in views.views.items():
        qtbot.waitUntil(lambda name=name, view=view: (colors(view) != before[name]).any(), timeout=5000)
    labels.undo()
    for name, view in views.views.items():
        qtbot.waitUntil(lambda name=name, view=view: (colors(view) == before[name]).all(), timeout=5000)


def test_a_change_from_outside_appears_after_a_refresh(head, views, qtbot):
    before = colors(views.views["coronal"])
    head.layers[1].data[...] = 2
    head.layers[1].refresh()
    qtbot.waitUntil(lambda: bool((colors(views.views["coronal"]) != before).any()), timeout=5000)


def test_a_hidden_layer_is_hidden_in_all_views(head, views, qtbot):
    head.layers[1].visible = False
    qtbot.waitUntil(lambda: np.ptp(colors(views.views["axial"])[110:140, 100:120], axis=2).max() == 0, timeout=5000)


def test_the_wheel_turns_slices_and_with_ctrl_zooms_one_view_alone(head, views):
    from qtpy.QtCore import QPoint, QPointF, Qt
    from qtpy.QtGui import QWheelEvent

    def turn(view, modifier):
        place = QPointF(view.width() / 2, view.height() / 2)
        view.wheelEvent(
            QWheelEvent(
                place, view.mapToGlobal(place), QPoint(0, 0), QPoint(0, 120), Qt.MouseButton.NoButton, modifier,
                Qt.ScrollPhase.NoScrollPhase, False,
            )
        )  # fmt: skip

    axial, coronal = views.views["axial"], views.views["coronal"]
    step = head.dims.current_step
    turn(axial, Qt.KeyboardModifier.NoModifier)
    assert head.dims.current_step == (step[0] + 1, step[1], step[2])
    corner, other = axial.place_of(0, 0), coronal.place_of(0, 0)
    turn(axial, Qt.KeyboardModifier.ControlModifier)
    assert axial.place_of(0, 0).x() < corner.x()
    assert coronal.place_of(0, 0) == other
    assert head.dims.current_step == (step[0] + 1, step[1], step[2])


def test_without_a_scan_the_views_say_so(viewer, qtbot):
    orthogonal = importlib.import_module("medseg.review.widgets.orthogonal_views")
    widget = orthogonal.OrthogonalViews(viewer)
    viewer.window.add_dock_widget(widget)
    viewer.add_image(np.zeros((4, 5, 6)))
    qtbot.wait(100)
    assert widget.coordinates.text() == "No scan is open."


def test_views_that_were_closed_let_the_viewer_go(head, views, qtbot):
    head.window.remove_dock_widget(views)
    views.close()
    drawn = colors(views.views["axial"])
    head.dims.set_current_step(0, 3)
    head.layers[1].paint((3, 10, 10), 2)
    qtbot.wait(100)
    assert (colors(views.views["axial"]) == drawn).all()


def test_clicks_on_the_canvas_are_followed_only_while_the_views_are_seen(head, views):
    from medseg.review.orientation import point_on_click

    assert head.mouse_drag_callbacks.count(point_on_click) == 1
    views.hide()
    assert point_on_click not in head.mouse_drag_callbacks
    views.show()
    assert head.mouse_drag_callbacks.count(point_on_click) == 1
