"""``medseg bundle`` and ``medseg doctor``: what is at hand, and whether it is whole."""

import json
import shutil
from pathlib import Path

import pytest

from medseg.bundle import find_bundles, health


def test_list_names_every_bundle_on_disk(medseg_command):
    listed = json.loads(medseg_command("bundle", "list", "--json").out)
    assert [entry["name"] for entry in listed] == sorted(find_bundles())


def test_info_gives_size_labels_and_channels(medseg_command):
    facts = json.loads(medseg_command("bundle", "info", "swin_unetr_hippocampus", "--json").out)
    assert facts["parameters"] == 4_078_077
    assert facts["labels"] == ["1 anterior_hippocampus", "2 posterior_hippocampus"]
    assert facts["channels"] == ["T1 (MR)"]


def test_info_gives_the_cost_of_a_window(medseg_command):
    cost = json.loads(medseg_command("bundle", "info", "swin_unetr_hippocampus", "--json").out)["cost_of_a_window"]
    assert cost["gflop"] == pytest.approx(3.71, abs=0.01)
    assert cost["weights_mb"] == pytest.approx(4 * 4.078077, abs=0.1)
    assert 0 < cost["inference_mb"] < cost["training_mb"]


def test_weights_of_others_are_imported_with_an_account_of_every_key(medseg_command, test_golden, tmp_path):
    words = ("bundle", "import-weights", "dformer", test_golden / "dformer.safetensors", "--output", tmp_path / "out")
    outcome = medseg_command(*words, "--config", test_golden / "dformer.json", "--json")
    assert outcome.exit_code == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["counts"] == {"matched": 0, "renamed": 222, "interpolated": 0, "skipped": 4, "missing": 0}
    assert all(Path(path).is_file() for path in report["files"])
    refused = medseg_command(*words)
    assert refused.exit_code == 2
    assert len(refused.err.strip().splitlines()) == 1


@pytest.mark.parametrize("name", sorted(find_bundles()))
def test_every_bundle_with_weights_is_whole(medseg_command, name):
    if not (find_bundles()[name] / "models" / "model.safetensors").is_file():
        pytest.skip(f"{name} has no weights in this checkout")
    outcome = medseg_command("bundle", "verify", name, "--json")
    failed = [check for check in json.loads(outcome.out) if not check["passed"]]
    assert failed == []
    assert outcome.exit_code == 0


def test_verify_finds_a_label_that_metadata_calls_otherwise(medseg_command, tiny_bundle, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_bundle, broken)
    path = broken / "configs" / "metadata.json"
    path.write_text(path.read_text().replace("posterior_hippocampus", "posterior"))
    outcome = medseg_command("bundle", "verify", broken, "--json")
    assert outcome.exit_code == 2
    failed = {check["check"]: check["found"] for check in json.loads(outcome.out) if not check["passed"]}
    assert "posterior" in failed["metadata agrees with inference.yaml"]


def test_doctor_names_the_fix_for_what_is_missing(medseg_command, monkeypatch):
    real = health._version
    monkeypatch.setattr(health, "_version", lambda package: "" if package == "nibabel" else real(package))
    outcome = medseg_command("doctor", "--json")
    (finding,) = [entry for entry in json.loads(outcome.out) if entry["part"] == "nibabel"]
    assert finding["state"] == "missing"
    assert "pip install" in finding["fix"]
    assert outcome.exit_code == 2


def test_doctor_is_content_with_a_whole_installation(medseg_command):
    outcome = medseg_command("doctor", "--json")
    missing = [entry for entry in json.loads(outcome.out) if entry["state"] == "missing"]
    assert missing == []
    assert outcome.exit_code == 0
