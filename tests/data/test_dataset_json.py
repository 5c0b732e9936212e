"""``dataset.json``: the Decathlon's and nnU-Net's give the same cases, channels and labels."""

import json
from pathlib import Path

import pytest

from medseg.data import images_without_labels, load_manifest
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


def test_the_first_nnunets_files_are_one_a_channel_too(nnunet):
    manifest = load_manifest(written(nnunet, MSD))
    case = manifest.locate(nnunet, split="train")[0]
    assert [path.name for path in case.images] == [f"{case.case_id}_0000.nii.gz", f"{case.case_id}_0001.nii.gz"]


def test_cases_that_nnunet_lists_are_taken_from_the_list(tmp_path):
    listed = {f"case {n}": {"images": [f"a/{n}.nii.gz", f"b/{n}.nii.gz"], "label": f"c/{n}.nii.gz"} for n in range(9)}
    manifest = load_manifest(written(tmp_path, NNUNET | {"dataset": listed}))
    assert sorted(manifest.cases) == sorted(listed)
    assert manifest.cases["case 3"].images == ("a/3.nii.gz", "b/3.nii.gz")


def test_hidden_files_are_no_cases(nnunet):
    (nnunet / "labelsTr" / "._case_1.nii.gz").touch()
    assert len(load_manifest(nnunet).cases) == 20


def test_labels_of_one_name_in_many_folders_are_many_cases(tmp_path):
    entries = [{"image": f"{n}/image.nii.gz", "label": f"./{n}/label.nii.gz"} for n in ("a", "b")]
    assert sorted(load_manifest(written(tmp_path, MSD | {"training": entries})).cases) == ["a_label", "b_label"]


def test_regions_become_labels_that_do_not_overlap_and_come_back(tmp_path):
    labels = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}
    values = MSD | {"labels": labels, "regions_class_order": [1, 2, 3]}
    schema = load_manifest(written(tmp_path, values)).schema_of_labels
    assert [(label.index, label.name) for label in schema.label_table] == [
        (1, "whole tumor without tumor core and enhancing tumor"),
        (2, "tumor core without enhancing tumor"),
        (3, "enhancing tumor"),
    ]
    assert {region.name: schema.values_of(region.name) for region in schema.regions} == {
        "whole tumor": (1, 2, 3),
        "tumor core": (2, 3),
        "enhancing tumor": (3,),
    }
    assert schema.is_reversible


def test_regions_paint_in_nnunets_order(tmp_path):
    labels = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}
    schema = load_manifest(
        written(tmp_path, MSD | {"labels": labels, "regions_class_order": [1, 3, 2]})
    ).schema_of_labels
    assert [label.name for label in schema.label_table] == [
        "kidney without masses and tumor",
        "tumor",
        "masses without tumor",
    ]
    assert schema.is_reversible


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("Left Kidney", "left"),
        ("LeftParotid", "left"),
        ("kidney_L", "left"),
        ("Kidney (Rt)", "right"),
        ("lung lower left lobe", "left"),
        ("bright spot", None),
        ("L1 vertebra", None),
        ("liver", None),
        ("left and right lung", None),
    ],
)
def test_a_label_has_the_side_that_its_name_states(name, side, tmp_path):
    manifest = load_manifest(written(tmp_path, MSD | {"labels": {"0": "background", "1": name}}))
    assert manifest.labels[0].laterality == side


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("letter", "abcdefgh")
def test_few_cases_leave_at_least_one_to_train_on(count, letter, tmp_path):
    entries = [{"image": f"{letter}{n}.nii.gz", "label": f"{letter}{n}.nii.gz"} for n in range(count)]
    splits = load_manifest(written(tmp_path, MSD | {"training": entries})).splits
    assert splits is not None
    assert splits.train
    assert len(splits.train + splits.validation + splits.test) == count


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (MSD | {"training": []}, "names no case with a label"),
        (MSD | {"labels": {"background": 0, "whole": [1, 2]}}, "need regions_class_order"),
        (MSD | {"labels": {"whole": [1, 2], "core": [2]}, "regions_class_order": [1, 3]}, "each value of the regions"),
        (MSD | {"labels": {"whole": [1, 2], "core": [2]}, "regions_class_order": [2, 1]}, "a region that it belongs"),
        (MSD | {"labels": {"whole": {}}}, "a number was expected"),
        (MSD | {"training": [MSD["training"][0], MSD["training"][0]]}, "lists ./labelsTr/case_0.nii.gz twice"),
        (NNUNET | {"dataset": {"one": {"images": ["a.nii.gz"]}}}, "lacks images or label"),
        (MSD | {"modality": {"first": "T1"}}, "channels must be numbered from 0"),
        (NNUNET, "lies no labelsTr"),
    ],
)
def test_what_cannot_be_understood_is_refused(values, reason, tmp_path):
    with pytest.raises(DataError, match=reason):
        load_manifest(written(tmp_path, values))


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": None},
        {"labels": ["left block"]},
        {"training": 5},
        {"training": [{"image": [], "label": "./labelsTr/case_1.nii.gz"}]},
    ],
)
def test_entries_of_another_form_are_told_in_one_line(tmp_path, changes):
    with pytest.raises(DataError, match=r"dataset\.json.* expected") as refused:
        load_manifest(written(tmp_path / "odd", MSD | changes))
    assert len(str(refused.value).splitlines()) == 1


def test_images_of_nnunet_without_labels_are_told_by_what_they_are_for(nnunet):
    assert images_without_labels(load_manifest(nnunet), "train") == ""
    (nnunet / "imagesTs").mkdir()
    for number in range(90, 97):
        for channel in (0, 1):
            (nnunet / "imagesTs" / f"case_{number}_000{channel}.nii.gz").touch()
    (nnunet / "labelsTr" / "case_3.nii.gz").unlink()
    manifest = load_manifest(nnunet)
    assert images_without_labels(manifest, "train") == "1 image for training without labels: case_3"
    test = images_without_labels(manifest, "test")
    assert test == "7 images for test without labels: case_90, case_91, case_92, case_93, case_94 and 2 more"


def test_listed_images_without_labels_count_where_they_are_there(tmp_path):
    folder = written(tmp_path, MSD | {"training": [*MSD["training"], {"image": "./imagesTr/case_50.nii.gz"}]})
    assert load_manifest(folder).unlabelled == {"train": (), "test": ()}
    for path in ("imagesTr/case_50.nii.gz", "imagesTs/case_99.nii.gz"):
        (folder / path).parent.mkdir()
        (folder / path).touch()
    assert load_manifest(folder).unlabelled == {"train": ("case_50",), "test": ("case_99",)}
