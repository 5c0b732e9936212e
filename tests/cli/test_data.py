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
