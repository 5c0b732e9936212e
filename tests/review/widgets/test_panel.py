"""The review panel in a real window, as a person uses it: keys on the canvas, dialogs, timers, a model that runs."""

import importlib
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from medseg.bundle import load_bundle
from medseg.record import holder_of
from medseg.review import ReviewFolder
from medseg.review.autosave import recover

pytestmark = pytest.mark.usefixtures("display")

LONGEST_PAUSE = 0.5
"""Of the window, as a share of the run: a window that waits for a segmentation, waits for all of it."""


@pytest.fixture
def press(panel, qtbot):
    """A function that presses a key while the canvas has the focus, as napari's canvas gets it."""
    canvas = importlib.import_module("qtpy.QtWidgets").QApplication.instance()
    native = next(widget for widget in canvas.allWidgets() if type(widget).__name__ == "CanvasBackendDesktop")
    qt = importlib.import_module("qtpy.QtCore").Qt

    def pressed(key, *modifiers):
        held = qt.KeyboardModifier.NoModifier
        for modifier in modifiers:
            held |= getattr(qt.KeyboardModifier, f"{modifier}Modifier")
        qtbot.keyClick(native, getattr(qt.Key, f"Key_{key}"), held)
        qtbot.wait(50)

    return pressed


def answer(qtbot, act, text):
    """Do ``act`` in the event loop, and click the button of that text in the question that follows; the question."""
    core, widgets = (importlib.import_module(f"qtpy.Qt{name}") for name in ("Core", "Widgets"))
    seen = []

    def click():
        box = widgets.QApplication.activeModalWidget()
        if isinstance(box, widgets.QMessageBox):
            seen.append(box.text())
            next(button for button in box.buttons() if button.text() == text).click()
            timer.stop()

    timer = core.QTimer()
    timer.timeout.connect(click)
    timer.start(50)
    core.QTimer.singleShot(0, act)
    qtbot.waitUntil(lambda: bool(seen), timeout=20_000)
    qtbot.wait(200)
    return seen[0]


def gray_share(view):
    """The share of a plane's picture that is neither black nor coloured."""
    picture = view.grab().toImage()
    colors = [picture.pixelColor(x, y) for x in range(0, picture.width(), 4) for y in range(0, picture.height(), 4)]
    return np.mean([one.red() == one.green() == one.blue() > 20 for one in colors])


def stroke(panel, value=2):
    panel.desk.layers.labels.paint(panel.desk.layers.grid.position_of((2, 2, 10)), value)
    panel.desk.layers.absorb()


@pytest.mark.parametrize("active", ["labels", "image"])
def test_keys_do_what_the_card_says_and_not_what_napari_does_with_them(panel, press, active):
    labels, editor = panel.desk.layers.labels, panel.desk.session.editor
    panel.viewer.layers.selection.active = labels if active == "labels" else panel.desk.layers.images[0]
    labels.mode = "paint"
    press(2)
    assert (editor.chosen_label, labels.selected_label, str(labels.mode)) == (2, 2, "paint")
    press(1)
    assert editor.chosen_label == labels.selected_label == 1
    for number in range(3, 10):
        press(number)
    assert (editor.chosen_label, str(labels.mode)) == (1, "paint")
    stroke(panel)
    painted = editor.labels.copy()
    press("Z", "Control")
    np.testing.assert_array_equal(editor.labels, editor.opened)
    press("Z", "Control", "Shift")
    np.testing.assert_array_equal(editor.labels, painted)
    press("O")
    assert labels.contour == 2
    press("D")
    assert "difference" in panel.desk.layers.maps
    press("1")
    assert editor.chosen_label == 1
    press("F")
    assert panel.decide.dialog.windowTitle() == "Flag: scan_0"
    panel.decide.dialog.reject()
    press("A")
    assert panel.desk.worklist.case("scan_0").state == "accepted"
    press("N")
    assert panel.desk.session.case_id == "scan_1"
    press("2")
    assert panel.desk.session.editor.chosen_label == 2


def test_letters_typed_into_a_comment_are_no_keys(panel, qtbot):
    panel.tabs.setCurrentWidget(panel.decide)
    qtbot.keyClicks(panel.decide.comment, "a fine rim near n1")
    assert panel.decide.comment.text() == "a fine rim near n1"
    assert panel.desk.worklist.case("scan_0").state == "in_review"


def test_a_case_is_rejected_with_a_reason_only(panel, press):
    press("R")
    dialog = panel.decide.dialog
    assert dialog.isVisible()
    assert not dialog.ok.isEnabled()
    dialog.reason.setCurrentText("   ")
    assert not dialog.ok.isEnabled()
    dialog.reason.setCurrentText("missed part")
    assert dialog.ok.isEnabled()
    dialog.ok.click()
    assert panel.desk.session.review.state == "rejected"
    assert panel.desk.session.entries[-1].reason == "missed part"


def test_a_structure_is_rejected_by_its_name_and_the_comment_is_on_it_too(panel, press):
    structure = panel.desk.session.case.label_table.names[1]
    panel.decide.structure.setCurrentText(structure)
    press("R")
    dialog = panel.decide.dialog
    assert dialog.windowTitle() == f"Reject: {structure.replace('_', ' ')} of scan_0"
    dialog.reason.setCurrentText("missed part")
    dialog.comment.setPlainText("the tail")
    dialog.ok.click()
    assert [entry.structure for entry in panel.desk.session.entries[-2:]] == [structure, structure]
    assert panel.desk.session.review.state == "in_review"


def test_tools_on_two_labels_begin_with_two_and_a_limited_brush_with_what_is_shown(panel):
    assert panel.edit.other.currentData() == 2
    window = panel.desk.layers.images[0].contrast_limits
    assert (panel.edit.lowest.value(), panel.edit.highest.value()) == pytest.approx(window, abs=0.5)
    panel.edit.is_limited.setChecked(True)
    assert panel.desk.session.editor.rules.intensity_range == (panel.edit.lowest.value(), panel.edit.highest.value())


def test_a_tool_that_finds_nothing_to_change_says_why(panel):
    panel.use_tool("keep_largest")
    assert "nothing to change here" in panel.line.text()


def test_the_model_that_fits_the_labels_of_a_case_is_proposed(panel, scans, qtbot):
    fitting = "dformer_hippocampus"
    if panel.segment.bundle.findText(fitting) < 0:
        pytest.skip(f"the weights of {fitting} are not here: medseg bundle download {fitting}")
    worklist = replace(panel.desk.worklist, label_table=load_bundle(fitting).label_table)
    panel.desk.show_worklist(worklist)
    panel.worklist.open_case("scan_1")
    chosen = load_bundle(panel.segment.bundle.currentText()).label_table
    assert chosen.names == panel.desk.session.case.label_table.names


def test_planes_and_curves_lie_under_the_picture_not_under_the_panel(panel, qtbot):
    panel.show_planes()
    qtbot.waitUntil(panel.planes.isVisible, timeout=5000)
    qtbot.wait(300)
    origin = importlib.import_module("qtpy.QtCore").QPoint(0, 0)
    right = panel.planes.mapTo(panel.window(), origin).x() + panel.planes.width()
    assert right <= panel.mapTo(panel.window(), origin).x()


def test_in_3d_the_planes_still_show_the_scan(panel, qtbot):
    panel.show_planes()
    qtbot.waitUntil(panel.planes.isVisible, timeout=5000)
    image = panel.desk.layers.images[0]
    panel.see.volume.setChecked(True)
    assert not image.visible
    panel.planes.draw()
    assert gray_share(panel.planes.views["axial"]) > 0.2
    panel.see.volume.setChecked(False)
    assert image.visible
    image.visible = False
    panel.planes.draw()
    assert gray_share(panel.planes.views["axial"]) < 0.2


def test_strokes_are_on_the_disk_within_the_interval_of_the_autosave(panel, scans, qtbot):
    path = ReviewFolder.of(scans).autosave_of("scan_0")
    stroke(panel)
    assert not path.exists()
    interval_ms = round(1000 * panel.desk.preferences.autosave_s)
    qtbot.waitUntil(path.exists, timeout=interval_ms + 1500)
    back = recover(path, panel.desk.session.editor.opened)
    np.testing.assert_array_equal(back.labels, panel.desk.session.editor.labels)
    assert panel.saved.text() == "edits saved"


def test_a_label_that_is_locked_in_the_list_is_left_alone_by_the_brush(panel):
    qt = importlib.import_module("qtpy.QtCore").Qt
    lists = importlib.import_module("medseg.review.widgets.label_list")
    editor, labels = panel.desk.session.editor, panel.desk.layers.labels
    box = panel.edit.labels.item(0, lists.LOCK)
    box.setCheckState(qt.CheckState.Checked)
    labels.brush_size, labels.n_edit_dimensions = 30, 3
    labels.paint(panel.desk.layers.grid.position_of((14, 14, 10)), 2)
    panel.desk.layers.absorb()
    np.testing.assert_array_equal(editor.labels == 1, editor.opened == 1)
    assert (editor.labels != editor.opened).any()
    box.setCheckState(qt.CheckState.Unchecked)
    labels.paint(panel.desk.layers.grid.position_of((14, 14, 10)), 2)
    panel.desk.layers.absorb()
    assert (editor.labels == 1).sum() < (editor.opened == 1).sum()


@pytest.mark.parametrize("text", ["Keep for later", "Discard edits", "Stay"])
def test_a_person_is_asked_before_edits_that_nobody_accepted_are_left(panel, qtbot, scans, text):
    stroke(panel)
    path = ReviewFolder.of(scans).autosave_of("scan_0")
    asked = answer(qtbot, panel.worklist.open_next, text)
    assert asked == "The edits of scan_0 are saved, but not accepted."
    assert panel.desk.session.case_id == ("scan_0" if text == "Stay" else "scan_1")
    if text == "Stay":
        assert (panel.desk.session.editor.labels[2, 2, 10], panel.desk.layers.labels.data.max()) == (2, 2)
    else:
        assert path.exists() == (text == "Keep for later")
        panel.worklist.open_case("scan_0")
        assert (panel.desk.session.editor.labels[2, 2, 10] == 2) == (text == "Keep for later")


def test_the_window_stays_where_the_person_would_rather_stay(panel, qtbot):
    stroke(panel)
    window = panel.window()
    answer(qtbot, window.close, "Stay")
    assert window.isVisible()
    assert panel.desk.session.case_id == "scan_0"


def test_the_panel_comes_back_where_the_person_would_rather_stay(panel, qtbot):
    stroke(panel)
    dock = panel.parent()
    answer(qtbot, dock.destroyOnClose, "Stay")
    qtbot.waitUntil(panel.isVisible, timeout=5000)
    assert panel.desk.session.case_id == "scan_0"
    answer(qtbot, panel.parent().destroyOnClose, "Keep for later")
    qtbot.waitUntil(lambda: panel.desk.session is None, timeout=5000)


def test_closing_a_viewer_from_a_program_keeps_the_edits_and_frees_the_case(panel, scans):
    stroke(panel)
    folder = ReviewFolder.of(scans)
    assert holder_of(folder.lock_of("scan_0")).owner == "R. Eader"
    panel.viewer.close()
    assert panel.desk.session is None
    panel.is_over = True  # Qt has deleted it with its window
    assert holder_of(folder.lock_of("scan_0")) is None
    assert folder.autosave_of("scan_0").exists()


def test_a_model_runs_beside_the_window_tells_how_far_it_is_and_stops_when_told(panel, qtbot, test_data, tmp_path):
    if not load_bundle("dformer_hippocampus").weights_path.is_file():
        pytest.skip("the weights of dformer_hippocampus are not here: medseg bundle download dformer_hippocampus")
    folder = tmp_path / "hippocampus"
    folder.mkdir()
    shutil.copy(sorted((test_data / "Task04_Hippocampus").rglob("imagesTr/hippocampus_*.nii.gz"))[0], folder)
    panel.worklist.open_folder(folder)
    panel.worklist.open_next()
    segment, editor = panel.segment, panel.desk.session.editor
    segment.bundle.setCurrentText("dformer_hippocampus")
    segment.runtime.setCurrentText("torch")
    segment.run()
    segment.stop_button.click()
    qtbot.waitUntil(lambda: not segment.is_busy, timeout=60_000)
    assert panel.line.text() == "stopped; nothing was changed"
    assert not editor.labels.any()
    assert not list((folder / "review" / "proposals").glob("*.nii.gz"))

    ticks, shown = [], []
    timer = importlib.import_module("qtpy.QtCore").QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    segment.progress.valueChanged.connect(lambda value: shown.append((value, segment.progress.maximum())))
    timer.start(20)
    segment.run()
    qtbot.waitUntil(lambda: not segment.is_busy, timeout=120_000)
    timer.stop()
    assert (editor.labels == 1).any()
    assert (editor.labels == 2).any()
    assert "done in" in panel.line.text()
    assert [panel.edit.labels.item(row, 1).text() for row in range(panel.edit.labels.rowCount())] == [
        "anterior hippocampus",
        "posterior hippocampus",
    ]
    done, total = max(pair for pair in shown if pair[0] > 0)
    assert done == total
    print(f"slowest tick {np.diff(ticks).max():.2f} s, median {np.median(np.diff(ticks)) * 1000:.0f} ms")
    assert np.diff(ticks).max() < LONGEST_PAUSE * (ticks[-1] - ticks[0])
    panel.edit.undo()
    assert not editor.labels.any()
