import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.geometry import Geometry
from medseg.labels import Label, LabelTable
from medseg.review import Change, LabelEditor, StrokeRules
from medseg.review.counts import VoxelCounts
from medseg.review.edits import NestedRegion, NestedRegions
from medseg.segmentation import Segmentation

TABLE = LabelTable(
    labels=(
        Label(index=1, name="liver", color=(200, 0, 0)),
        Label(index=2, name="spleen", color=(0, 200, 0)),
        Label(index=4, name="stomach", color=(0, 0, 200)),
    )
)
BOX = (slice(1, 4), slice(2, 5), slice(0, 3))


def an_editor(labels: np.ndarray | None = None) -> LabelEditor:
    array = np.zeros((6, 7, 8), np.uint8) if labels is None else labels
    return LabelEditor.of(Segmentation(array, Geometry((6, 7, 8), np.eye(4)), TABLE))


def test_a_stroke_changes_its_box_and_nothing_else():
    editor = an_editor()
    delta = editor.paint(BOX, np.full((3, 3, 3), 2, np.uint8))
    expected = np.zeros((6, 7, 8), np.uint8)
    expected[BOX] = 2
    np.testing.assert_array_equal(editor.labels, expected)
    assert len(delta) == 27
    assert editor.voxels_changed() == {"spleen": 27}


def test_what_was_opened_stays_as_it_was():
    labels = np.zeros((6, 7, 8), np.uint8)
    editor = an_editor(labels)
    editor.paint(BOX, np.full((3, 3, 3), 1, np.uint8))
    assert not labels.any()
    assert not editor.opened.any()


def test_labels_cannot_be_written_past_the_history():
    with pytest.raises(ValueError, match="read-only"):
        an_editor().labels[0, 0, 0] = 1


def test_protected_labels_neither_go_nor_appear():
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[2] = 4
    editor = an_editor(labels)
    editor.rules = StrokeRules(protected=frozenset({4}))
    editor.paint(BOX, np.full((3, 3, 3), 1, np.uint8))
    np.testing.assert_array_equal(editor.labels[2], 4)
    assert (editor.labels[1, 2:5, :3] == 1).all()
    editor.edit("all stomach", lambda before: np.full_like(before, 4))
    assert int((editor.labels == 4).sum()) == 7 * 8


def test_a_brush_limited_to_intensities_colours_those_only_and_erases_everywhere():
    editor = an_editor()
    editor.rules = StrokeRules(intensity_range=(100, 200))
    intensities = np.zeros((3, 3, 3), np.float32)
    intensities[0] = 150
    editor.paint(BOX, np.full((3, 3, 3), 1, np.uint8), intensities=intensities)
    assert int((editor.labels == 1).sum()) == 9
    editor.paint(BOX, np.zeros((3, 3, 3), np.uint8), intensities=np.zeros((3, 3, 3), np.float32))
    assert not editor.labels.any()


def test_listeners_hear_of_edits_undone_and_made_again_in_order():
    editor, heard = an_editor(), []
    editor.listen(heard.append)
    editor.paint(BOX, np.full((3, 3, 3), 1, np.uint8))
    editor.undo()
    assert not editor.labels.any()
    editor.redo()
    assert [change.kind for change in heard] == ["edit", "undo", "redo"]
    assert all(isinstance(change, Change) and len(change.delta) == 27 for change in heard)


def test_an_edit_that_changes_nothing_is_no_step_to_undo():
    editor, heard = an_editor(), []
    editor.listen(heard.append)
    editor.paint(BOX, np.zeros((3, 3, 3), np.uint8))
    assert not editor.is_changed
    assert heard == []
    assert editor.undo() is None


def test_a_tool_that_refuses_leaves_everything_as_it_was():
    editor = an_editor()

    def refuse(before: np.ndarray) -> np.ndarray:
        raise GeometryError("no such label")

    with pytest.raises(GeometryError, match="no such label"):
        editor.edit("grow", refuse)
    assert not editor.is_changed


def test_a_stroke_of_another_shape_than_its_box_is_refused():
    with pytest.raises(GeometryError, match="box of"):
        an_editor().paint(BOX, np.zeros((3, 3, 4), np.uint8))


def test_a_change_counts_for_the_label_that_lost_and_the_one_that_gained():
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[BOX] = 1
    editor = an_editor(labels)
    editor.edit("swap", lambda before: np.where(before == 1, 2, before).astype(np.uint8))
    assert editor.voxels_changed() == {"liver": 27, "spleen": 27}


def test_nested_regions_stay_nested_under_the_brush_and_the_eraser():
    regions = NestedRegions(
        (
            NestedRegion("whole", frozenset({1, 2, 4}), 2),
            NestedRegion("core", frozenset({1, 4}), 1),
            NestedRegion("enhancing", frozenset({4}), 4),
        )
    )
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[0], labels[1], labels[2] = 4, 1, 2
    editor = an_editor(labels)
    editor.rules = StrokeRules(regions=regions)
    everywhere = (slice(0, 4), slice(0, 7), slice(0, 8))
    editor.paint(everywhere, np.full((4, 7, 8), 2, np.uint8))  # the whole tumour where there was none
    assert [int(editor.labels[plane, 0, 0]) for plane in range(4)] == [4, 1, 2, 2]
    editor.chosen_label = 1
    editor.paint(everywhere, np.zeros((4, 7, 8), np.uint8))  # the core is erased: what was in it is in the whole still
    assert [int(editor.labels[plane, 0, 0]) for plane in range(4)] == [2, 2, 2, 2]
    editor.paint(everywhere, np.full((4, 7, 8), 4, np.uint8))
    assert (editor.labels[:4] == 4).all()


def test_a_brush_that_does_not_overwrite_takes_background_alone():
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[2] = 4
    editor = an_editor(labels)
    editor.rules = StrokeRules(overwrites=False)
    editor.paint(BOX, np.full((3, 3, 3), 1, np.uint8))
    assert (editor.labels[2] == 4).all()
    assert (editor.labels[1, 2:5, :3] == 1).all()


def test_counts_follow_edits_undone_and_made_again():
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[BOX] = 4
    editor = an_editor(labels)
    counts = VoxelCounts(editor)
    editor.paint((slice(0, 3), slice(0, 7), slice(0, 8)), np.full((3, 7, 8), 1, np.uint8))
    for act in (lambda: None, editor.undo, editor.redo, editor.undo):
        act()
        for label in (1, 2, 4):
            assert counts.voxels(label) == int((editor.labels == label).sum())
    assert counts.volume_ml(4) == pytest.approx(0.027)
