"""``medseg benchmark``: real processes, MONAI's and ours, on one small scan."""

import json

import pytest

from medseg.benchmark import measure


def test_both_roads_are_run_and_agree(medseg_command, tiny_bundle, tmp_path, write_scan):
    scan = write_scan(tmp_path / "scan.nii.gz", shape=(24, 20, 18))
    output = tmp_path / "figures"
    words = ["benchmark", scan, "--bundle", tiny_bundle, "--runtime", "torch", "--repeats", "1", "--device", "cpu"]
    outcome = medseg_command(*words, "--output", output, "--json")
    assert outcome.exit_code == 0, outcome.err
    found = json.loads(outcome.out)
    ours = found["ours"][0]
    assert ours["label_agreement"] == 1.0
    for path in (found["stock"], ours):
        run = path["runs"][0]
        assert run["seconds"] > run["stage_s"]["infer"] > 0
        assert run["peak_mb"] > 100
    assert ours["seconds_ratio"] == pytest.approx(
        found["stock"]["runs"][0]["seconds"] / ours["runs"][0]["seconds"], rel=0.01
    )
    assert json.loads((output / "benchmark.json").read_text()) == found
    assert (output / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def test_a_cohort_is_refused(medseg_command, tiny_bundle, tmp_path, write_scan):
    scans = [write_scan(tmp_path / f"{name}.nii.gz", shape=(24, 20, 18)) for name in "ab"]
    outcome = medseg_command("benchmark", *scans, "--bundle", tiny_bundle)
    assert outcome.exit_code == 2
    assert outcome.error_lines == ["error: 2 cases found: the benchmark takes one."]


def test_a_file_in_place_of_the_output_folder_is_refused_before_anything_is_measured(
    medseg_command, tiny_bundle, tmp_path, write_scan, monkeypatch
):
    monkeypatch.setattr(measure.subprocess, "Popen", None)  # would fail
    scan = write_scan(tmp_path / "scan.nii.gz", shape=(24, 20, 18))
    (tmp_path / "taken").touch()
    outcome = medseg_command("benchmark", scan, "--bundle", tiny_bundle, "--output", tmp_path / "taken")
    assert outcome.exit_code == 2
    assert "taken cannot be made (File exists): choose another folder" in outcome.error_lines[0]
