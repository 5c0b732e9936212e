import importlib

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("display")


@pytest.fixture
def plot(viewer, qtbot):
    """The plot of the made head's lesion, docked under the picture."""
    viewer.open_sample("medseg", "head")
    viewer.layers[1].selected_label = 4
    widget = importlib.import_module("medseg.review.widgets.area_plot").AreaPlot(viewer)
    viewer.window.add_dock_widget(widget, name="Area by slice", area="bottom")
    qtbot.waitUntil(widget.isVisible)
    return widget


def test_the_curve_is_the_area_of_the_selected_label_in_each_slice(viewer, plot):
    labels = viewer.layers[1]
    counts = (labels.data == 4).sum(axis=(1, 2))
    np.testing.assert_allclose(plot.curve.areas, counts * 1.5 * 1.5)
    labels.selected_label = 2
    np.testing.assert_allclose(plot.curve.areas, (labels.data == 2).sum(axis=(1, 2)) * 1.5 * 1.5)
    viewer.dims.order = (1, 0, 2)
    np.testing.assert_allclose(plot.curve.areas, (labels.data == 2).sum(axis=(0, 2)) * 1.5 * 4)


def test_a_click_goes_to_the_slice_under_it(viewer, plot, qtbot):
    from qtpy.QtCore import QPoint, Qt

    largest = int(plot.curve.areas.argmax())
    place = QPoint(round(plot.curve.place_of(largest)), 20)
    qtbot.mouseClick(plot.curve, Qt.MouseButton.LeftButton, pos=place)
    assert viewer.dims.current_step[0] == largest
    assert plot.curve.at == largest
    assert plot.words.text().startswith(f"lesion, axial {largest}: ")


def test_the_line_follows_the_viewer(viewer, plot):
    viewer.dims.set_current_step(0, 11)
    assert plot.curve.at == 11


def test_the_curve_follows_an_edit(viewer, plot, qtbot):
    labels = viewer.layers[1]
    viewer.dims.set_current_step(0, 2)
    labels.brush_size = 9
    labels.paint((2, 70, 60), 4)
    expected = (labels.data[2] == 4).sum() * 1.5 * 1.5
    assert expected > 0
    qtbot.waitUntil(lambda: plot.curve.areas[2] == pytest.approx(expected), timeout=5000)


def test_without_labels_the_plot_says_so(viewer, plot):
    viewer.layers.clear()
    assert plot.words.text() == "No labels are open."
