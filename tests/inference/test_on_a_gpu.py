"""The whole road on a stand-in for a GPU: the labels of the CPU, no tensor on the wrong side, and steps down."""

import json

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def segmented(gpu_stand_in, medseg_command, test_data, tmp_path):
    """A function that segments a hippocampus there, or on the CPU: labels and run record."""
    scan = sorted((test_data / "Task04_Hippocampus" / "imagesTr").glob("*.nii.gz"))[0]

    def run(*bundles: str, device: str, words: tuple[str, ...] = (), limit_mb: float | None = None):
        output = tmp_path / f"{device}_{limit_mb}.nii.gz"
        models = [word for bundle in bundles for word in ("--bundle", bundle)]
        words = ("segment", str(scan), *models, "--output", str(output), "--device", device, "--overwrite", *words)
        if device == "cpu":
            outcome = medseg_command(*words)
            assert outcome.exit_code == 0, outcome.err
        else:
            ended = gpu_stand_in("medseg", *words, limit_mb=limit_mb)
            assert ended.returncode == 0, ended.stderr
        record = json.loads(output.with_name(f"{output.name.removesuffix('.nii.gz')}.json").read_text())
        return np.asarray(nib.load(output).dataobj), record

    return run


NETWORKS = ("swin_unetr", "transunet", "ds_transunet", "dformer", "att_swin_unet")


@pytest.mark.parametrize("bundle", [f"{network}_hippocampus" for network in NETWORKS])
def test_labels_are_those_of_the_cpu(segmented, bundle):
    expected, _ = segmented(bundle, device="cpu", words=("--runtime", "torch"))
    found, record = segmented(bundle, device="cuda", words=("--runtime", "torch"))
    assert expected.any()
    assert (found != expected).sum() <= 2  # where two logits are equal but for rounding
    assert record["device"] == "cuda"
    assert record["gpu_peak_memory_mb"] > 10
    assert record["warnings"] == []


def test_half_precision_is_proved_and_taken(segmented):
    expected, _ = segmented("dformer_hippocampus", device="cpu", words=("--runtime", "torch"))
    found, record = segmented("dformer_hippocampus", device="cuda")
    assert (record["runtime"]["name"], record["runtime"]["precision"]) == ("torch", "bfloat16")
    assert record["runtime"]["golden_window"]["label_agreement"] > 0.99
    assert (found != expected).mean() < 0.001


def test_models_and_mirror_images_are_averaged_there_with_their_uncertainty(segmented):
    models = ("swin_unetr_hippocampus", "att_swin_unet_hippocampus")
    words = ("--runtime", "torch", "--also", "mirror,uncertainty,probabilities")
    expected, _ = segmented(*models, device="cpu", words=words)
    found, _ = segmented(*models, device="cuda", words=words)
    assert (found != expected).sum() <= 2


@pytest.mark.parametrize("bundle", ["swin_unetr_hippocampus", "transunet_hippocampus"])
def test_with_less_memory_the_labels_stay_and_every_step_is_told(segmented, bundle):
    expected, record = segmented(bundle, device="cuda", words=("--runtime", "torch"))
    found, squeezed = segmented(
        bundle, device="cuda", words=("--runtime", "torch"), limit_mb=0.8 * record["gpu_peak_memory_mb"]
    )
    assert (found != expected).sum() <= 2
    assert any("ran out of memory" in warning for warning in squeezed["warnings"])
    assert squeezed["gpu_peak_memory_mb"] < 0.8 * record["gpu_peak_memory_mb"]


def test_weights_that_do_not_fit_end_in_one_line(gpu_stand_in, write_scan, tmp_path):
    scan = write_scan(tmp_path / "scan.nii.gz", shape=(40, 50, 40))
    words = ("--bundle", "swin_unetr_hippocampus", "--output", tmp_path / "labels.nii.gz", "--device", "cuda")
    ended = gpu_stand_in("medseg", "segment", scan, *words, limit_mb=5)
    assert ended.returncode == 2
    assert "cuda has too little memory for the weights of swin_unetr_hippocampus: use --device cpu." in ended.stderr
    assert not (tmp_path / "labels.nii.gz").exists()
