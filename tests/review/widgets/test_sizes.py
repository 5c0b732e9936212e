"""Diameters that follow the edits in a real window, and do not hold them up."""

import importlib
import time

import nibabel as nib
import numpy as np
import pytest

from medseg.review.measure import longest_diameter_3d, recist

pytestmark = pytest.mark.usefixtures("display")

SHAPE = (40, 36, 20)
AFFINE = np.diag([-1.5, -1.5, 3.0, 1.0])


@pytest.fixture
def panel(viewer, tmp_path, write_scan, qtbot):
    """The panel with a case of two labels, its tab of views shown."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:20, 8:20, 6:14] = 1
    labels[24:32, 20:30, 6:14] = 2
    for number in range(2):
        write_scan(tmp_path / f"scan_{number}.nii.gz", shape=SHAPE, affine=AFFINE, seed=number)
        nib.save(nib.Nifti1Image(np.roll(labels, number, axis=0), AFFINE), tmp_path / f"scan_{number}_seg.nii.gz")
    made = importlib.import_module("medseg.review.widgets").ReviewPanel(viewer)
    viewer.window.add_dock_widget(made, name="review", area="right")
    made.decide.name_reviewer("R. Eader")
    made.worklist.open_folder(tmp_path)
    made.worklist.open_next()
    made.tabs.setCurrentWidget(made.see)
    yield made
    if not made.is_over:
        made.close()


def shown(panel):
    """The table as a person reads it: volume and lengths of each label by its name."""
    table = panel.see.measures
    rows = [[table.item(row, column).text() for column in range(5)] for row in range(table.rowCount())]
    return {name: tuple(lengths) for name, *lengths in rows}


def expected(panel):
    editor = panel.desk.session.editor
    found = {}
    for label in editor.label_table:
        if (editor.labels == label.index).any():
            axes = recist(editor.labels, label.index, geometry=editor.geometry)
            longest = longest_diameter_3d(editor.labels, label.index, geometry=editor.geometry)
            lengths = (axes.longest.length_mm, axes.short.length_mm, longest.length_mm)
            volume = (editor.labels == label.index).sum() * 1.5 * 1.5 * 3 / 1000
            found[label.name.replace("_", " ")] = (f"{volume:.2f}", *(f"{length:.1f}" for length in lengths))
    return found


def test_diameters_are_there_without_being_asked_for_and_follow_every_edit(panel, qtbot):
    qtbot.waitUntil(lambda: shown(panel) == expected(panel), timeout=20_000)
    before = shown(panel)
    labels = panel.desk.layers.labels
    labels.brush_size = 6
    labels.paint(panel.desk.layers.grid.position_of((2, 2, 10)), 2)
    qtbot.waitUntil(lambda: shown(panel) == expected(panel), timeout=20_000)
    assert shown(panel)["label 1"] == before["label 1"]
    assert shown(panel)["label 2"] != before["label 2"]
    panel.edit.undo()
    qtbot.waitUntil(lambda: shown(panel) == before, timeout=20_000)


def test_a_stroke_puts_the_measurement_off_and_says_that_the_old_one_is_old(panel, qtbot):
    qtbot.waitUntil(lambda: shown(panel) == expected(panel), timeout=20_000)
    grey = importlib.import_module("medseg.review.widgets.size_table").OUTDATED
    started = time.monotonic()
    while time.monotonic() - started < 1.0:
        panel.desk.layers.labels.paint(panel.desk.layers.grid.position_of((2, 2, 10)), 2)
        panel.edit.undo()
        qtbot.wait(20)
        assert not panel.sizes._sizes.is_busy
    assert panel.see.measures.item(1, 1).foreground().color() == grey
    qtbot.waitUntil(lambda: not panel.sizes.is_outdated(2), timeout=20_000)
    assert panel.see.measures.item(1, 1).foreground().color() != grey


def test_nothing_is_measured_while_nobody_looks(panel, qtbot):
    qtbot.waitUntil(lambda: shown(panel) == expected(panel), timeout=20_000)
    panel.tabs.setCurrentWidget(panel.edit)
    panel.desk.layers.labels.paint(panel.desk.layers.grid.position_of((2, 2, 10)), 1)
    qtbot.wait(1000)
    assert panel.sizes.is_outdated(1)
    panel.tabs.setCurrentWidget(panel.see)
    qtbot.waitUntil(lambda: shown(panel) == expected(panel), timeout=20_000)


def test_another_case_shows_its_own_diameters(panel, qtbot):
    qtbot.waitUntil(lambda: shown(panel) == expected(panel), timeout=20_000)
    panel.desk.open_case("scan_1")
    qtbot.waitUntil(lambda: not panel.sizes.is_outdated(1) and shown(panel) == expected(panel), timeout=20_000)
    panel.desk.close_case()
    assert panel.see.measures.rowCount() == 0


def test_a_double_click_goes_to_the_slice_with_the_longest_diameter(panel, qtbot):
    labels, editor = panel.desk.layers.labels, panel.desk.session.editor
    labels.brush_size = 1
    labels.paint(panel.desk.layers.grid.position_of((38, 34, 12)), 2)
    qtbot.waitUntil(lambda: shown(panel) == expected(panel), timeout=20_000)
    panel.desk.layers.jump_to((10, 10, 7))
    panel.see.measures.cellDoubleClicked.emit(1, 0)
    assert panel.desk.layers.position[2] == recist(editor.labels, 2, geometry=editor.geometry).slice_index == 12
