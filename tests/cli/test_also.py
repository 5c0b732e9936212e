"""``medseg segment`` with several passes: uncertainty, probabilities, mirror images, several models and weights."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.networks.nets import UNet

from medseg.training.checkpoint import write_weights


@pytest.fixture
def scan(tmp_path, write_scan):
    return write_scan(tmp_path / "in" / "scan.nii.gz", shape=(20, 18, 12))


@pytest.fixture
def other_weights(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = UNet(3, 1, 3, channels=(4, 8), strides=(2,))
    write_weights(network.state_dict(), tmp_path / "other.safetensors")
    return tmp_path / "other.safetensors"


def values(path):
    return np.asanyarray(nib.load(path).dataobj)


def test_uncertainty_comes_as_a_map_and_as_an_interval_and_leaves_the_labels_alone(
    medseg_command, tiny_bundle, scan, tmp_path
):
    plain = medseg_command("segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "plain")
    asked = ("segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "out", "--uncertainty")
    outcome = medseg_command(*asked, "--json")
    assert (plain.exit_code, outcome.exit_code) == (0, 0), outcome.err
    np.testing.assert_array_equal(values(tmp_path / "out" / "scan.nii.gz"), values(tmp_path / "plain" / "scan.nii.gz"))
    (result,) = json.loads(outcome.out)
    entropy = nib.load(result["files"]["uncertainty"])
    np.testing.assert_allclose(entropy.affine, nib.load(scan).affine, atol=1e-4)
    assert 0 <= entropy.get_fdata().min() < entropy.get_fdata().max() <= 1
    assert "mutual_information" not in result["files"]  # one pass has nothing to contradict it
    statistics = json.loads((tmp_path / "out" / "scan_statistics.json").read_text())
    for entry, shown in zip(statistics["labels"], result["segmentation"]["labels"], strict=True):
        low, high = entry["volume_interval_ml"]
        assert low <= entry["volume_ml"] <= high
        assert shown["volume_interval_ml"] == pytest.approx([low, high], abs=1e-6)
    assert medseg_command(*asked).exit_code == 2  # the maps are results too: not replaced unasked


def test_mirror_images_contradict_one_another_and_are_recorded(medseg_command, tiny_bundle, scan, tmp_path):
    outcome = medseg_command(
        "segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "out", "--also", "mirror,uncertainty", "--json"
    )
    assert outcome.exit_code == 0, outcome.err
    (result,) = json.loads(outcome.out)
    assert nib.load(result["files"]["mutual_information"]).get_fdata().max() > 0
    record = json.loads((tmp_path / "out" / "scan.json").read_text())
    assert record["settings"]["is_mirrored"] is True
    assert record["windows"]["count"] % 2 == 0


def test_maps_of_a_result_that_is_replaced_go_with_it(medseg_command, tiny_bundle, scan, other_weights, tmp_path):
    asked = ("segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "out")
    two = ("--weights", tiny_bundle / "models" / "model.safetensors", "--weights", other_weights)
    maps = [tmp_path / "out" / f"scan_{name}" for name in ("uncertainty.nii.gz", "mutual_information.nii.gz")]
    probabilities = tmp_path / "out" / "scan_probabilities.nii"
    medseg_command(*asked, *two, "--also", "uncertainty,probabilities")
    assert all(path.is_file() for path in (*maps, probabilities))
    other = tmp_path / "out" / "scan_probabilities.json"  # as of another case, whose labels are called like a map
    other.write_text("{}")
    assert medseg_command(*asked, "--overwrite", "--uncertainty").exit_code == 0
    assert [path.is_file() for path in (*maps, probabilities)] == [True, False, True]
    other.unlink()
    assert medseg_command(*asked, "--overwrite").exit_code == 0
    assert not any(path.is_file() for path in (*maps, probabilities))
    resumed = medseg_command(*asked, "--uncertainty", "--resume")
    assert "were done before" not in resumed.err
    entry = json.loads((tmp_path / "out" / "scan_statistics.json").read_text())["labels"][0]
    assert maps[0].is_file()
    assert "volume_interval_ml" in entry


def test_a_file_called_like_a_map_stays_where_no_result_of_medseg_is_replaced(
    medseg_command, tiny_bundle, scan, tmp_path
):
    own = scan.parent / "scan_uncertainty.nii.gz"
    shutil.copyfile(scan, own)
    outcome = medseg_command(
        *("segment", scan, "--bundle", tiny_bundle, "--output", scan.parent / "scan.mha"), "--overwrite"
    )
    assert outcome.exit_code == 0
    assert own.is_file()


def test_probabilities_are_those_of_the_labels_on_the_scans_grid(medseg_command, tiny_bundle, scan, tmp_path):
    outcome = medseg_command(
        "segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "a.nrrd", "--also", "probabilities"
    )
    assert outcome.exit_code == 0, outcome.err
    image = nib.load(tmp_path / "a_probabilities.nii")
    np.testing.assert_allclose(image.affine, nib.load(scan).affine, atol=1e-4)
    probabilities = image.get_fdata()
    assert probabilities.shape == (20, 18, 12, 3)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=0.01)
    assert image.get_data_dtype() == np.uint8


def test_several_weights_and_several_models_are_averaged_and_named_in_the_record(
    medseg_command, tiny_bundle, scan, other_weights, tmp_path
):
    twin = shutil.copytree(tiny_bundle, tmp_path / "twin")
    shutil.copy(other_weights, twin / "models" / "model.safetensors")
    own = tiny_bundle / "models" / "model.safetensors"
    by_weights = medseg_command(
        "segment", scan, "--bundle", tiny_bundle, "--weights", own, "--weights", other_weights,
        "--output", tmp_path / "weights.nii.gz", "--also", "probabilities",
    )  # fmt: skip
    by_models = medseg_command(
        "segment", scan, "--bundle", tiny_bundle, "--bundle", twin, "--output", tmp_path / "models.nii.gz",
        "--also", "probabilities",
    )  # fmt: skip
    assert (by_weights.exit_code, by_models.exit_code) == (0, 0), by_weights.err + by_models.err
    found = values(tmp_path / "weights_probabilities.nii")
    np.testing.assert_array_equal(found, values(tmp_path / "models_probabilities.nii"))
    for name, weights in (("one", own), ("two", other_weights)):
        done = medseg_command(
            "segment", scan, "--bundle", tiny_bundle, "--weights", weights, "--output", tmp_path / f"{name}.nii.gz",
            "--also", "probabilities",
        )  # fmt: skip
        assert done.exit_code == 0
    each = [values(tmp_path / f"{name}_probabilities.nii") for name in ("one", "two")]
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2, atol=0.005)
    record = json.loads((tmp_path / "models.json").read_text())
    assert [entry["name"] for entry in record["others"]] == ["twin"]
    assert record["others"][0]["weights_sha256"] != record["bundle"]["weights_sha256"]


def test_the_plan_counts_every_pass(medseg_command, tiny_bundle, scan, other_weights, tmp_path):
    given = ("segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "out", "--plan", "--json")
    (alone,) = json.loads(medseg_command(*given).out)
    own = tiny_bundle / "models" / "model.safetensors"
    asked = (*given, "--also", "mirror", "--weights", own, "--weights", other_weights)
    (together,) = json.loads(medseg_command(*asked).out)
    assert together["n_windows"] == 4 * alone["n_windows"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--also", "magic"), "--also magic: expected any of mirror, uncertainty, probabilities"),
        (("--bundle", "dformer_hippocampus", "--weights", "a", "--weights", "b", "--weights", "c"), "2 models and 3"),
        (("--bundle", "swin_unetr_head_neck_oar"), "the models name different labels"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(words, message, medseg_command, tiny_bundle, scan, tmp_path):
    outcome = medseg_command("segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "out", *words)
    assert outcome.exit_code == 2
    assert len(outcome.error_lines) == 1
    assert message in " ".join(outcome.err.split())
