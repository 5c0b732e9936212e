"""``medseg data``: what is known, and what is wrong on disk."""

import json
import shutil

import pytest

from medseg.data import load_manifest, manifest_names


def test_the_data_sets_are_listed(medseg_command):
    listed = json.loads(medseg_command("data", "list", "--json").out)
    assert [entry["name"] for entry in listed] == list(manifest_names())


def test_a_data_set_says_where_it_is_to_be_had_and_what_its_values_mean(medseg_command):
    facts = json.loads(medseg_command("data", "info", "brats_2021", "--json").out)
    assert facts["needs_login"] is True
    assert facts["labels"] == ["1 necrotic_core", "2 edema", "4 enhancing_tumor"]
    assert facts["regions"] == ["whole_tumor", "tumor_core", "enhancing_tumor"]
    assert facts["concepts"][1] == "2 SCT 79654002 Edema"


def test_a_data_set_names_the_cases_of_its_splits(medseg_command):
    facts = json.loads(medseg_command("data", "info", "synapse", "--json").out)
    assert (len(facts["cases"]["train"]), len(facts["cases"]["test"])) == (18, 12)
    assert "0035" in facts["cases"]["test"]


def test_intact_data_end_with_0_and_broken_ones_with_1(medseg_command, test_data, tmp_path):
    case = load_manifest("msd_hippocampus").locate(test_data, split="test")[0]
    for path in (*case.images, case.label):
        (tmp_path / "Task04_Hippocampus" / path.parent.name).mkdir(parents=True)
        shutil.copy(path, tmp_path / "Task04_Hippocampus" / path.parent.name)
    intact = medseg_command("data", "check", "msd_hippocampus", "--data-root", str(tmp_path))
    assert intact.exit_code == 0
    shutil.copy(case.label, tmp_path / "Task04_Hippocampus" / "imagesTr" / case.images[0].name)
    broken = medseg_command("data", "check", "msd_hippocampus", "--data-root", str(tmp_path), "--json")
    assert broken.exit_code == 1
    found = json.loads(broken.out)
    assert (found["cases"], {finding["case_id"] for finding in found["findings"]}) == (1, {case.case_id})
    assert any("the values of labels only" in finding["found"] for finding in found["findings"])


def test_a_data_set_that_is_not_known_is_one_line_and_exit_code_2(medseg_command):
    result = medseg_command("data", "info", "brats_1999")
    assert result.exit_code == 2
    assert len(result.error_lines) == 1


@pytest.mark.parametrize("folder", ["OpenKBP_HaN", "AMOS22_slabs"])
def test_a_folder_with_a_dataset_json_is_checked_where_it_lies(folder, medseg_command, test_data):
    result = medseg_command("data", "check", str(test_data / folder))
    assert result.exit_code == 0
    assert "no defect" in result.err + result.out


@pytest.fixture
def nnunet(test_data, tmp_path):
    """Three hippocampus cases as nnU-Net lays them out, and one image for test without labels."""
    source, folder = test_data / "Task04_Hippocampus", tmp_path / "Dataset004_Hippocampus"
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True)
    described = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "Anterior": 1, "Posterior": 2}}
    (folder / "dataset.json").write_text(json.dumps(described | {"file_ending": ".nii.gz"}))
    for number in ("001", "003", "004"):
        shutil.copy(source / "labelsTr" / f"hippocampus_{number}.nii.gz", folder / "labelsTr")
    for number, place in (("001", "Tr"), ("003", "Tr"), ("004", "Tr"), ("006", "Ts")):
        image = source / "imagesTr" / f"hippocampus_{number}.nii.gz"
        shutil.copy(image, folder / f"images{place}" / f"hippocampus_{number}_0000.nii.gz")
    return folder


def test_test_images_without_labels_are_told_and_are_no_defect(medseg_command, nnunet):
    result = medseg_command("data", "check", nnunet)
    assert result.exit_code == 0
    assert "1 image for test without labels: hippocampus_006: not checked" in result.err
    found = json.loads(medseg_command("data", "check", nnunet, "--json").out)
    assert found["unlabelled_test_images"] == ["hippocampus_006"]


def test_training_images_without_labels_are_a_defect(medseg_command, nnunet):
    (nnunet / "labelsTr" / "hippocampus_003.nii.gz").unlink()
    result = medseg_command("data", "check", nnunet)
    assert result.exit_code == 1
    assert "hippocampus_003: labels: 1 image for training without labels: hippocampus_003. Fix: label" in result.err


def test_who_learns_from_a_data_set_is_told_of_images_without_labels(medseg_command, nnunet, tmp_path):
    words = ("bundle", "create", nnunet, "--network", "dformer", "--output", tmp_path / "model")
    result = medseg_command(*words)
    assert result.exit_code == 0, result.err
    assert "passed over: 1 image for test without labels: hippocampus_006" in result.err
