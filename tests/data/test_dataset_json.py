"""``dataset.json``: the Decathlon's and nnU-Net's give the same cases, channels and labels."""

import json
from pathlib import Path

import pytest

from medseg.data import load_manifest
from medseg.errors import DataError

MSD = {
    "name": "Blocks",
    "licence": "CC0-1.0",
    "reference": "nobody",
    "modality": {"0": "T1", "1": "T2"},
    "labels": {"0": "background", "1": "left block", "2": "right block"},
    "training": [{"image": f"./imagesTr/case_{n}.nii.gz", "label": f"./labelsTr/case_{n}.nii.gz"} for n in range(20)],
    "test": ["./imagesTs/case_99.nii.gz"],
}

NNUNET = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "left block": 1, "right block": 2, "ignore": 3},
    "numTraining": 20,
    "file_ending": ".nii.gz",
}


def written(folder: Path, values: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(values))
    return folder


@pytest.fixture
def nnunet(tmp_path):
    """An nnU-Net data set of twenty cases, by the names of its files."""
    folder = written(tmp_path / "Dataset001_Blocks", NNUNET)
    for number in range(20):
        for path in (f"labelsTr/case_{number}.nii.gz", *(f"imagesTr/case_{number}_000{c}.nii.gz" for c in (0, 1))):
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).touch()
    return folder


def test_both_kinds_give_the_same_manifest_and_say_which_they_are(tmp_path, nnunet):
    decathlon, other = load_manifest(written(tmp_path / "msd", MSD)), load_manifest(nnunet)
    assert "Medical Segmentation Decathlon" in decathlon.notes
    assert "nnU-Net" in other.notes
    for manifest in (decathlon, other):
        assert [channel.name for channel in manifest.channels] == ["T1", "T2"]
        assert [(label.index, label.name) for label in manifest.labels] == [(1, "left block"), (2, "right block")]
        assert [label.laterality for label in manifest.labels] == ["left", "right"]
    assert sorted(decathlon.cases) == sorted(other.cases)
    assert decathlon.splits == other.splits  # drawn by the names of the cases alone


def test_one_file_a_channel_is_found_by_nnunets_numbers(nnunet):
    case = load_manifest(nnunet).locate(nnunet, split="train")[0]
    assert [path.name for path in case.images] == [f"{case.case_id}_0000.nii.gz", f"{case.case_id}_0001.nii.gz"]


def test_labelled_test_and_validation_cases_are_those_splits(tmp_path):
    entries = MSD["training"]
    values = MSD | {"training": entries[:10], "validation": entries[10:12], "test": entries[12:15]}
    splits = load_manifest(written(tmp_path, values)).splits
    assert splits is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (10, 2, 3)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (MSD | {"training": []}, "names no case with a label"),
        (MSD | {"labels": {"background": 0, "whole": [1, 2]}}, "'whole' is a region of several values"),
        (MSD | {"modality": {"first": "T1"}}, "channels must be numbered from 0"),
        (NNUNET, "lies no labelsTr"),
    ],
)
def test_what_cannot_be_understood_is_refused(values, reason, tmp_path):
    with pytest.raises(DataError, match=reason):
        load_manifest(written(tmp_path, values))
