import numpy as np
import pytest

pytest.importorskip("napari", reason="the review plugin needs the napari extra")

from napari.components import ViewerModel

from medseg.geometry import Geometry
from medseg.labels import Label, LabelTable
from medseg.review import LabelEditor, StrokeRules
from medseg.review.case_layers import CaseLayers
from medseg.segmentation import Segmentation

TABLE = LabelTable(
    labels=(Label(index=1, name="liver", color=(200, 0, 0)), Label(index=3, name="spleen", color=(0, 200, 0)))
)
AFFINE = np.array([[0, 0.7, 0, 5], [0, 0, -0.7, 8], [-3.0, 0, 0, 1], [0, 0, 0, 1]])  # I → S reversed: "IRP"
SHAPE = (10, 30, 20)


@pytest.fixture
def opened() -> tuple[CaseLayers, LabelEditor]:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:4, 5:9, 5:9] = 3
    editor = LabelEditor.of(Segmentation(labels, Geometry(SHAPE, AFFINE), TABLE))
    channel = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    layers = CaseLayers.show(
        ViewerModel(), editor, {"first": channel, "second": channel + 100}, case_id="a", opacity=0.4
    )
    layers.labels.brush_size = 4
    return layers, editor


def assert_in_step(layers: CaseLayers, editor: LabelEditor) -> None:
    np.testing.assert_array_equal(layers.grid.stored(layers.labels.data), editor.labels)


def test_layers_lie_in_millimetres_with_the_head_first(opened):
    layers, _ = opened
    for layer in layers.viewer.layers:
        np.testing.assert_allclose(layer.scale, (3.0, 0.7, 0.7))
        assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
        assert layer.axis_labels == ("z", "y", "x")
    assert [layer.name for layer in layers.viewer.layers] == ["first", "second", "as opened", "labels"]
    assert [layer.visible for layer in layers.viewer.layers] == [True, False, False, True]


def test_a_stroke_reaches_the_editor_whole_and_once(opened):
    layers, editor = opened
    layers.labels.paint((5, 10, 10), 1)
    assert int((editor.labels == 1).sum()) == int((layers.labels.data == 1).sum()) > 0
    assert len(editor.history.done) == 1
    assert_in_step(layers, editor)


def test_a_dragged_stroke_is_one_edit(opened):
    layers, editor = opened
    with layers.labels.block_history():
        for x in range(6, 16):
            layers.labels.paint((5, 10, x), 1)
    assert len(editor.history.done) == 1
    assert_in_step(layers, editor)
    editor.undo()
    assert not (layers.labels.data == 1).any()


def test_filling_reaches_the_editor(opened):
    layers, editor = opened
    layers.labels.n_edit_dimensions = 3
    z, y, x = (int(place) for place in layers.grid.position_of((2, 5, 5)))
    layers.labels.fill((z, y, x), 1)
    assert not (editor.labels == 3).any()
    assert int((editor.labels == 1).sum()) == 2 * 4 * 4
    assert_in_step(layers, editor)


def test_what_the_rules_forbid_is_not_left_on_the_screen(opened):
    layers, editor = opened
    editor.rules = StrokeRules(protected=frozenset({3}))
    z, y, x = layers.grid.position_of((2, 5, 5))
    layers.labels.paint((z, y, x), 1)
    assert int((editor.labels == 3).sum()) == 2 * 4 * 4
    assert (editor.labels == 1).any()
    assert_in_step(layers, editor)


def test_the_brush_is_limited_by_the_channel_that_is_shown(opened):
    layers, editor = opened
    editor.rules = StrokeRules(intensity_range=(90, 110))
    layers.labels.paint((5, 10, 10), 1)
    assert not (editor.labels == 1).any()
    layers.choose_channel(1)
    layers.labels.paint((5, 10, 10), 1)
    assert (editor.labels == 1).any()
    assert_in_step(layers, editor)


def test_undo_and_tools_are_drawn(opened):
    layers, editor = opened
    editor.edit("swap", lambda before: np.where(before == 3, 1, before).astype(np.uint8))
    assert_in_step(layers, editor)
    editor.undo()
    assert_in_step(layers, editor)
    assert (layers.labels.data == 3).any()


def test_changes_by_other_ways_are_found_and_can_be_undone(opened):
    layers, editor = opened
    layers.labels.data[4, 4, 4] = 3
    layers.absorb()
    assert editor.history.done[-1].name == "paint"
    assert_in_step(layers, editor)
    editor.undo()
    assert layers.labels.data[4, 4, 4] == 0


def test_the_difference_tells_gained_from_lost_and_follows_the_edits(opened):
    layers, editor = opened
    layers.show_difference(is_shown=True)
    difference = layers.maps["difference"]
    assert not difference.data.any()
    editor.edit("clear", np.zeros_like)
    assert int((difference.data == 2).sum()) == 2 * 4 * 4
    layers.labels.paint((5, 20, 20), 1)
    assert int((difference.data == 1).sum()) == int((editor.labels == 1).sum())
    editor.undo()
    editor.undo()
    assert not difference.data.any()
    layers.show_difference(is_shown=False)
    assert "difference" not in layers.viewer.layers


def test_jumping_shows_the_slices_through_the_voxel(opened):
    layers, _ = opened
    layers.jump_to((2, 7, 6))
    assert layers.position == (2, 7, 6)
    assert layers.viewer.dims.current_step[0] == 10 - 1 - 2  # the scan's first axis runs to the feet
    assert layers.depth_axis == 0


def test_closing_takes_every_layer_away_and_leaves_the_editor(opened):
    layers, editor = opened
    layers.show_map("uncertainty", np.ones(SHAPE, np.float32), highest=1.0)
    layers.show_labels("second reader", editor.opened, TABLE)
    assert layers.viewer.layers.selection.active is layers.labels
    layers.close()
    assert len(layers.viewer.layers) == 0
    assert (editor.labels == 3).any()
