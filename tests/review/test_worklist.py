"""Worklists: every scan once, with the segmentation that is its own, the worst first."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK

from medseg.bundle import OutputPaths
from medseg.data import load_manifest
from medseg.errors import CaseError
from medseg.geometry import geometry_of
from medseg.io import ChannelSpec, read_labels
from medseg.record import Journal, JournalEntry, UsedBundle
from medseg.review import (
    Origin,
    ReviewFolder,
    natural_order,
    save_version,
    worklist_from_folder,
    worklist_from_manifest,
)
from medseg.segmentation import Segmentation

BUNDLE = {"name": "tiny", "version": "0.1.0", "weights_sha256": "ab" * 32}


def write_result(write_scan, path, case_id, *, started="2026-01-01T00:00:00Z", record=None, statistics=None):
    """What medseg writes for a case, as far as a worklist looks at it."""
    files = OutputPaths.beside(write_scan(path))
    values = {"case_id": case_id, "bundle": BUNDLE, "output_grid": {}, "started_utc": started}
    files.record.write_text(json.dumps(values | (record or {})))
    if statistics is not None:
        files.statistics.write_text(json.dumps(statistics))


def found(worklist):
    """Case id → name of the segmentation."""
    return {case.case_id: case.segmentation and case.segmentation.name for case in worklist.cases}


@pytest.mark.parametrize(
    ("scans", "labels", "expected"),
    [
        (["a.nii.gz", "b.nii.gz"], ["a_seg.nii.gz"], {"a": "a_seg.nii.gz", "b": None}),
        (["a.nrrd", "b.nii.gz"], ["labels/a.nii.gz"], {"a": "a.nii.gz", "b": None}),
        (["imagesTr/a.nii.gz"], ["labelsTr/a.nii.gz"], {"a": "a.nii.gz"}),
        (["one/scan.nii.gz"], ["one/scan_seg.nii.gz"], {"one": "scan_seg.nii.gz"}),
        (["x/image.nii.gz", "y/image.nii.gz"], ["x/seg.nii.gz"], {"x": "seg.nii.gz", "y": None}),
        (["x_image.nii.gz"], ["x_label.nii.gz"], {"x_image": "x_label.nii.gz"}),
        (["a_0000.nii.gz"], ["labels/a.nii.gz"], {"a": "a.nii.gz"}),
        (["x/image.nii.gz", "y/image.nii.gz"], ["labels/final/x.nii.gz"], {"x": "x.nii.gz", "y": None}),
    ],
)
def test_label_files_are_found_by_their_names_and_are_no_scans(tmp_path, write_scan, scans, labels, expected):
    root = tmp_path / "seg"  # a folder of scans may itself be called like one of labels
    for name in (*scans, *labels):
        path = root / name
        write_scan(path.with_name(path.name.replace(".nrrd", ".nii")))
    assert found(worklist_from_folder(root)) == expected


@pytest.mark.parametrize(
    ("tags", "shown"),
    [
        (["original", "rejected", "edited", "final"], "labels/final"),
        (["original", "rejected", "edited"], "labels/edited"),
        (["original"], "labels/original"),
        (["a_tag_of_somebody"], None),
    ],
)
def test_labels_that_a_server_keeps_among_its_studies_are_no_cases_and_the_best_of_them_is_shown(
    tmp_path, write_scan, tags, shown
):
    for name in ("a.nii.gz", "b.nii.gz", *(f"labels/{tag}/a.nii.gz" for tag in tags)):
        write_scan(tmp_path / name)
    (tmp_path / "datastore_v2.json").write_text("{}")
    cases = {case.case_id: case.segmentation for case in worklist_from_folder(tmp_path).cases}
    assert cases == {"a": shown and tmp_path / shown / "a.nii.gz", "b": None}


def test_what_a_server_was_given_as_accepted_comes_before_a_proposal_of_medseg(tmp_path, write_scan):
    write_result(write_scan, tmp_path / "a_seg.nii.gz", "a")
    for name in ("a.nii.gz", "labels/final/a.nii.gz", "b.nii.gz", "labels/original/b.nii.gz"):
        write_scan(tmp_path / name)
    write_result(write_scan, tmp_path / "b_seg.nii.gz", "b")
    assert found(worklist_from_folder(tmp_path)) == {"a": "a.nii.gz", "b": "b_seg.nii.gz"}


def test_results_of_medseg_beside_their_scans_are_found_by_their_records(tmp_path, write_scan):
    for case_id in ("a", "b"):
        write_scan(tmp_path / f"{case_id}.nii.gz")
    write_result(write_scan, tmp_path / "a_tiny.nii.gz", "a")
    write_scan(tmp_path / "a_tiny_uncertainty.nii.gz")
    write_scan(tmp_path / "a_tiny_probabilities.nii")
    write_result(write_scan, tmp_path / "results" / "b.nii.gz", "b")
    worklist = worklist_from_folder(tmp_path)
    assert found(worklist) == {"a": "a_tiny.nii.gz", "b": "b.nii.gz"}
    assert worklist.case("a").bundle == UsedBundle(**BUNDLE)


def test_of_several_results_the_newest_counts_and_comes_before_labels_of_others(tmp_path, write_scan):
    write_scan(tmp_path / "a.nii.gz")
    write_scan(tmp_path / "a_seg.nii.gz")
    write_result(write_scan, tmp_path / "a_new.nii.gz", "a", started="2026-03-01T00:00:00Z")
    write_result(write_scan, tmp_path / "a_old.nii.gz", "a", started="2026-02-01T00:00:00Z")
    assert found(worklist_from_folder(tmp_path)) == {"a": "a_new.nii.gz"}


def test_labels_that_are_called_alike_in_each_patients_folder_stay_with_their_patient(tmp_path, write_scan):
    for patient in ("p1", "p2", "p3"):
        write_scan(tmp_path / patient / "ct.nii.gz")
    for patient in ("p1", "p2"):
        write_scan(tmp_path / patient / "ct_seg.nii.gz")
    worklist = worklist_from_folder(tmp_path)
    for patient in ("p1", "p2"):
        assert worklist.case(patient).segmentation == tmp_path / patient / "ct_seg.nii.gz"
    assert worklist.case("p3").segmentation is None


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr", ".nrrd", ".mha", ".nii"])
def test_labels_of_every_format_that_is_read_are_found(tmp_path, suffix):
    for name in ("a", "a_seg"):
        SimpleITK.WriteImage(SimpleITK.Image(4, 4, 4, SimpleITK.sitkUInt8), str(tmp_path / f"{name}{suffix}"))
    (case,) = worklist_from_folder(tmp_path).cases
    assert (case.case_id, case.segmentation) == ("a", tmp_path / f"a_seg{suffix}")


def test_labels_beside_another_scan_of_that_name_are_not_taken(tmp_path, write_scan):
    for name in ("p1/ct.nii.gz", "p1/late.nii.gz", "p2/ct.nii.gz", "p2/ct_seg.nii.gz"):
        write_scan(tmp_path / name)
    worklist = worklist_from_folder(tmp_path)
    assert worklist.case("ct").segmentation is None
    assert worklist.case("p2").segmentation == tmp_path / "p2" / "ct_seg.nii.gz"


def test_a_folder_of_segmentations_that_is_named_comes_first(tmp_path, write_scan):
    write_scan(tmp_path / "scans" / "a.nii.gz")
    write_scan(tmp_path / "scans" / "a_seg.nii.gz")
    write_scan(tmp_path / "mine" / "a.nii.gz")
    worklist = worklist_from_folder(tmp_path / "scans", segmentations=tmp_path / "mine")
    assert worklist.cases[0].segmentation == tmp_path / "mine" / "a.nii.gz"


def test_channels_are_those_of_the_model_or_of_brats_or_one(tmp_path, write_scan):
    for channel in ("t1n", "t1c", "t2w", "t2f", "seg"):
        write_scan(tmp_path / "BraTS-GLI-00001-000" / f"BraTS-GLI-00001-000-{channel}.nii.gz")
    (case,) = worklist_from_folder(tmp_path).cases
    assert [entry.channel for entry in case.files.channels] == ["t1", "t1ce", "t2", "flair"]
    assert case.segmentation.name == "BraTS-GLI-00001-000-seg.nii.gz"
    (case,) = worklist_from_folder(tmp_path, channels=[ChannelSpec("flair")]).cases
    assert [entry.path.name for entry in case.files.channels] == ["BraTS-GLI-00001-000-t2f.nii.gz"]


def test_the_files_of_the_review_are_no_scans(tmp_path, write_scan):
    for name in ("x/image.nii.gz", "review/versions/x/v0001.nii.gz", "review/image.nii.gz", "review/seg.nii.gz"):
        write_scan(tmp_path / name)
    worklist = worklist_from_folder(tmp_path)
    assert found(worklist) == {"x": None}
    assert worklist.failed == ()


def test_a_folder_without_scans_or_that_is_absent_is_refused(tmp_path):
    with pytest.raises(CaseError, match="no images"):
        worklist_from_folder(tmp_path)
    with pytest.raises(CaseError, match="Give a folder"):
        worklist_from_folder(tmp_path / "absent")


def uncertain(*intervals):
    return {"labels": [{"volume_interval_ml": list(interval)} for interval in intervals]}


@pytest.mark.parametrize(
    ("record", "statistics", "quality"),
    [
        ({"quality": 0.3}, None, 0.3),
        ({"quality": 0.3}, {"quality": 0.25}, 0.25),
        ({}, uncertain((1.0, 2.0), (3.0, 3.0)), 0.75),
        ({}, uncertain((0.0, 0.0)), None),
        ({}, {"labels": [{"voxels": 3}]}, None),
        ({"quality": True}, {"labels": "none"}, None),
        ({}, {"labels": [3, {"volume_interval_ml": "wide"}, {"volume_interval_ml": [1, 4]}]}, 0.25),
        ({}, None, None),
    ],
)
def test_quality_is_what_is_stated_or_how_narrow_the_volumes_are(tmp_path, write_scan, record, statistics, quality):
    write_scan(tmp_path / "a.nii.gz")
    write_result(write_scan, tmp_path / "a_tiny.nii.gz", "a", record=record, statistics=statistics)
    assert worklist_from_folder(tmp_path).cases[0].quality == quality


@pytest.fixture
def worklist(tmp_path, write_scan):
    for case_id, quality in (("case_10", None), ("case_2", None), ("case_1", 0.9), ("case_3", 0.2)):
        write_scan(tmp_path / f"{case_id}.nii.gz")
        if quality is not None:
            write_result(write_scan, tmp_path / f"{case_id}_x.nii.gz", case_id, record={"quality": quality})
    return worklist_from_folder(tmp_path)


def decide(worklist, case_id, action, **changes):
    Journal(worklist.folder.journal).append(
        JournalEntry(**({"reviewer": "reader 1", "case_id": case_id, "action": action} | changes))
    )
    return worklist.refreshed()


def test_the_worst_come_first_then_the_rest_as_a_person_counts(worklist):
    assert [case.case_id for case in worklist.cases] == ["case_3", "case_1", "case_2", "case_10"]
    assert sorted(["a10b", "A2", "a2b", "b"], key=natural_order) == ["A2", "a2b", "a10b", "b"]


def test_states_come_from_the_journal_alone(worklist, tmp_path):
    worklist = decide(worklist, "case_2", "accept")
    assert worklist.case("case_2").state == "accepted"
    assert worklist_from_folder(tmp_path).case("case_2").state == "accepted"
    assert str(worklist.progress) == "1 of 4"
    assert (worklist.progress.decided, worklist.progress.total) == (1, 4)


def test_filters_hold_together(worklist):
    worklist = decide(worklist, "case_3", "flag", reason="motion")
    worklist = decide(worklist, "case_1", "comment", comment="Leaks into the ventricle")
    worklist = decide(worklist, "case_2", "second_reader")

    def ids(**asked):
        return [case.case_id for case in worklist.filtered(**asked)]

    assert ids(flag="motion") == ids(quality_below=0.5) == ["case_3"]
    assert ids(quality_below=0.95) == ids(text="TINY") == ["case_3", "case_1"]
    assert ids(text="ventricle") == ["case_1"]
    assert ids(states=["needs_second_reader"]) == ["case_2"]
    assert ids(states=["needs_second_reader"], text="case_1") == []
    assert worklist.flag_names == ("motion",)


def test_the_next_case_goes_round_and_leaves_out_what_is_decided(worklist):
    assert worklist.next_unreviewed().case_id == "case_3"
    worklist = decide(worklist, "case_1", "reject")
    assert worklist.next_unreviewed(after="case_3").case_id == "case_2"
    assert worklist.next_unreviewed(after="case_10").case_id == "case_3"
    for case_id in ("case_3", "case_2"):
        worklist = decide(worklist, case_id, "accept")
    assert worklist.next_unreviewed(after="case_10") is None
    assert worklist.next_unreviewed().case_id == "case_10"


def test_a_case_that_is_not_there_is_refused(worklist):
    with pytest.raises(CaseError, match="no case 'x'"):
        worklist.case("x")


def test_a_manifest_gives_cases_references_and_the_label_table(test_data):
    manifest = load_manifest("msd_hippocampus")
    worklist = worklist_from_manifest(manifest, test_data)
    assert len(worklist.cases) == 220
    assert all(case.segmentation.parent.name == "labelsTr" for case in worklist.cases)
    assert worklist.label_table == manifest.label_table


def test_cases_of_a_manifest_whose_scans_are_absent_are_told(tmp_path, test_data):
    manifest = load_manifest("msd_hippocampus")
    case = manifest.locate(test_data, split="test")[0]
    (tmp_path / "imagesTr").mkdir()
    shutil.copy(case.images[0], tmp_path / "imagesTr")
    worklist = worklist_from_manifest(manifest, tmp_path)
    assert found(worklist) == {case.case_id: None}
    assert len(worklist.failed) == 219


@pytest.mark.parametrize(
    ("folder", "cases", "labelled", "channels"),
    [
        ("Task04_Hippocampus", 220, 220, 1),
        ("BraTS", 2, 2, 4),
        ("AMOS22_slabs", 2, 2, 1),
        ("TotalSegmentator_examples", 3, 3, 1),
        ("PyRadiomics", 1, 1, 1),
        ("DICOM/dicom2nifti", 22, 0, 1),
    ],
)
def test_real_folders_are_read_as_they_lie(folder, cases, labelled, channels, test_data, tmp_path):
    worklist = worklist_from_folder(test_data / folder, review=ReviewFolder.of(tmp_path))
    assert len(worklist.cases) == cases
    assert sum(case.segmentation is not None for case in worklist.cases) == labelled
    assert {len(case.files.channels) for case in worklist.cases} == {channels}


def test_an_accepted_version_does_not_change_the_worklist(tmp_path, test_data):
    manifest = load_manifest("msd_hippocampus")
    case = manifest.locate(test_data, split="test")[0]
    shutil.copy(case.images[0], tmp_path / case.images[0].name)
    before = worklist_from_folder(tmp_path)
    image = read_labels(case.label)
    accepted = Segmentation(image.numpy()[0].astype(np.uint8), geometry_of(image), manifest.label_table)
    save_version(before.folder, accepted, case_id=case.case_id, origin=Origin(reviewer="reader 1"))
    assert worklist_from_folder(tmp_path) == before
