"""Training by MONAI's own command line: what stands on it reaches the training, and without it nothing changes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medseg.data import DataManifest
from medseg.errors import BundleError
from medseg.training import TrainingResult, train, train_bundle, with_settings
from medseg.training.checkpoint import Checkpoint, read_checkpoint


@pytest.fixture
def trained_by_monai(bundle_folder, training_data, tmp_path):
    """Runs the tiny bundle with further words on the command line; gives the last checkpoint."""

    def run(*words: str, files: tuple[Path, ...] = ()) -> Checkpoint:
        configs = ["configs/inference.yaml", "configs/train.yaml", *map(str, files)]
        where = ["--data", str(training_data / "blocks.json"), "--data_root", str(training_data)]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "monai.bundle", "run", "--config_file", str(configs), "--bundle_root", "."),
                *(*where, "--output_dir", str(tmp_path / "run"), *words),
            ],
            cwd=bundle_folder,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return read_checkpoint(tmp_path / "run" / "checkpoint.pt")

    return run


def test_overrides_and_further_files_reach_the_training(trained_by_monai, tmp_path):
    further = tmp_path / "further.yaml"
    further.write_text("training#gradient_clip_norm: 0.000001\noptimizer#weight_decay: 0.25\n")
    checkpoint = trained_by_monai(
        "--training#steps", "3", "--training::checkpoint_every", "3", "--optimizer#eps", "0.5", files=(further,)
    )
    group = checkpoint.optimizer["param_groups"][0]
    assert (checkpoint.step, group["weight_decay"], group["eps"]) == (3, 0.25, 0.5)
    first_moments = torch.cat([moments["exp_avg"].flatten() for moments in checkpoint.optimizer["state"].values()])
    assert 0 < first_moments.norm() < 1e-6  # of gradients that were clipped to that length


def test_monai_s_command_line_trains_the_same_weights_as_medseg(
    trained_by_monai, bundle, manifest: DataManifest, training_data, tmp_path
):
    checkpoint = trained_by_monai("--training#steps", "5", "--training#learning_rate", "0.01")
    ours = with_settings(bundle, ["steps=5", "learning_rate=0.01"])
    train(ours, manifest, data_root=training_data, output=tmp_path / "ours", device=torch.device("cpu"))
    expected = read_checkpoint(tmp_path / "ours" / "checkpoint.pt")
    assert checkpoint.fingerprint == expected.fingerprint  # either goes on where the other stopped
    for name, value in expected.network.items():
        assert torch.equal(checkpoint.network[name], value), name


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"optimizer#weight_decay": 0.25}, "optimizer, as built"),
        ({"loss#lambda_dice": 0.5}, "loss, as built"),
        ({"augmentation#transforms#0#prob": 0.1}, "augmentation, as built"),
        ({"network_def#dropout": 0.2}, "network, as built"),
        ({"training#learning_rate": 0.5}, r"the setting learning_rate \(0\.001, now 0\.5\)"),
    ],
)
def test_a_training_is_not_gone_on_with_by_other_parts_than_it_was_started_with(
    overrides, named, bundle, bundle_folder, training_data, tmp_path
):
    def go_on(**changes: object) -> TrainingResult:
        parser = bundle.parser(device=torch.device("cpu"))
        for key, value in {"training#steps": 2, **changes}.items():
            parser[key] = value
        names = ("training", "network", "preprocessing", "augmentation", "inferer", "loss", "optimizer", "lr_scheduler")
        return train_bundle(
            bundle_folder,
            data=str(training_data / "blocks.json"),
            data_root=training_data,
            output=tmp_path / "run",
            device="cpu",
            parts={name: parser.get_parsed_content(name) for name in names},
        )

    go_on()
    go_on()
    with pytest.raises(BundleError, match=f"something is no longer as it was: {named}"):
        go_on(**overrides)
