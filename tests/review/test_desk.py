from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("napari", reason="the review plugin needs the napari extra")

from napari.components import ViewerModel

from medseg.bundle import load_bundle
from medseg.errors import GeometryError, ReviewError
from medseg.record import UsedBundle, holder_of
from medseg.review import Proposal, worklist_from_folder
from medseg.review.case_layers import CaseLayers
from medseg.review.desk import ReviewDesk
from medseg.review.preferences import ReviewPreferences
from medseg.segmentation import Segmentation

SHAPE = (12, 14, 6)
AFFINE = np.array([[0, 0.7, 0, 5], [0, 0, -0.7, 8], [-3.0, 0, 0, 1], [0, 0, 0, 1]])


@pytest.fixture
def desk(tmp_path: Path, write_scan: Callable[..., Path]) -> ReviewDesk:
    for number in (1, 2, 10):
        write_scan(tmp_path / f"scan_{number}.nii.gz", shape=SHAPE, affine=AFFINE, seed=number)
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:6, 2:6, 1:3] = 1
    labels[7:9, 8:12, 3:5] = 2
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "scan_1_seg.nii.gz")
    desk = ReviewDesk(ViewerModel(), preferences=ReviewPreferences(reviewer="R. Eader"))
    desk.show_worklist(worklist_from_folder(tmp_path))
    return desk


def test_a_folder_becomes_cases_one_after_the_other(desk):
    assert desk.worklist is not None
    assert [case.case_id for case in desk.worklist.cases] == ["scan_1", "scan_2", "scan_10"]
    assert str(desk.worklist.progress) == "0 of 3"
    assert desk.next_unreviewed().case_id == "scan_1"
    desk.open_case("scan_1")
    desk.accept()
    assert str(desk.worklist.progress) == "1 of 3"
    desk.open_case(desk.next_unreviewed().case_id)
    assert desk.session.case_id == "scan_2"
    assert [layer.name for layer in desk.viewer.layers] == ["image", "as opened", "labels"]


def test_everybody_who_listens_hears_of_cases_opened_decided_and_closed(desk):
    heard = []
    desk.listen(lambda: heard.append(desk.session.case_id if desk.session else None))
    desk.open_case("scan_1")
    desk.decide(lambda session: session.reject("motion"))
    desk.close_case()
    assert heard == ["scan_1", "scan_1", None]
    assert desk.worklist.case("scan_1").state == "rejected"
    assert len(desk.viewer.layers) == 0


def test_decisions_bear_the_name_of_who_makes_them_also_when_it_changes_while_a_case_is_open(desk):
    desk.open_case("scan_1")
    desk.preferences = desk.preferences.model_copy(update={"reviewer": "S. Econd"})
    version = desk.accept()
    assert version.record.origin.reviewer == "S. Econd"
    assert [entry.reviewer for entry in desk.session.entries] == ["R. Eader", "S. Econd", "S. Econd"]
    assert holder_of(desk.worklist.folder.lock_of("scan_1")).owner == "S. Econd"
    desk.preferences = desk.preferences.model_copy(update={"reviewer": " "})
    with pytest.raises(ReviewError, match="no reviewer is named"):
        desk.decide(lambda session: session.reject("motion"))
    desk.close_case()
    assert holder_of(desk.worklist.folder.lock_of("scan_1")) is None


def test_a_case_that_cannot_be_shown_is_not_left_locked(desk, monkeypatch):
    def refuse(*_args, **_named):
        raise ValueError("these contrast limits are none")

    with monkeypatch.context() as broken:
        broken.setattr(CaseLayers, "show", refuse)
        with pytest.raises(ValueError, match="contrast limits"):
            desk.open_case("scan_1")
    assert desk.session is None
    assert holder_of(desk.worklist.folder.lock_of("scan_1")) is None
    assert desk.open_case("scan_1").case_id == "scan_1"


def test_edits_survive_the_opening_of_another_case(desk):
    desk.open_case("scan_1")
    desk.layers.labels.paint((3, 3, 3), 2)
    painted = desk.session.editor.labels.copy()
    desk.open_case("scan_2")
    desk.open_case("scan_1")
    np.testing.assert_array_equal(desk.session.editor.labels, painted)


def test_opening_shows_the_middle_of_the_labels(desk):
    desk.open_case("scan_1")
    assert desk.session.editor.labels[desk.layers.position[0]].any()


def test_tools_work_on_the_chosen_label_and_are_undone(desk):
    session = desk.open_case("scan_1")
    desk.choose_label(2)
    before = session.editor.labels.copy()
    assert desk.use_tool("grow", amount=0.8) > 0
    assert (session.editor.labels == 2).sum() > (before == 2).sum()
    np.testing.assert_array_equal(session.editor.labels == 1, before == 1)
    session.editor.undo()
    np.testing.assert_array_equal(session.editor.labels, before)
    np.testing.assert_array_equal(desk.layers.grid.stored(desk.layers.labels.data), before)


def test_copying_to_the_next_slice_goes_there(desk):
    session = desk.open_case("scan_1")
    desk.choose_label(1)
    desk.layers.jump_to((3, 3, 2))
    step = desk.viewer.dims.current_step[0]
    desk.use_tool("copy_slice")
    assert desk.viewer.dims.current_step[0] == step + 1
    assert session.editor.labels[desk.layers.position[0]].any()


def test_locked_labels_refuse_tools_and_strokes(desk):
    session = desk.open_case("scan_1")
    desk.protect(1, is_protected=True)
    desk.choose_label(1)
    with pytest.raises(ReviewError, match="locked"):
        desk.use_tool("grow", amount=1)
    before = session.editor.labels.copy()
    desk.layers.labels.brush_size = 30
    desk.layers.labels.paint(tuple(round(place) for place in desk.layers.grid.position_of((3, 3, 2))), 2)
    np.testing.assert_array_equal(session.editor.labels == 1, before == 1)
    desk.protect(1, is_protected=False)
    assert desk.use_tool("grow", amount=1) > 0


def test_a_brush_limited_to_intensities_leaves_the_others(desk):
    session = desk.open_case("scan_1")
    desk.limit_brush((500.0, 2000.0))
    desk.layers.labels.paint((5, 3, 10), 2)
    changed = session.editor.labels != session.editor.opened
    assert changed.any()
    assert session.scan.image[0].numpy()[changed].min() >= 500


def test_the_next_spot_is_where_two_segmentations_disagree(desk, tmp_path):
    desk.open_case("scan_1")
    other = desk.session.editor.opened.copy()
    other[9:12, 0:3, 4:6] = 1
    other[0, 13, 0:4] = 2
    nib.save(nib.Nifti1Image(other, AFFINE), tmp_path / "second.nii.gz")
    desk.compare_with(tmp_path / "second.nii.gz")
    assert desk.jump_to_next_spot() == "disagreement 1 of 2: 18 voxels"
    assert desk.layers.position in {(i, j, k) for i in (9, 10, 11) for j in (0, 1, 2) for k in (4, 5)}
    assert desk.jump_to_next_spot() == "disagreement 2 of 2: 4 voxels"
    assert desk.jump_to_next_spot().startswith("disagreement 1")


def test_uncertainty_leads_to_its_spots(desk):
    desk.open_case("scan_1")
    values = np.zeros(SHAPE, np.float32)
    values[4:6, 4:6, 4] = 0.9
    desk.show_uncertainty(values)
    assert desk.jump_to_next_spot() == "uncertainty 1 of 1: 4 voxels"
    assert desk.layers.position[2] == 4


def test_labels_on_another_grid_are_not_compared(desk, tmp_path):
    desk.open_case("scan_1")
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), np.eye(4)), tmp_path / "elsewhere.nii.gz")
    with pytest.raises(GeometryError, match="same scan"):
        desk.compare_with(tmp_path / "elsewhere.nii.gz")


def proposed(desk: ReviewDesk, value: int) -> Proposal:
    session, _ = desk.opened()
    bundle = load_bundle("dformer_hippocampus")
    labels = np.full(SHAPE, value, np.uint8)
    used = UsedBundle(name=bundle.name, version=bundle.version, weights_sha256="0" * 64)
    return Proposal(Segmentation(labels, session.scan.geometry, bundle.label_table), model=bundle.name, bundle=used)


def test_a_fresh_segmentation_is_one_edit_names_its_model_and_can_be_undone(desk):
    session = desk.open_case("scan_2")
    desk.take_proposal(proposed(desk, 2))
    assert (session.editor.labels == 2).all()
    assert session.editor.voxels_changed() == {}
    assert session.case.bundle.name == "dformer_hippocampus"
    assert session.editor.label_table.names == ("anterior_hippocampus", "posterior_hippocampus")
    session.editor.undo()
    assert not session.editor.labels.any()
    np.testing.assert_array_equal(desk.layers.grid.stored(desk.layers.labels.data), session.editor.labels)


def test_a_model_of_other_labels_does_not_replace_what_was_drawn(desk):
    session = desk.open_case("scan_1")
    before = session.editor.labels.copy()
    with pytest.raises(ReviewError, match="same labels"):
        desk.take_proposal(proposed(desk, 2))
    np.testing.assert_array_equal(session.editor.labels, before)


def test_without_an_open_case_every_panel_says_what_to_do(desk):
    for act in (lambda: desk.use_tool("grow"), desk.accept, desk.jump_to_next_spot):
        with pytest.raises(ReviewError, match="choose one in the worklist"):
            act()
