"""Accepted labels: every one stays, and each knows where it comes from."""

import json
import multiprocessing

import nibabel as nib
import numpy as np
import pytest

from medseg.data import load_manifest
from medseg.errors import DataError, OutputError, SettingsError
from medseg.geometry import Geometry, geometry_of
from medseg.io import read_labels
from medseg.labels import Label, LabelTable
from medseg.record import UsedBundle
from medseg.review import Origin, ReviewFolder, latest_version, list_versions, save_version
from medseg.segmentation import Segmentation

TABLE = LabelTable(
    labels=(Label(index=1, name="left", color=(255, 0, 0)), Label(index=4, name="right", color=(0, 0, 9)))
)
OBLIQUE = np.array([[0.9, 0.1, 0, -20], [-0.1, 0.9, 0, 5], [0, 0, -2.5, 7], [0, 0, 0, 1]])
ORIGIN = Origin(
    reviewer="reader 1",
    input_sha256="ab" * 32,
    bundle=UsedBundle(name="tiny", version="0.1.0", weights_sha256="cd" * 32),
    voxels_changed={"left": 3},
    edits=2,
)


def segmentation(seed: int = 0) -> Segmentation:
    labels = np.random.default_rng(seed).choice(np.array([0, 1, 4], np.uint8), (7, 6, 5))
    return Segmentation(labels, Geometry((7, 6, 5), OBLIQUE), TABLE)


@pytest.fixture
def folder(tmp_path):
    return ReviewFolder.of(tmp_path)


def test_every_accepted_result_is_kept_as_a_version_of_its_own(folder):
    saved = [save_version(folder, segmentation(seed), case_id="case_1", origin=ORIGIN) for seed in range(3)]
    assert [version.path.name for version in saved] == ["v0001.nii.gz", "v0002.nii.gz", "v0003.nii.gz"]
    assert list(list_versions(folder, "case_1")) == saved
    assert [version.record.previous for version in saved] == [None, 1, 2]
    for seed, version in enumerate(saved):
        np.testing.assert_array_equal(version.read().labels, segmentation(seed).labels)
    assert latest_version(folder, "case_1") == saved[-1]
    assert latest_version(folder, "case_2") is None


def test_a_version_comes_back_on_its_grid_with_its_table_and_its_origin(folder):
    save_version(folder, segmentation(), case_id="case_1", origin=ORIGIN)
    version = latest_version(folder, "case_1")
    found = version.read()
    assert found.geometry.matches(segmentation().geometry)
    assert found.label_table == TABLE
    assert version.record.origin == ORIGIN
    assert set(np.unique(nib.load(version.path).dataobj)) == {0, 1, 4}


def test_a_version_that_was_changed_is_refused(folder):
    version = save_version(folder, segmentation(), case_id="case_1", origin=ORIGIN)
    content = bytearray(version.path.read_bytes())
    content[-9] ^= 1
    version.path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="was changed after it was accepted"):
        latest_version(folder, "case_1").read()
    version.path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        version.check()


def test_labels_without_a_record_are_no_version_and_their_number_is_not_used_again(folder):
    save_version(folder, segmentation(), case_id="case_1", origin=ORIGIN)
    broken_off = folder.versions_of("case_1") / "v0002.nii.gz"
    broken_off.write_bytes(b"half a file")
    assert latest_version(folder, "case_1").number == 1
    assert save_version(folder, segmentation(), case_id="case_1", origin=ORIGIN).number == 3
    assert broken_off.read_bytes() == b"half a file"


@pytest.mark.parametrize(("content", "error"), [("{", DataError), ('{"number": 1}', SettingsError)])
def test_a_damaged_record_is_told(folder, content, error):
    version = save_version(folder, segmentation(), case_id="case_1", origin=ORIGIN)
    version.path.with_name("v0001.json").write_text(content)
    with pytest.raises(error, match=r"v0001\.json"):
        latest_version(folder, "case_1")


def _save_some(folder, seed, count):
    for _ in range(count):
        save_version(folder, segmentation(seed), case_id="case_1", origin=ORIGIN)


def test_writers_at_once_get_distinct_numbers(folder):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_save_some, args=(folder, seed, 5)) for seed in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    versions = list_versions(folder, "case_1")
    assert [version.number for version in versions] == list(range(1, 16))
    for version in versions:
        version.check()


@pytest.mark.parametrize(
    "case_id", ["../../etc", "/root", "a/b", "a\\b", "..", ".", "nul", "COM1.x", "a:b", " ", "ü", "x" * 300, "a.", "~"]
)
def test_no_case_id_leads_out_of_the_review_folder(case_id, folder):
    version = save_version(folder, segmentation(), case_id=case_id, origin=ORIGIN)
    assert version.path.resolve().parent.parent == folder.versions.resolve()
    assert version.record.case_id == case_id
    assert latest_version(folder, case_id) == version


def test_a_full_disk_leaves_no_version(folder, full_disk):
    labels = np.random.default_rng(0).choice(np.array([0, 1, 4], np.uint8), (60, 60, 60))
    large = Segmentation(labels, Geometry((60, 60, 60), OBLIQUE), TABLE)
    with pytest.raises(OutputError):
        save_version(folder, large, case_id="case_1", origin=ORIGIN)
    assert [path.name for path in folder.versions_of("case_1").iterdir()] == [".guard"]


def test_a_real_label_map_returns_voxel_by_voxel(folder, test_data):
    manifest = load_manifest("msd_hippocampus")
    case = manifest.locate(test_data, split="test")[0]
    image = read_labels(case.label)
    labels, geometry = image.as_tensor()[0].numpy(), geometry_of(image)
    accepted = Segmentation(labels.astype(np.uint8), geometry, manifest.label_table)
    save_version(folder, accepted, case_id=case.case_id, origin=ORIGIN)
    found = latest_version(folder, case.case_id).read()
    np.testing.assert_array_equal(found.labels, labels)
    assert found.geometry.matches(geometry)
    stated = json.loads((folder.versions_of(case.case_id) / "v0001.json").read_text())
    assert [label["name"] for label in stated["labels"]] == ["anterior_hippocampus", "posterior_hippocampus"]
