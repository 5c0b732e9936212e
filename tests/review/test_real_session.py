"""Whole reviews of real scans, as a clinician makes them: every tool, every brush; what is kept is exact."""

import shutil
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

pytest.importorskip("napari", reason="the review plugin needs the napari extra")

from napari.components import ViewerModel

from medseg.bundle import load_bundle
from medseg.data import load_manifest
from medseg.errors import MedsegError
from medseg.record import Journal, verify_journal
from medseg.review import TOOLS, latest_version, worklist_from_folder, worklist_from_manifest
from medseg.review.desk import ReviewDesk
from medseg.review.preferences import ReviewPreferences
from medseg.review.segmenting import SegmentationJob, files_for

REVIEWER = "R. Eader"

ORIENTATIONS = [
    "".join(ends)
    for axes in permutations(("LR", "PA", "IS"))
    for ends in product(*axes)
]  # fmt: skip
"""All 48: every order of the three axes, each either way."""


@pytest.fixture
def desk() -> ReviewDesk:
    return ReviewDesk(ViewerModel(), preferences=ReviewPreferences(reviewer=REVIEWER))


def on_screen(desk: ReviewDesk) -> np.ndarray:
    return desk.layers.grid.stored(desk.layers.labels.data)


def brush(desk: ReviewDesk, index: tuple[int, int, int], value: int, *, size: int = 5, axes: int = 2) -> None:
    """One dab of napari's brush at a voxel of the scan, 0 with the eraser."""
    labels = desk.layers.labels
    labels.n_edit_dimensions, labels.brush_size = axes, size
    desk.layers.jump_to(index)
    labels.paint(tuple(round(place) for place in desk.layers.grid.position_of(index)), value)
    desk.layers.absorb()


def fill(desk: ReviewDesk, index: tuple[int, int, int], value: int) -> None:
    labels = desk.layers.labels
    labels.n_edit_dimensions, labels.contiguous = 2, True
    desk.layers.jump_to(index)
    labels.fill(tuple(round(place) for place in desk.layers.grid.position_of(index)), value)
    desk.layers.absorb()


def some_voxel(labels: np.ndarray, value: int) -> tuple[int, int, int]:
    """The voxel of a label that lies deepest in the order of memory: in the middle of its list."""
    found = np.argwhere(labels == value)
    i, j, k = found[len(found) // 2]
    return int(i), int(j), int(k)


def use_every_tool(desk: ReviewDesk, *, label: int, other: int) -> set[str]:
    """Each tool once, made, undone, made again and undone. Returns those that changed voxels."""
    session = desk.session
    changed = set()
    for tool in TOOLS:
        desk.choose_label(label)
        desk.layers.jump_to(some_voxel(session.editor.labels, label))
        before = session.editor.labels.copy()
        amount = tool.amount.usual if tool.amount else 0.0
        if tool.amount and tool.amount.unit == "mm":
            amount = max(amount, *session.editor.geometry.spacing_mm)
        try:
            count = desk.use_tool(tool.key, amount=amount, other=other if tool.needs_other else None)
        except MedsegError:
            np.testing.assert_array_equal(session.editor.labels, before)
            continue
        np.testing.assert_array_equal(on_screen(desk), session.editor.labels)
        assert (session.editor.labels != before).sum() == count
        if count:
            changed.add(tool.key)
            after = session.editor.labels.copy()
            session.editor.undo()
            np.testing.assert_array_equal(session.editor.labels, before)
            session.editor.redo()
            np.testing.assert_array_equal(session.editor.labels, after)
            session.editor.undo()
    return changed


def accept_and_open_again(desk: ReviewDesk, scan: Path) -> None:
    """What was accepted is on the disk, on the scan's own grid, in the journal, and there when the case is opened."""
    case_id, folder = desk.session.case_id, desk.session.folder
    expected, input_sha256 = desk.session.editor.labels.copy(), desk.session.scan.sha256
    desk.save()
    version = desk.accept(comment="corrected")
    desk.close_case()
    stored, source = nib.load(version.path), nib.load(scan)
    np.testing.assert_array_equal(np.asarray(stored.dataobj), expected)
    np.testing.assert_allclose(stored.affine, source.affine, atol=1e-5)
    assert stored.shape == source.shape
    assert verify_journal(folder.journal) == []
    entry = [entry for entry in Journal(folder.journal).entries() if entry.case_id == case_id][-1]
    assert (entry.action, entry.reviewer, entry.comment) == ("accept", REVIEWER, "corrected")
    assert (entry.input_sha256, entry.output_sha256) == (input_sha256, version.record.labels_sha256)
    assert desk.worklist.case(case_id).state == "accepted"
    again = desk.open_case(case_id)
    np.testing.assert_array_equal(again.editor.labels, expected)
    np.testing.assert_array_equal(on_screen(desk), expected)
    assert again.scan.geometry.matches(version.read().geometry)
    assert not again.has_unaccepted_edits
    assert latest_version(folder, case_id).number == version.number == 1
    desk.close_case()
    assert not list(folder.path.rglob("*.edits"))
    assert not list((folder.path / "locks").glob("*.lock"))


def test_a_hippocampus_is_segmented_edited_accepted_and_opened_again(desk, test_data, tmp_path):
    scan = sorted((test_data / "Task04_Hippocampus").rglob("imagesTr/hippocampus_*.nii.gz"))[0]
    shutil.copy(scan, tmp_path)
    desk.show_worklist(worklist_from_folder(tmp_path))
    session = desk.open_case(desk.worklist.cases[0].case_id)
    bundle = load_bundle("dformer_hippocampus")
    if not bundle.weights_path.is_file():
        pytest.skip("the weights of dformer_hippocampus are not here: medseg bundle download dformer_hippocampus")
    proposals = tmp_path / "review" / "proposals" / "labels.nii.gz"
    case = files_for(bundle, session.case.files)
    job = SegmentationJob(bundle, case, labels=proposals, device=torch.device("cpu"), runtime="torch")
    desk.take_proposal(job.run())
    proposed = session.editor.labels.copy()
    assert set(np.unique(proposed)) == {0, 1, 2}
    np.testing.assert_array_equal(on_screen(desk), proposed)
    assert session.case.bundle.name == bundle.name
    session.editor.undo()
    assert not session.editor.labels.any()
    session.editor.redo()
    front = some_voxel(proposed, 1)
    brush(desk, front, 2)
    brush(desk, front, 0, size=3)
    brush(desk, some_voxel(proposed, 2), 1, size=4, axes=3)
    used = use_every_tool(desk, label=1, other=2)
    assert {"grow", "shrink", "smooth", "copy_slice", "split", "swap", "merge"} <= used
    desk.use_tool("grow", amount=1.0)
    accept_and_open_again(desk, scan)


def test_a_tumour_of_four_channels_stays_nested_whatever_is_painted(desk, test_data, tmp_path):
    folder = tmp_path / "brats_2021" / "BraTS2021_00006"
    shutil.copytree(test_data / "BraTS" / "expert" / "BraTS2021_00006", folder)
    manifest = load_manifest("brats_2021").on_disk(tmp_path)
    desk.show_worklist(worklist_from_manifest(manifest, tmp_path))
    session = desk.open_case("BraTS2021_00006")
    assert [layer.name for layer in desk.layers.images] == ["t1", "t1ce", "t2", "flair"]
    assert session.case.label_table.names == manifest.label_table.names
    regions = session.case.regions
    whole, core, enhancing = (regions.mask(name, session.editor.labels) for name in regions.names)
    at = some_voxel(session.editor.labels, 4)
    desk.choose_label(4)
    brush(desk, at, 0, size=6)  # enhancing tumour erased: core and whole tumour stay
    editor = session.editor
    assert not regions.mask(regions.names[2], editor.labels)[at]
    np.testing.assert_array_equal(regions.mask(regions.names[1], editor.labels), core)
    np.testing.assert_array_equal(regions.mask(regions.names[0], editor.labels), whole)
    outside = (2, 2, at[2])
    brush(desk, outside, 4, size=4)  # enhancing tumour painted: core and whole tumour come with it
    for name in regions.names:
        assert regions.mask(name, editor.labels)[outside]
    desk.choose_label(2)
    brush(desk, at, 2, size=6)  # whole tumour painted over the core: nothing is lost
    np.testing.assert_array_equal(regions.mask(regions.names[1], editor.labels)[9:], core[9:])
    desk.keep_nested(is_kept=False)
    brush(desk, at, 2, size=6)
    assert editor.labels[at] == 2
    desk.keep_nested(is_kept=True)
    fill(desk, at, 1)
    assert {"grow", "shrink", "smooth", "keep_largest", "swap", "merge"} <= use_every_tool(desk, label=4, other=2)
    assert (enhancing != regions.mask(regions.names[2], editor.labels)).any()
    accept_and_open_again(desk, folder / "BraTS2021_00006_t1.nii.gz")


def test_head_and_neck_organs_are_corrected_with_every_brush_and_tool(desk, test_data, tmp_path):
    root = test_data / "OpenKBP_HaN"
    scan = sorted(root.glob("imagesTr/*.nii.gz"))[0]
    for kind in ("imagesTr", "labelsTr"):
        (tmp_path / "OpenKBP_HaN" / kind).mkdir(parents=True)
        shutil.copy(root / kind / scan.name, tmp_path / "OpenKBP_HaN" / kind)
    manifest = load_manifest("openkbp")
    desk.show_worklist(worklist_from_manifest(manifest, tmp_path))
    session = desk.open_case(scan.name.removesuffix(".nii.gz"))
    assert session.case.regions is None
    cord = next(label.index for label in session.case.label_table if label.name == "spinal_cord")
    intensities, before = session.scan.image[0].numpy(), session.editor.labels.copy()
    at = some_voxel(before, 7)
    desk.limit_brush((200.0, 3000.0))
    brush(desk, at, 7, size=60)
    gained = (session.editor.labels == 7) & (before != 7)
    assert gained.any()
    assert intensities[gained].min() >= 200
    desk.limit_brush(None)
    desk.protect(cord, is_protected=True)
    brush(desk, some_voxel(before, cord), 3, size=12, axes=3)
    np.testing.assert_array_equal(session.editor.labels == cord, before == cord)
    desk.protect(cord, is_protected=False)
    brush(desk, some_voxel(before, cord), 0, size=6)
    fill(desk, some_voxel(session.editor.labels, 3), 4)
    assert {"grow", "shrink", "smooth", "split", "swap", "merge"} <= use_every_tool(desk, label=3, other=4)
    accept_and_open_again(desk, scan)


@pytest.mark.parametrize("key", [tool.key for tool in TOOLS])
def test_each_tool_changes_voxels_where_there_is_something_for_it_to_do(
    desk, tmp_path, write_scan: Callable[..., Path], key
):
    scan = write_scan(tmp_path / "scan.nii.gz", shape=(24, 22, 12), affine=np.diag([-1.0, -1.0, 2.0, 1.0]))
    labels = np.zeros((24, 22, 12), np.uint8)
    labels[2:8, 4:14, 2:5] = labels[2:8, 4:14, 7:9] = 1  # a gap to fill across slices
    labels[14:20, 4:12, 2:8] = 1
    labels[16, 8, 4] = 0  # a hole
    labels[22, 20, 10] = 1  # an island
    labels[10:12, 16:20, 2:6] = 2
    nib.save(nib.Nifti1Image(labels, nib.load(scan).affine), tmp_path / "scan_seg.nii.gz")
    desk.show_worklist(worklist_from_folder(tmp_path))
    session = desk.open_case(desk.worklist.cases[0].case_id)
    if key == "interpolate":
        keep = session.editor.labels.copy()
        keep[12:] = 0
        session.editor.edit("one side", lambda _: keep)
    assert key in use_every_tool(desk, label=1, other=2)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_stroke_at_an_anatomical_point_lands_there_in_the_accepted_file(
    desk, tmp_path, write_scan: Callable[..., Path], codes
):
    """The point is given in millimetres (R, A, S) and found on the screen; the scan is oblique and anisotropic."""
    shape, turn = (11, 13, 9), np.array([[0.98, -0.17, 0.10], [0.17, 0.98, 0.05], [-0.10, -0.03, 0.99]])
    steps = np.diag([0.9, 1.4, 2.5])
    upright = np.eye(4)
    upright[:3, :3] = turn @ steps
    upright[:3, 3] = (-7.0, 12.0, 30.0)
    image = nib.Nifti1Image(np.zeros(shape, np.float32), upright)
    turned = image.as_reoriented(
        nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
        )
    )  # fmt: skip
    assert "".join(nib.aff2axcodes(turned.affine)) == codes
    write_scan(tmp_path / "scan.nii.gz", shape=turned.shape, affine=turned.affine)
    desk.show_worklist(worklist_from_folder(tmp_path))
    session = desk.open_case(desk.worklist.cases[0].case_id)
    point = upright @ [3, 10, 2, 1]
    index = np.rint(np.linalg.inv(session.scan.geometry.affine) @ point)[:3].astype(int)
    brush(desk, tuple(int(place) for place in index), 1, size=1)
    version = desk.accept()
    stored = nib.load(version.path)
    (found,) = np.argwhere(np.asarray(stored.dataobj))
    np.testing.assert_allclose(stored.affine @ [*found, 1], point, atol=1e-3)
    np.testing.assert_allclose(stored.affine, turned.affine, atol=1e-5)
