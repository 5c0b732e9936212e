"""Evaluation by MONAI's own command line: what stands on it reaches the scores."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.networks.nets import UNet

from medseg.bundle import evaluate_bundle, load_bundle
from medseg.data import load_manifest
from medseg.errors import BundleError
from medseg.training.checkpoint import write_weights

PARTS = ("weights", "network", "preprocessing", "inferer", "postprocessing")


@pytest.fixture
def blocks(tmp_path):
    """The manifest of one test case, two touching blocks in noise."""
    labels = np.zeros((20, 18, 17), np.uint8)
    labels[4:8, 5:12, 5:11], labels[8:12, 5:12, 5:11] = 1, 2
    image = np.random.default_rng(0).normal(100, 10, labels.shape) + 100 * labels
    for folder, array in (("images", image.astype(np.float32)), ("labels", labels)):
        (tmp_path / "Blocks" / folder).mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "Blocks" / folder / "one.nii.gz")
    hippocampus = load_manifest("msd_hippocampus")
    content = {
        "name": "blocks",
        "title": "Blocks",
        "folder": "Blocks",
        "licence": "CC0-1.0",
        "citation": "none",
        "channels": [channel.model_dump() for channel in hippocampus.channels],
        "labels": [label.model_dump() for label in hippocampus.labels],
        "image": "images/{case_id}.nii.gz",
        "label": "labels/{case_id}.nii.gz",
        "cases": {"one": {}, "two": {}},
        "splits": {"train": ["two"], "test": ["one"]},
    }
    (tmp_path / "blocks.json").write_text(json.dumps(content))
    return tmp_path / "blocks.json"


@pytest.fixture
def other_weights(bundle, tmp_path):
    """Weights that fit the tiny bundle, and give every voxel the label 2."""
    definition = {key: value for key, value in bundle.config["network_def"].items() if key != "_target_"}
    state = {key: torch.zeros_like(value) for key, value in UNet(**definition).state_dict().items()}
    biases = [key for key, value in state.items() if key.endswith(".bias") and value.shape == (3,)]
    state[biases[-1]][2] = 1
    write_weights(state, tmp_path / "other.safetensors")
    return tmp_path / "other.safetensors"


def predicted(output: Path) -> np.ndarray:
    return np.asarray(nib.load(output / "predictions" / "one.nii.gz").dataobj)


def test_weights_of_monai_s_command_line_are_those_that_are_scored(folder, blocks, other_weights, tmp_path):
    where = ["--bundle_root", ".", "--data", str(blocks), "--data_root", str(tmp_path)]
    for words, name in (([], "own"), (["--weights", str(other_weights)], "other")):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "monai.bundle", "run", "--config_file"),
                "['configs/inference.yaml','configs/evaluate.yaml']",
                *(*where, "--output_dir", str(tmp_path / name), *words),
            ],
            cwd=folder,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name / "summary.json").is_file()
    assert (predicted(tmp_path / "other") == 2).all()
    assert not (predicted(tmp_path / "own") == 2).all()


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("network_def#channels", [8, 8]),  # the weights no longer fit
        ("weights", "nowhere.safetensors"),
    ],
)
def test_what_an_override_made_of_a_part_is_used_and_not_the_bundle_s_own(
    override, value, bundle, folder, blocks, tmp_path
):
    parser = bundle.parser(device=torch.device("cpu"))
    parser[override] = value
    with pytest.raises(BundleError, match=r"does not fit the network|no weights at nowhere\.safetensors"):
        evaluate_bundle(
            folder,
            data=str(blocks),
            data_root=tmp_path,
            output=tmp_path / "scores",
            device="cpu",
            parts={name: parser.get_parsed_content(name) for name in PARTS},
        )


def test_weights_of_either_ending_in_the_bundle_s_own_place_are_found(bundle, folder, blocks, tmp_path):
    torch.save(
        UNet(**{key: value for key, value in bundle.config["network_def"].items() if key != "_target_"}).state_dict(),
        folder / "models" / "model.pt",
    )
    (folder / "models" / "model.safetensors").unlink()
    named = str(load_bundle(folder).folder / "models" / "model.safetensors")  # as inference.yaml names them
    evaluation = evaluate_bundle(
        folder, data=str(blocks), data_root=tmp_path, output=tmp_path / "scores", parts={"weights": named}
    )
    assert evaluation.n_cases == 1
