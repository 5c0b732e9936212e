"""What a review came to: a table of every decision, and a data set that can be trained on."""

import csv
import io
import shutil

import nibabel as nib
import numpy as np
import pytest

from medseg.data import SplitRule, check_data, load_manifest
from medseg.errors import DataError, OutputError
from medseg.geometry import geometry_of
from medseg.io import CaseFiles, ChannelFile, ChannelSpec, read_labels, read_volume
from medseg.labels import Label, LabelTable
from medseg.record import Journal, JournalEntry, UsedBundle
from medseg.review import (
    TABLE_COLUMNS,
    CaseReview,
    DatasetChoices,
    Origin,
    ReviewFolder,
    Worklist,
    WorklistCase,
    export_dataset,
    export_table,
    save_version,
    worklist_from_folder,
)
from medseg.review.label_names import generic_table
from medseg.segmentation import Segmentation

TABLE = LabelTable(
    labels=(Label(index=1, name="left", color=(255, 0, 0)), Label(index=2, name="right", color=(0, 0, 9)))
)
ALL_TRAIN = DatasetChoices(split=SplitRule(validation=0, test=0))


def accept(worklist, case_id, *, table=TABLE, output_sha256=None, seed=0):
    """A version of the case on its scan's grid, and the decision in the journal."""
    geometry = geometry_of(read_volume(worklist.case(case_id).files.channels[0].path))
    labels = np.random.default_rng(seed).integers(0, 3, geometry.shape).astype(np.uint8)
    version = save_version(
        worklist.folder, Segmentation(labels, geometry, table), case_id=case_id, origin=Origin(reviewer="reader 1")
    )
    decide(worklist, case_id, "accept", output_sha256=output_sha256 or version.record.labels_sha256)
    return labels


def decide(worklist, case_id, action, **changes):
    entry = {"reviewer": "reader 1", "case_id": case_id, "action": action} | changes
    Journal(worklist.folder.journal).append(JournalEntry(**entry))


@pytest.fixture
def worklist(tmp_path, write_scan):
    for number in range(6):
        write_scan(tmp_path / "scans" / f"case_{number}.nii.gz", seed=number)
    return worklist_from_folder(tmp_path / "scans")


def test_the_table_has_a_row_for_every_line(worklist):
    bundle = UsedBundle(name="tiny", version="0.1.0", weights_sha256="ab" * 32)
    decide(worklist, "case_1", "open", bundle=bundle)
    decide(worklist, "case_1", "comment", comment='a "quoted"\nnote; with, signs')
    decide(worklist, "case_1", "accept", voxels_changed={"right": 2, "left": 3}, seconds_spent=4.5)
    rows = list(csv.DictReader(io.StringIO(export_table(Journal(worklist.folder.journal).records()))))
    assert tuple(rows[0]) == TABLE_COLUMNS
    assert [row["action"] for row in rows] == ["open", "comment", "accept"]
    assert (rows[0]["bundle"], rows[0]["bundle_version"], rows[1]["bundle"]) == ("tiny", "0.1.0", "")
    assert rows[1]["comment"] == 'a "quoted"\nnote; with, signs'
    assert (rows[2]["voxels_changed"], rows[2]["seconds_spent"]) == ("left 3; right 2", "4.5")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a"])
def test_no_cell_is_a_formula(worklist, text):
    decide(worklist, "case_1", "comment", comment=text, reviewer=text)
    (row,) = csv.DictReader(io.StringIO(export_table(Journal(worklist.folder.journal).records())))
    assert (row["comment"], row["reviewer"]) == (f"'{text}", f"'{text}")


def test_accepted_cases_become_a_data_set_that_is_read_and_without_a_defect(worklist, tmp_path):
    accept(worklist, "case_1", seed=8)
    wanted = {"case_1": accept(worklist, "case_1", seed=1), "case_4": accept(worklist, "case_4", seed=4)}
    decide(worklist, "case_2", "reject")
    exported = export_dataset(worklist.refreshed(), output=tmp_path / "set", choices=ALL_TRAIN)
    assert exported.case_ids == ("case_1", "case_4")
    manifest = load_manifest(exported.folder)
    cases = manifest.locate(exported.folder, split="train")
    assert [case.case_id for case in cases] == ["case_1", "case_4"]
    for case in cases:
        np.testing.assert_array_equal(read_labels(case.label).numpy()[0], wanted[case.case_id])
        original = tmp_path / "scans" / f"{case.case_id}.nii.gz"
        assert case.images[0].read_bytes() == original.read_bytes()
        assert not case.images[0].is_symlink()
    assert manifest.label_table == TABLE
    assert check_data(manifest, exported.folder).findings == ()


def test_splits_are_drawn_by_the_rule_and_stay_when_cases_are_added(worklist, tmp_path):
    choices = DatasetChoices(split=SplitRule(validation=0.3, test=0.3))
    drawn = []
    for count in (4, 6):
        for number in range(count):
            accept(worklist, f"case_{number}")
        exported = export_dataset(worklist.refreshed(), output=tmp_path / f"set_{count}", choices=choices)
        drawn.append(load_manifest(exported.folder).splits)
    for split in ("train", "validation", "test"):
        expected = [f"case_{n}" for n in range(6) if choices.split.split_of(f"case_{n}") == split]
        assert list(getattr(drawn[1], split)) == expected
        assert set(getattr(drawn[0], split)) <= set(expected)


def test_linked_scans_lie_where_they_lay(worklist, tmp_path):
    accept(worklist, "case_1")
    choices = DatasetChoices(split=SplitRule(validation=0, test=0), images="link")
    exported = export_dataset(worklist.refreshed(), output=tmp_path / "set", choices=choices)
    (case,) = load_manifest(exported.folder).locate(exported.folder, split="train")
    assert case.images[0].is_symlink()
    assert case.images[0].resolve() == (tmp_path / "scans" / "case_1.nii.gz").resolve()


def test_accepted_cases_whose_labels_do_not_stand_for_it_are_left_out_and_told(worklist, tmp_path):
    accept(worklist, "case_0")
    decide(worklist, "case_1", "accept")
    accept(worklist, "case_2", output_sha256="0f" * 32)
    accept(worklist, "case_3")
    path = worklist.folder.versions_of("case_3") / "v0001.nii.gz"
    path.write_bytes(path.read_bytes() + b"x")
    exported = export_dataset(worklist.refreshed(), output=tmp_path / "set", choices=ALL_TRAIN)
    assert exported.case_ids == ("case_0",)
    told = {case.case_id: case.message for case in exported.left_out}
    assert "no version" in told["case_1"]
    assert "not the one that was accepted" in told["case_2"]
    assert "was changed after" in told["case_3"]


def test_different_label_tables_are_not_mixed(worklist, tmp_path):
    other = LabelTable(
        labels=(Label(index=1, name="right", color=(0, 0, 9)), Label(index=2, name="left", color=(1, 1, 1)))
    )
    accept(worklist, "case_0")
    accept(worklist, "case_1", table=other)
    with pytest.raises(DataError, match="different label tables"):
        export_dataset(worklist.refreshed(), output=tmp_path / "set", choices=ALL_TRAIN)
    assert not (tmp_path / "set").exists()


def test_cases_in_which_other_numbers_occur_share_a_table_of_all(worklist, tmp_path):
    accept(worklist, "case_0", table=generic_table([1, 2]))
    accept(worklist, "case_1", table=generic_table([2, 7]))
    export_dataset(worklist.refreshed(), output=tmp_path / "set", choices=ALL_TRAIN)
    assert load_manifest(str(tmp_path / "set")).label_table.names == ("label 1", "label 2", "label 7")
    accept(worklist, "case_2")
    with pytest.raises(DataError, match="different label tables"):
        export_dataset(worklist.refreshed(), output=tmp_path / "another", choices=ALL_TRAIN)


def test_nothing_accepted_or_nothing_to_train_on_is_refused(worklist, tmp_path):
    with pytest.raises(DataError, match="none is accepted"):
        export_dataset(worklist, output=tmp_path / "set")
    accept(worklist, "case_1")
    choices = DatasetChoices(split=SplitRule(validation=0, test=0.999999))
    with pytest.raises(DataError, match="left to train on"):
        export_dataset(worklist.refreshed(), output=tmp_path / "set", choices=choices)


def test_a_folder_that_exists_is_not_touched(worklist, tmp_path):
    accept(worklist, "case_1")
    (tmp_path / "set").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        export_dataset(worklist.refreshed(), output=tmp_path / "set", choices=ALL_TRAIN)


def test_what_breaks_off_leaves_nothing_behind(worklist, tmp_path):
    accept(worklist, "case_1")
    accept(worklist, "case_2")
    (tmp_path / "scans" / "case_2.nii.gz").unlink()
    with pytest.raises(Exception, match=r"case_2|cannot be written"):
        export_dataset(worklist.refreshed(), output=tmp_path / "out" / "set", choices=ALL_TRAIN)
    assert list((tmp_path / "out").iterdir()) == []


def test_frames_of_a_4d_file_become_files_of_their_own(tmp_path):
    values = np.random.default_rng(0).random((6, 5, 4, 2)).astype(np.float32)
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1, 2, 1])), path)
    files = CaseFiles("a/b", (ChannelFile("T1", path, 0), ChannelFile("T2 w", path, 1)))
    worklist = Worklist(ReviewFolder.of(tmp_path), (WorklistCase(files, CaseReview("a/b")),))
    geometry = geometry_of(read_volume(path))
    labels = Segmentation(np.ones((6, 5, 4), np.uint8), geometry, TABLE)
    save_version(worklist.folder, labels, case_id="a/b", origin=Origin(reviewer="reader 1"))
    decide(worklist, "a/b", "accept")
    exported = export_dataset(worklist.refreshed(), output=tmp_path / "set", choices=ALL_TRAIN)
    (case,) = load_manifest(exported.folder).locate(exported.folder, split="train")
    assert case.case_id == "a/b"
    for number, image in enumerate(case.images):
        np.testing.assert_array_equal(np.asarray(nib.load(image).dataobj), values[..., number])
    assert exported.folder in case.label.parents


@pytest.mark.parametrize("name", ["mr_sagittal_explicit_le"])
def test_a_dicom_series_becomes_a_file_on_its_grid(name, test_data, tmp_path):
    shutil.copytree(test_data / "DICOM" / "dicom2nifti" / name, tmp_path / "scans" / name)
    worklist = worklist_from_folder(tmp_path / "scans")
    (case,) = worklist.cases
    series = read_volume(case.files.channels[0].path)
    accept(worklist, case.case_id)
    exported = export_dataset(worklist.refreshed(), output=tmp_path / "set", choices=ALL_TRAIN)
    (case,) = load_manifest(exported.folder).locate(exported.folder, split="train")
    image = read_volume(case.images[0])
    assert geometry_of(image).matches(geometry_of(series))
    np.testing.assert_array_equal(image.numpy(), series.numpy())


def test_real_cases_pass_through_a_review_into_a_data_set_without_a_defect(test_data, tmp_path):
    manifest = load_manifest("msd_hippocampus")
    for case in manifest.locate(test_data, split="test")[:3]:
        (tmp_path / "scans" / "labels").mkdir(parents=True, exist_ok=True)
        shutil.copy(case.images[0], tmp_path / "scans")
        shutil.copy(case.label, tmp_path / "scans" / "labels")
    worklist = worklist_from_folder(tmp_path / "scans", channels=[ChannelSpec("T1", "MR")])
    assert len(worklist.cases) == 3
    for case in worklist.cases:
        image = read_labels(case.segmentation)
        labels = image.numpy()[0].astype(np.uint8)
        accepted = Segmentation(labels, geometry_of(image), manifest.label_table)
        save_version(worklist.folder, accepted, case_id=case.case_id, origin=Origin(reviewer="reader 1"))
        decide(worklist, case.case_id, "accept")
    exported = export_dataset(worklist.refreshed(), output=tmp_path / "set", choices=ALL_TRAIN)
    found = load_manifest(exported.folder)
    result = check_data(found, exported.folder)
    assert (result.checked, result.findings) == (3, ())
    assert found.label_table.names == manifest.label_table.names
