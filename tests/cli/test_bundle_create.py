"""``medseg bundle create``: a folder with a ``dataset.json`` becomes a model that ``train`` takes."""

import json

import pytest


def test_a_folder_with_a_dataset_json_becomes_a_bundle(medseg_command, test_data, tmp_path):
    folder = tmp_path / "organs"
    words = ["bundle", "create", test_data / "AMOS22_slabs", "--network", "transunet", "--output", folder, "--json"]
    outcome = medseg_command(*words, "--device", "cpu")
    assert outcome.exit_code == 0
    plan = json.loads(outcome.out)
    assert plan["network_class"] == "TransUNet"
    assert plan["mirrored_axes"] == []  # kidneys are left and right
    verified = medseg_command("bundle", "verify", folder)
    assert verified.exit_code == 0
    again = medseg_command(*words)
    assert again.exit_code == 2
    assert len(again.error_lines) == 1


@pytest.mark.parametrize("data", ["nowhere", "msd_hippocampus"])
def test_data_that_are_not_there_are_one_line_and_leave_nothing(data, medseg_command, tmp_path):
    (tmp_path / "empty").mkdir()
    output = tmp_path / "new"
    outcome = medseg_command(
        "bundle", "create", data, "--network", "dformer", "--output", output, "--data-root", tmp_path / "empty"
    )
    assert outcome.exit_code == 2
    assert len(outcome.error_lines) == 1
    assert not output.exists()
